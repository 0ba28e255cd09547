"""Deformable samples, flow on the stages' grids, and decoding of whole clips."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from tests.train import naive
from train.models.flow_decoder import (
    FlowDecoder,
    FlowDecoderOptions,
    deformable_samples,
    flow_on_grid,
)
from train.models.warp import warp

SMALL = FlowDecoderOptions(widths=(8, 8))


def noise(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def test_the_centre_tap_without_offsets_is_the_warp() -> None:
    picture, flow = noise(2, 3, 6, 7), 2 * noise(2, 2, 6, 7, seed=1)
    found = deformable_samples(picture, flow, torch.zeros(2, 18, 6, 7), torch.ones(2, 9, 6, 7))
    assert found.shape == (2, 27, 6, 7)
    assert torch.allclose(found[:, 12:15], warp(picture, flow), atol=1e-6)


def test_taps_without_flow_are_those_of_a_3x3_convolution() -> None:
    """In the middle of the picture; at its border coordinates are clamped."""
    picture, still = noise(1, 2, 8, 8), torch.zeros(1, 2, 8, 8)
    samples = deformable_samples(picture, still, torch.zeros(1, 18, 8, 8), torch.ones(1, 9, 8, 8))
    weight = noise(4, 2, 3, 3, seed=2)
    flat = weight.permute(0, 2, 3, 1).reshape(4, 18, 1, 1)  # taps first, then channels
    found = torch.nn.functional.conv2d(samples, flat)
    expected = torch.nn.functional.conv2d(picture, weight, padding=1)
    assert torch.allclose(found[..., 1:-1, 1:-1], expected[..., 1:-1, 1:-1], atol=1e-5)


@settings(max_examples=8)
@given(st.integers(0, 10**6))
def test_samples_are_the_oracles(seed: int) -> None:
    """Each tap by itself: its own place, offset and mask."""
    picture, flow = noise(1, 2, 4, 5, seed=seed), noise(1, 2, 4, 5, seed=seed + 1)
    offsets, masks = noise(1, 18, 4, 5, seed=seed + 2), noise(1, 9, 4, 5, seed=seed + 3)
    found = deformable_samples(picture, flow, offsets, masks)[0].unflatten(0, (9, 2))
    for k in range(9):
        place = torch.tensor([k % 3 - 1.0, k // 3 - 1.0]).view(2, 1, 1)
        expected = naive.warp(picture[0], flow[0] + offsets[0, 2 * k : 2 * k + 2] + place)
        assert torch.allclose(found[k], expected * masks[0, k], atol=1e-4)


@pytest.mark.parametrize("to", [1, 2, 4, 8, 16])
def test_a_uniform_flow_is_as_long_on_every_grid(to: int) -> None:
    flow = torch.tensor([6.0, -3.0]).view(1, 2, 1, 1).expand(1, 2, 5, 5)  # cells of 4
    side = -(-18 // to)
    found = flow_on_grid(flow, 4, to, (side, side))
    assert found.shape == (1, 2, side, side)
    assert torch.allclose(to * found[0], torch.tensor([6.0, -3.0]).view(2, 1, 1), atol=1e-5)


def decoder(options: FlowDecoderOptions = SMALL) -> FlowDecoder:
    torch.manual_seed(0)
    return FlowDecoder(options, channels=5, cell=8)


def arguments(frames: int = 3, seed: int = 0) -> tuple[Tensor, Tensor, Tensor, int, int]:
    latents = noise(2, frames, 5, 2, 3, seed=seed)
    return latents, noise(2, frames, 3, 16, 24, seed=1), 3 * noise(2, frames, 2, 4, 6), 4, 1


def perturbed(options: FlowDecoderOptions = SMALL) -> FlowDecoder:
    net = decoder(options)
    with torch.no_grad():
        for weight in net.parameters():
            weight += 0.1 * torch.randn_like(weight)
    return net


@pytest.mark.parametrize("widths", [(8,), (8, 8), (16, 8, 8), (8, 8, 8, 8)])
def test_training_starts_at_the_frames_decoded_one_by_one(widths: tuple[int, ...]) -> None:
    given = arguments()
    assert decoder(FlowDecoderOptions(widths=widths))(*given).equal(given[1])


def test_more_stages_than_halvings_are_refused() -> None:
    with pytest.raises(ValueError, match="5 stages; cells of 8 pixels can be halved 3 times"):
        FlowDecoder(FlowDecoderOptions(widths=(8,) * 5), 5, 8)


@pytest.mark.parametrize(
    ("temporal", "flow", "reaches"),
    [(False, False, {2}), (True, False, {0, 1, 2}), (False, True, {2})],
)
@torch.no_grad()
def test_what_a_frame_depends_on(temporal: bool, flow: bool, reaches: set[int]) -> None:
    """2D: itself. 3D: its neighbours, stage by stage. Flow: the key frame reaches every frame."""
    net = perturbed(FlowDecoderOptions(widths=(8, 8), temporal=temporal, flow=flow))
    latents, *rest = arguments()
    before = net(latents, *rest)
    changed = latents.clone()
    changed[:, 2] += 1
    moved = (net(changed, *rest) - before).abs().amax(dim=(0, 2, 3, 4)) > 1e-6
    assert set(moved.nonzero().flatten().tolist()) == reaches
    key = latents.clone()
    key[:, 1] += 1
    moved = (net(key, *rest) - before).abs().amax(dim=(0, 2, 3, 4)) > 1e-6
    assert moved.tolist() == ([True] * 3 if temporal or flow else [False, True, False])


def test_the_loss_has_its_parts_and_trains_each_network() -> None:
    net = perturbed(FlowDecoderOptions(widths=(8, 8), adversarial_weight=0.1, critic_width=8))
    given = arguments(frames=4)
    losses = net.loss(net(*given), given[1])
    assert set(losses) == {
        "loss", "l1", "critic_2d", "verdict_2d", "critic_3d", "verdict_3d",
    }  # fmt: skip
    parts = sum(value for name, value in losses.items() if name != "loss")
    assert losses["loss"].item() == pytest.approx(float(parts), rel=1e-5)
    losses["loss"].backward()
    assert all(weight.grad is not None for weight in net.parameters())


def test_it_learns_what_flow_brings_from_the_key_frame() -> None:
    """Latents of frame 1 are noise; the key frame's, moved by a cell, say what it shows."""

    def error(options: FlowDecoderOptions) -> float:
        net = decoder(options)
        optimiser = torch.optim.AdamW(net.parameters(), lr=1e-2)
        flows = torch.zeros(8, 2, 2, 4, 4)
        flows[:, 1, 0] = -8.0
        losses = []
        for step in range(80):
            latents = noise(8, 2, 5, 2, 2, seed=step)
            cells = latents[:, 0, :3, :, [0, 0]]  # moved to the right, the border repeated
            truth = cells.repeat_interleave(8, -1).repeat_interleave(8, -2)
            made = net(latents, torch.zeros(8, 2, 3, 16, 16), flows, 4, 0)[:, 1]
            loss = (made - truth).abs().mean()
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
            losses.append(float(loss.detach()))
        return sum(losses[-10:]) / 10

    plain = FlowDecoderOptions(widths=(16,), temporal=False, flow=False)
    with_flow = FlowDecoderOptions(widths=(16,), temporal=False)
    assert error(with_flow) < 0.8 * error(plain)
