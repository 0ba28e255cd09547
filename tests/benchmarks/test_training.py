"""What training is said to cost is what its passes cost."""

from __future__ import annotations

from argparse import Namespace

import pytest
import torch

from benchmarks.training import PRECISIONS, figures_of, networks
from tests.benchmarks.test_sampling import TINY
from train.evaluate.cost import count_pass as count
from train.evaluate.cost import denoiser_pass as denoising_case
from train.recipes import load_recipe

CPU = torch.device("cpu")
PARTS = {
    "vdm_demo": ["denoiser"],
    "ed_vdm_demo": ["denoiser", "autoencoder", "refiner"],
    "ed_vdm_filled_demo": ["denoiser", "autoencoder"],
}
NARROW = {
    "vdm_demo": [],
    "ed_vdm_demo": ["autoencoder.hidden=16", "refiner.width=8"],
    "ed_vdm_filled_demo": ["autoencoder.widths=[8,8,16]", "designed_for.size=32"],
}


@pytest.mark.slow
@pytest.mark.parametrize("name", PARTS)
def test_every_network_of_a_recipe_is_measured_both_ways(name: str) -> None:
    recipe = load_recipe(name, [*TINY, *NARROW[name]])
    given = Namespace(batch=2, compile=False, rounds=1)
    found = dict(networks(recipe, 2, CPU))
    assert list(found) == PARTS[name]
    for part, network in found.items():
        figures = figures_of(name, part, network, given, CPU)
        assert [figure.precision for figure in figures] == list(PRECISIONS)
        assert all(figure.seconds > 0 and figure.peak_bytes is None for figure in figures)
        passed = [parameter.grad is not None for parameter in network.module.parameters()]
        assert sum(passed) > 0.7 * len(passed)  # the critic stands apart
        if part == "denoiser":
            counted = count(denoising_case(recipe)[0]).gflop
            # A batch shares what depends on the place in the clip alone.
            assert figures[0].gflop == pytest.approx(counted, rel=1e-2)
