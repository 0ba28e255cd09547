from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from tests.train import naive
from train.models.warp import pixel_grid, resize_field, warp

CPU = torch.device("cpu")


def pictures(count: int, height: int, width: int, seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.rand(count, 3, height, width, generator=generator) * 2 - 1


@settings(max_examples=20, deadline=None)
@given(st.integers(1, 7), st.integers(1, 7), st.floats(0.1, 9.0), st.integers(0, 10**6))
def test_warping_is_the_oracles(height: int, width: int, reach: float, seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    picture = pictures(2, height, width, seed)
    flow = reach * torch.randn(2, 2, height, width, generator=generator)
    expected = torch.stack([naive.warp(*pair) for pair in zip(picture, flow, strict=True)])
    assert torch.allclose(warp(picture, flow), expected, atol=1e-4)


@pytest.mark.parametrize("side", [(64, 64), (128, 128), (17, 300)])
def test_no_flow_gives_the_picture_back_to_the_last_grey_level(side: tuple[int, int]) -> None:
    """LFDM's public code enlarges it by w / (w - 1) and darkens its border."""
    grey = torch.randint(0, 256, (1, 3, *side), generator=torch.Generator().manual_seed(0))
    found = warp(grey / 127.5 - 1, torch.zeros(1, 2, *side))
    assert ((found + 1) * 127.5).round().long().equal(grey)


@pytest.mark.parametrize(("across", "down"), [(3, 0), (0, -2), (-1, 4)])
def test_a_shifted_square_comes_from_where_it_was(across: int, down: int) -> None:
    """Backward flow: x to the right, y down; outside the frame the border is repeated."""
    reference = torch.zeros(1, 1, 20, 20)
    reference[..., 6:12, 5:11] = 1.0
    flow = torch.zeros(1, 2, 20, 20)
    flow[:, 0], flow[:, 1] = -across, -down
    moved = warp(reference, flow)
    expected = torch.zeros(1, 1, 20, 20)
    expected[..., 6 + down : 12 + down, 5 + across : 11 + across] = 1.0
    assert torch.allclose(moved, expected, atol=1e-5)


def test_a_rotated_ramp_is_exact_and_a_rotated_square_nearly() -> None:
    """Bilinear samples of a linear picture are exact; a square's edges blur by a pixel."""
    angle, size = math.radians(20), 33
    turn = torch.tensor([[math.cos(angle), -math.sin(angle)], [math.sin(angle), math.cos(angle)]])
    places = pixel_grid(size, size, CPU) - 16  # (2, h, w) about the centre
    flow = (torch.einsum("ij,jhw->ihw", turn, places) - places)[None]
    inside = (places.square().sum(0) < 15**2)[None, None]
    ramp = (2 * places[0] + places[1])[None, None]
    expected = torch.einsum("i,ihw->hw", torch.tensor([2.0, 1.0]) @ turn, places)[None, None]
    assert torch.allclose(warp(ramp, flow)[inside], expected[inside], atol=1e-4)

    square = (places.abs().amax(dim=0) <= 8).float()[None, None]
    turned = torch.einsum("ij,jhw->ihw", turn, places)
    distance = turned.abs().amax(dim=0)[None, None] - 8
    clear = (distance.abs() > 1) & inside
    assert torch.allclose(warp(square, flow)[clear], (distance < 0).float()[clear], atol=1e-5)


def test_a_field_of_cells_is_enlarged_about_their_centres() -> None:
    """The value at pixel centre 4 i + 1.5 is cell i's: linear fields stay linear."""
    cells = pixel_grid(5, 6, CPU)[None]
    found = resize_field(cells, 4)
    assert found.shape == (1, 2, 20, 24)
    expected = (pixel_grid(20, 24, CPU) - 1.5) / 4
    inner = (slice(None), slice(2, 18), slice(2, 22))
    assert torch.allclose(found[0][inner], expected[inner], atol=1e-5)


def test_coordinates_stay_in_full_precision_under_autocast() -> None:
    picture, flow = pictures(1, 128, 128), torch.full((1, 2, 128, 128), 0.3)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        found = warp(picture, flow)
    assert found.dtype == torch.float32
    assert found.equal(warp(picture, flow))
