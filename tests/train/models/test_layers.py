from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from train.models.layers import doubled, reduce


def reduced_slowly(picture: Tensor, factor: int) -> Tensor:
    """One plane, (H, W): the weighted mean of the pixels around each square's centre."""
    height, width = picture.shape
    sigma = (factor - 1) / 2
    reach = range(-4 * factor, 5 * factor)
    result = torch.zeros(height // factor, width // factor, dtype=torch.float64)
    for i in range(height // factor):
        for j in range(width // factor):
            total = weights = 0.0
            for y in reach:
                for x in reach:
                    down, across = y - (factor - 1) / 2, x - (factor - 1) / 2
                    if max(abs(down), abs(across)) > 4 * sigma:
                        continue
                    weight = math.exp(-(down**2 + across**2) / (2 * sigma**2))
                    row = min(max(i * factor + y, 0), height - 1)
                    column = min(max(j * factor + x, 0), width - 1)
                    total += weight * float(picture[row, column])
                    weights += weight
            result[i, j] = total / weights
    return result


@pytest.mark.parametrize(("factor", "size"), [(2, (6, 9)), (4, (12, 8)), (8, (16, 8))])
def test_it_is_a_gaussian_mean_around_each_square(factor: int, size: tuple[int, int]) -> None:
    picture = torch.rand(2, 3, *size, generator=torch.Generator().manual_seed(factor))
    expected = reduced_slowly(picture[1, 2], factor)
    assert torch.allclose(reduce(picture, factor)[1, 2].double(), expected, atol=1e-6)


@settings(max_examples=20, deadline=None)
@given(st.sampled_from([2, 4, 8]), st.integers(1, 4), st.integers(1, 4), st.floats(-1, 1))
def test_even_pictures_stay_even(factor: int, rows: int, columns: int, value: float) -> None:
    picture = torch.full((1, 1, rows * factor, columns * factor), value)
    reduced = reduce(picture, factor)
    assert reduced.shape == (1, 1, rows, columns)
    assert torch.allclose(reduced, torch.tensor(value), atol=1e-6)


def test_a_ramp_keeps_its_place() -> None:
    ramp = torch.arange(64.0).expand(1, 1, 64, 64)
    inside = reduce(ramp, 4)[0, 0, 8, 4:-4]
    assert torch.allclose(inside, 4 * torch.arange(4.0, 12.0) + 1.5, atol=1e-4)


def test_stripes_finer_than_its_pixels_vanish() -> None:
    stripes = torch.tensor([1.0, -1.0]).repeat(32).expand(1, 1, 64, 64)
    assert reduce(stripes, 4)[..., 4:-4].abs().max() < 0.01
    assert stripes[..., ::4].abs().min() == 1


def test_it_is_in_float32_under_autocast() -> None:
    picture = torch.rand(1, 3, 16, 16, generator=torch.Generator().manual_seed(0))
    with torch.autocast("cpu", torch.bfloat16):
        assert reduce(picture, 2).equal(reduce(picture, 2).float())
        inside = reduce(picture, 4)
    assert inside.dtype == torch.float32
    assert inside.equal(reduce(picture, 4))


def test_factor_one_changes_nothing() -> None:
    picture = torch.rand(1, 3, 5, 7)
    assert reduce(picture, 1).equal(picture)


@pytest.mark.parametrize("learning", [True, False])
def test_doubled_shows_each_place_four_times(learning: bool) -> None:
    picture = torch.rand(2, 3, 4, 5, generator=torch.Generator().manual_seed(0))
    with torch.set_grad_enabled(learning):
        assert torch.equal(doubled(picture), torch.kron(picture, torch.ones(2, 2)))
