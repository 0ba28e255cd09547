"""The first frame's encoder, the refiner, and the layers they share."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from train.models.conditions import FirstFrameEncoder
from train.models.layers import pad_to_blocks, zero_initialise
from train.models.refiner import Refiner, RefinerOptions


@pytest.mark.parametrize("cell", [1, 2, 4, 8, 16, 32])
def test_first_frame_features_lie_on_the_grid(cell: int) -> None:
    encoder = FirstFrameEncoder(channels=8, cell=cell)
    features = encoder(torch.rand(2, 3, 2 * cell, 3 * cell))
    assert features.shape == (2, 8, 2, 3)


def test_first_frame_features_depend_on_their_place() -> None:
    torch.manual_seed(0)
    encoder = FirstFrameEncoder(channels=8, cell=4)
    frame = torch.rand(1, 3, 4, 64)
    changed = frame.clone()
    changed[..., 60:] += 1
    change = (encoder(changed) - encoder(frame)).abs().amax(dim=(0, 1))
    assert int(change.argmax()) == 15
    assert change[0, 15] > 1e-3


def refiner(passes: int = 1) -> Refiner:
    torch.manual_seed(0)
    return Refiner(RefinerOptions(width=8, passes=passes)).eval()


def shake(network: nn.Module) -> None:
    with torch.no_grad():
        for parameter in network.parameters():
            parameter += 0.05 * torch.randn_like(parameter)


def clips() -> list[Tensor]:
    generator = torch.Generator().manual_seed(0)
    estimate, prediction = torch.rand(2, 2, 5, 3, 8, 12, generator=generator)
    before, first = torch.rand(2, 2, 3, 8, 12, generator=generator)
    return [estimate, prediction, before, first]


@pytest.mark.parametrize("passes", [1, 3])
def test_a_refiner_starts_as_the_identity(passes: int) -> None:
    arguments = clips()
    results = refiner(passes)(*arguments)
    assert len(results) == passes
    assert all(result.equal(arguments[0]) for result in results)


@torch.no_grad()
def test_passes_differ_once_it_has_learned() -> None:
    network = refiner(2)
    shake(network)
    estimate, *rest = clips()
    one, two = network(estimate, *rest)
    assert one.shape == two.shape == estimate.shape
    again = network(one, *rest)[0]
    assert torch.allclose(two, again, atol=1e-5)
    assert not torch.allclose(one, two, atol=1e-4)


@torch.no_grad()
def test_a_pass_depends_on_the_neighbouring_frames_alone() -> None:
    network = refiner()
    shake(network)
    estimate, *rest = clips()
    (before,) = network(estimate, *rest)
    changed = estimate.clone()
    changed[:, 3] += 0.5
    (after,) = network(changed, *rest)
    frames = (after - before).abs().amax(dim=(0, 2, 3, 4))
    assert (frames > 1e-4).tolist() == [False, False, True, True, True]


@pytest.mark.parametrize("position", [1, 2, 3])
@torch.no_grad()
def test_prediction_frame_before_and_first_frame_matter(position: int) -> None:
    network, arguments = refiner(), clips()
    shake(network)
    (before,) = network(*arguments)
    arguments[position] = arguments[position].flip(-1)
    assert not torch.allclose(network(*arguments)[0], before, atol=1e-4)


@pytest.mark.parametrize(
    "layer", [nn.Linear(3, 2), nn.Linear(3, 2, bias=False), nn.Conv2d(3, 2, 1)]
)
def test_zero_initialise(layer: nn.Linear | nn.Conv2d) -> None:
    assert zero_initialise(layer) is layer
    assert not any(parameter.any() for parameter in layer.parameters())


def test_padding_to_whole_blocks_adds_zeros_below_and_right() -> None:
    padded = pad_to_blocks(torch.ones(2, 3, 5, 8), 4)
    assert padded.shape == (2, 3, 8, 8)
    assert padded[..., :5, :].all()
    assert not padded[..., 5:, :].any()
    assert pad_to_blocks(padded, 4).equal(padded)
