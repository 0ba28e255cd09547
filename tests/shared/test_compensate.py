from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.compensate import decode_clip, predict, residual
from shared.conventions import BLOCKS, grid_shape
from tests import naive


@given(
    seed=st.integers(0, 2**32 - 1),
    height=st.integers(1, 40),
    width=st.integers(1, 40),
    block=st.sampled_from(BLOCKS),
)
def test_prediction_equals_the_oracle(seed: int, height: int, width: int, block: int) -> None:
    """Any int8 vector decodes, those far outside the frame too."""
    rng = np.random.default_rng(seed)
    frame = rng.integers(0, 256, (3, height, width), dtype=np.uint8)
    motion = rng.integers(-128, 128, (2, *grid_shape(height, width, block)), dtype=np.int8)
    predicted = predict(frame, motion, block=block)
    assert np.array_equal(predicted, naive.predict(frame, motion, block))


def test_prediction_broadcasts_over_frames() -> None:
    rng = np.random.default_rng(0)
    frame = rng.integers(0, 256, (3, 10, 12), dtype=np.uint8)
    motion = rng.integers(-5, 6, (4, 2, 3, 3), dtype=np.int8)
    together = predict(frame, motion, block=4)
    assert np.array_equal(together, np.stack([predict(frame, m, block=4) for m in motion]))


def test_a_grid_that_does_not_fit_is_refused() -> None:
    with pytest.raises(ValueError, match=r"does not fit 8x8 frames at block 4"):
        predict(np.zeros((3, 8, 8), np.uint8), np.zeros((2, 1, 1), np.int8), block=4)


@pytest.mark.parametrize("reference", ["previous", "first"])
def test_any_vectors_are_invertible(reference: str) -> None:
    """Exactness comes from the residual, not from a good search."""
    rng = np.random.default_rng(1)
    clip = rng.integers(0, 256, (5, 3, 17, 9), dtype=np.uint8)
    motion = rng.integers(-128, 128, (4, 2, 3, 2), dtype=np.int8)
    rest = residual(clip, motion, block=8, reference=reference)  # type: ignore[arg-type]
    again = decode_clip(clip[0], motion, rest, block=8, reference=reference)  # type: ignore[arg-type]
    assert rest.dtype == np.int16
    assert np.array_equal(again, clip)


def test_generated_residuals_are_clamped() -> None:
    motion = np.zeros((1, 2, 1, 1), np.int8)
    white = np.full((3, 2, 2), 250, np.uint8)
    rest = np.full((1, 3, 2, 2), 100, np.int16)
    clip = decode_clip(white, motion, rest, block=4, reference="previous")
    assert clip[1].tolist() == np.full((3, 2, 2), 255).tolist()
