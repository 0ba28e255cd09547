"""Costs of sampling against those of a whole sampling."""

from __future__ import annotations

import pytest
import torch

from benchmarks.sampling import cost, flops, step_and_rest, untrained
from train.generate.generator import with_sampler

TINY = [
    "designed_for.size=16",
    "designed_for.block=4",
    "designed_for.frames=4",
    "denoiser.dim=16",
    "denoiser.heads=2",
    "denoiser.head_dim=8",
    "denoiser.mults=[1, 2]",
]


@pytest.mark.slow
@pytest.mark.parametrize("recipe", ["vdm_demo", "ldm_demo", "d_vdm_demo", "ed_vdm_demo"])
def test_flop_equal_those_of_a_whole_sampling(recipe: str) -> None:
    generator = untrained(recipe, TINY, torch.device("cpu"))
    found = cost(generator, recipe, "ddim", 11, 1.0, count=2)
    whole = with_sampler(generator, name="ddim", steps=11, guidance=1.0)
    frame = torch.zeros(2, 3, 16, 16, dtype=torch.uint8)
    counted = flops(lambda: whole(frame, [0, 0], [0, 1])) / 2 / 1e9
    assert found.gflop == pytest.approx(counted, rel=1e-6)
    assert (found.gflop_decoding > 0) == (recipe in ("ldm_demo", "ed_vdm_demo"))
    assert found.seconds > found.seconds_decoding >= 0


@pytest.mark.slow
def test_guidance_takes_two_passes_a_step() -> None:
    generator = untrained("vdm_demo", TINY, torch.device("cpu"))
    plain, guided = (cost(generator, "", "dpm++", 20, guidance, 1).gflop for guidance in (1, 3))
    # But for what depends on the place in the clip alone.
    assert guided == pytest.approx(2 * plain, rel=1e-3)


def test_a_step_and_the_rest_are_separated() -> None:
    step, rest = step_and_rest(5 + 2 * 3.0, 5 + 6 * 3.0)
    assert (step, rest) == (3.0, 5.0)
