from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from preprocess.motion import search
from shared.conventions import Codec, grid_shape, luma
from tests import naive


@given(st.integers(0, 2**32 - 1), st.integers(1, 9), st.integers(1, 9))
def test_luma_is_the_integer_formula(seed: int, height: int, width: int) -> None:
    frame = np.random.default_rng(seed).integers(0, 256, (3, height, width), dtype=np.uint8)
    assert np.array_equal(luma(frame), naive.luma(frame))


def test_luma_of_extremes() -> None:
    assert luma(np.full((2, 3, 1, 1), 255, np.uint8)).tolist() == [[[255]], [[255]]]
    assert luma(np.zeros((3, 1, 1), np.uint8)).item() == 0


@pytest.mark.parametrize(
    ("height", "width", "block", "grid"),
    [(128, 128, 16, (8, 8)), (1, 1, 32, (1, 1)), (17, 33, 16, (2, 3)), (16, 15, 4, (4, 4))],
)
def test_grid_counts_cut_blocks(height: int, width: int, block: int, grid: tuple[int, int]) -> None:
    assert grid_shape(height, width, block) == grid


@pytest.mark.parametrize("method", ["exhaustive", "naive"])
def test_a_square_moving_right_and_down_has_negative_vectors(method: str) -> None:
    """It moved 3 right and 2 down, so its block's predictor lies 3 left and 2 up: (-3, -2)."""
    rng = np.random.default_rng(0)
    clip = np.full((2, 32, 32), 7, np.uint8)
    square = rng.integers(50, 256, (8, 8), dtype=np.uint8)
    clip[0, 6:14, 13:21] = square
    clip[1, 8:16, 16:24] = square
    motion = search(clip, Codec(8), search_range=4, method=method)
    assert motion[0, :, 1, 2].tolist() == [-3, -2]
    assert np.count_nonzero(motion[0, :, 3]) == 0


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"block": 7}, "block 7; it must be one of 4, 8, 16, 32"),
        ({"block": 8, "vector_unit": 3}, "vector_unit 3; it must be one of 1, 2, 4"),
        ({"block": 8, "reference": "next"}, "'next'; it must be one of previous, first, either"),
    ],
)
def test_a_codec_refuses_other_values_by_name(values: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Codec(**values)
