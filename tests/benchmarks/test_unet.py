"""The U-Net's comparison measures both networks, in both precisions, training and sampling."""

from __future__ import annotations

import importlib.util

import pytest

from benchmarks.unet import our_network, peer_network, unet_figures
from shared.errors import UserError


@pytest.mark.slow
def test_both_networks_are_measured_in_turn() -> None:
    ours, (noisy, t) = our_network(8, 16)
    assert noisy.shape == (1, 3, 15, 16, 16)
    assert ours.forward().shape == ()
    figures = unet_figures(ours, our_network(16, 16)[0], rounds=1)
    assert [figure.name.split(", ")[:2] for figure in figures] == [
        ["training step", "float32"],
        ["training step", "bfloat16"],
        ["sampling step", "float32"],
        ["sampling step", "bfloat16"],
    ]
    assert all(figure.ours > 0 and figure.peer > 0 for figure in figures)
    if importlib.util.find_spec("video_diffusion_pytorch") is None:
        with pytest.raises(UserError, match="pip install video-diffusion-pytorch"):
            peer_network(8, noisy, t)
