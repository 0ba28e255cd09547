from __future__ import annotations

import pytest
import torch
from torch import nn

from train.models.timesformer import (
    LineSummary,
    TimeSformer,
    place_angles,
    rotate,
    time_angles,
)


def randomise(network: nn.Module, seed: int = 0) -> None:
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for weight in network.parameters():
            weight.copy_(0.3 * torch.randn(weight.shape, generator=generator))


def normal(*shape: int, seed: int = 1) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def test_logits_depend_on_the_distance_of_frames_alone() -> None:
    query, key, angles = normal(8), normal(8, seed=2), time_angles(9, 8)
    turned = [rotate(x.expand(9, -1), angles) for x in (query, key)]
    logits = turned[0] @ turned[1].T
    for distance in range(-4, 5):
        values = logits.diagonal(distance)
        assert torch.allclose(values, values[:1].expand_as(values), atol=1e-4)
    assert logits[0].std() > 0.1


def test_places_turn_with_their_row_and_with_their_column() -> None:
    angles = place_angles(3, 5, 8).view(3, 5, 2, 2)
    assert angles[:, :1, 0].expand(-1, 5, -1).equal(angles[:, :, 0])
    assert angles[:1, :, 1].expand(3, -1, -1).equal(angles[:, :, 1])
    assert torch.allclose(angles[0, 0], -angles[2, 4])
    assert torch.allclose(angles[2, 4, 0], torch.pi * torch.tensor([1.0, 5.0]))


def test_training_starts_at_the_identity() -> None:
    tokens = normal(2, 3, 4, 8)
    assert TimeSformer((3, 2, 2), 8, 2, 2, 4, 2)(tokens).equal(tokens)


@pytest.mark.parametrize("part", ["time", "space"])
def test_a_token_sees_its_place_over_time_and_its_frame(part: str) -> None:
    """With one kind of attention left out, a change stays in its line."""
    network = TimeSformer((3, 2, 2), 8, 1, 2, 4, 2)
    randomise(network)
    other = network.space if part == "time" else network.time
    nn.init.zeros_(other[0].output.weight)
    nn.init.zeros_(other[0].output.bias)
    tokens = normal(1, 3, 4, 8)
    changed = tokens.clone()
    changed[0, 1, 2] += normal(8, seed=5)  # one number would be normalised away
    moved = (network(changed) - network(tokens)).abs().amax(dim=(0, 3)) > 1e-6
    expected = torch.zeros(3, 4, dtype=torch.bool)
    expected[:, 2] |= part == "time"
    expected[1] |= part == "space"
    assert moved.equal(expected)


def test_the_summary_token_is_what_is_read() -> None:
    network = LineSummary(5, 8, 2, 2, 4, 16)
    lines = normal(3, 5, 8)
    own = network.summary + network.position[0]
    assert network(lines).equal(own.expand(3, -1)), "nothing has been attended to yet"
    randomise(network)
    lines.requires_grad_()
    network(lines)[1].sum().backward()
    assert lines.grad is not None
    assert (lines.grad[1].abs().amax(dim=1) > 0).all(), "it reads every token of its line"
    assert not lines.grad[[0, 2]].any()


def test_positions_are_small_at_first() -> None:
    assert LineSummary(50, 64, 1, 2, 4, 8).position.std() < 0.03
