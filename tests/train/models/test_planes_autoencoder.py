from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from shared.conventions import FrameSize
from shared.errors import UserError
from shared.schema import CodecOptions
from train.models.planes_autoencoder import (
    PlanesAutoencoder,
    PlanesAutoencoderOptions,
    TokenGrid,
    join_planes,
    lines_along,
    split_planes,
    tokens_from_lines,
)

SMALL = PlanesAutoencoderOptions(
    patch=4,
    latent_channels=3,
    width=16,
    depth=1,
    heads=2,
    head_dim=4,
    expansion=1,
    projection_depth=1,
    projection_heads=2,
    projection_head_dim=4,
    projection_hidden=8,
)


def autoencoder(size: int = 12, frames: int = 5, **changes: Any) -> PlanesAutoencoder:
    torch.manual_seed(0)
    options = replace(SMALL, **changes)
    return PlanesAutoencoder(options, 1, CodecOptions(size=size, frames=frames, block=4))


def clips(count: int = 2, size: int = 12, frames: int = 5, seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.rand(count, frames, 3, size, size, generator=generator) * 2 - 1


@settings(max_examples=20, deadline=None)
@given(st.integers(1, 4), st.integers(1, 4), st.integers(1, 4))
def test_planes_are_joined_and_parted(frames: int, rows: int, columns: int) -> None:
    grid = TokenGrid(frames, rows, columns)
    assert grid.planes == ((rows, columns), (frames, columns), (frames, rows))
    planes = [torch.randn(2, 3, *shape) for shape in grid.planes]
    joined = join_planes(planes)
    assert joined.shape == (2, 3, rows * columns + frames * (rows + columns))
    parted = split_planes(joined, grid.planes)
    assert all(one.equal(other) for one, other in zip(planes, parted, strict=True))


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_lines_run_along_an_axis_and_lead_back(axis: int) -> None:
    tokens = torch.randn(2, 3, 4, 5, 6)
    lines = lines_along(tokens, axis)
    length = tokens.shape[1 + axis]
    assert lines.shape[3] == length
    assert tokens_from_lines(lines.flatten(-2), axis, length, 6).equal(tokens)
    same = tokens_from_lines(lines.mean(3), axis, length, 6)
    mean = tokens.mean(1 + axis, keepdim=True).expand_as(tokens)
    assert torch.allclose(same, mean, atol=1e-6)


@pytest.mark.parametrize(("size", "frames"), [(12, 5), (13, 2)])
def test_shapes_follow_from_the_clips(size: int, frames: int) -> None:
    network, side = autoencoder(size, frames), -(-size // 4)
    found = network.encode(clips(2, size, frames))
    assert found.shape == (2, 3, side * side + 2 * frames * side)
    assert found.abs().max() < 1
    assert network.decode(found).shape == (2, frames, 3, size, size)
    (clip,), (latent,), passes = network.example_pass(FrameSize(size, size), frames)
    assert network.encode(clip).shape == latent.shape
    assert passes == 1


def averaging(network: PlanesAutoencoder) -> PlanesAutoencoder:
    """Each plane holds the means of its lines."""
    width = network.options.width
    for length, project in zip(network.grid, network.encoder.projections, strict=True):
        weight = torch.randn(3, 1, width).expand(-1, length, -1) / length
        with torch.no_grad():
            project.line.weight.copy_(weight.flatten(1))  # type: ignore[union-attr]
            for parameter in project.recall.parameters() if project.recall else ():
                parameter.zero_()
    return network


@pytest.mark.parametrize(
    ("axis", "planes"), [(1, (1, 2)), (3, (0, 2)), (4, (0, 1))], ids=["time", "height", "width"]
)
@torch.no_grad()
def test_planes_of_a_clip_that_is_constant_along_an_axis_are_constant_along_it(
    axis: int, planes: tuple[int, int]
) -> None:
    """Exact, where the projection averages; every plane that has the axis still has it."""
    network = averaging(autoencoder(lines=True))
    clip = clips()
    clip = clip.narrow(axis, 0, 1).expand_as(clip)
    found = split_planes(network.encode(clip), network.grid.planes)
    for plane in planes:
        # Planes are (h, w), (t, w), (t, h).
        own = {0: (3, 4), 1: (1, 4), 2: (1, 3)}[plane].index(axis)
        values = found[plane].movedim(2 + own, -1)
        assert torch.allclose(values, values[..., :1].expand_as(values), atol=1e-6)
    [other] = {0, 1, 2} - set(planes)
    assert found[other].std() > 0.01


@torch.no_grad()
def test_the_linear_start_restores_what_three_planes_can_hold() -> None:
    """Patches of two kinds, by how much: of a place, of a column over time, of a row over time."""
    generator = torch.Generator().manual_seed(3)
    count, frames, size = 24, 4, 8
    kinds = torch.randn(2, 3, 4, 4, generator=generator) / 4
    whole = torch.zeros(count, frames, 3, size, size)
    for shape in ((1, 2, 2), (frames, 1, 2), (frames, 2, 1)):
        amount = torch.randn(count, *shape, 2, generator=generator).expand(-1, frames, 2, 2, -1)
        patches = torch.einsum("nthwk,kcyx->ntchywx", amount, kinds)
        whole += patches.reshape(whole.shape)
    network = autoencoder(size, frames, lines=True, width=48, latent_channels=16)
    before = (network.decode(network.encode(whole)) - whole).square().mean()
    network.fit_initial(whole)
    after = (network.decode(network.encode(whole)) - whole).square().mean()
    assert after < 0.02 * whole.square().mean() < before


def test_the_loss_is_the_weighted_sum_of_its_parts() -> None:
    network, clip = autoencoder(l2_weight=3.0), clips()
    losses = network.clip_loss(clip, torch.tensor([0, 4]), step=0)
    error = network.decode(network.encode(clip)) - clip
    assert losses.keys() == {"loss", "l1", "l2"}
    assert torch.allclose(losses["l1"], 4 * error.abs().mean())
    assert torch.allclose(losses["l2"], 3 * error.square().mean())
    assert torch.allclose(losses["loss"], losses["l1"] + losses["l2"])


def test_critics_take_part_from_their_step_on() -> None:
    network = autoencoder(16, 4, adversarial_after=3, critic_width=8)
    clip, frame = clips(2, 16, 4), torch.tensor([1, 2])
    early = network.clip_loss(clip, frame, step=2)
    early["loss"].backward()
    grads = [weight.grad for weight in network.critics.parameters()]
    assert all(grad is not None and not grad.any() for grad in grads), "in the graph, at rest"
    assert early["critic"] == 0 and "verdict" not in early
    network.zero_grad()
    late = network.clip_loss(clip, frame, step=3)
    late["loss"].backward()
    moved = [weight.grad.abs().sum() > 0 for weight in network.critics.parameters()]  # type: ignore[union-attr]
    assert sum(moved) > len(moved) - 4
    assert {"critic", "verdict", "matching"} <= late.keys()
    critics = sum(weight.numel() for weight in network.critics.parameters())
    everything = sum(weight.numel() for weight in network.parameters())
    assert network.coding_parameters == everything - critics


def test_missing_weights_of_lpips_are_refused_in_training_alone(tmp_path: Path) -> None:
    network = autoencoder(perceptual=str(tmp_path / "vgg16.pth"))
    network.decode(network.encode(clips()))
    with pytest.raises(UserError, match=r"VGG16 weights .*vgg16\.pth: there is no such file"):
        network.clip_loss(clips(), torch.tensor([0, 0]), step=0)


@pytest.mark.slow
def test_the_published_size_has_the_published_parameters() -> None:
    with torch.device("meta"):
        store = CodecOptions(size=256, frames=16)
        network = PlanesAutoencoder(PlanesAutoencoderOptions(), 1, store)
    assert network.coding_parameters / 1e6 == pytest.approx(62.1, abs=0.1)
    assert sum(rows * columns for rows, columns in network.grid.planes) == 2048
