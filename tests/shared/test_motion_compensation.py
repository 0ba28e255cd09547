from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.conventions import Codec, grid_shape, motion_channels
from shared.motion_compensation import decode_clip, predict, predict_next, residual
from tests import naive
from tests.conftest import CODECS, codecs

seeds = st.integers(0, 2**32 - 1)


@given(seed=seeds, height=st.integers(1, 40), width=st.integers(1, 40), codec=codecs)
def test_prediction_equals_the_oracle(seed: int, height: int, width: int, codec: Codec) -> None:
    """Any int8 vector decodes, also one far outside the frame."""
    rng = np.random.default_rng(seed)
    frames = rng.integers(0, 256, (2, 3, height, width), dtype=np.uint8)
    grid = grid_shape(height, width, codec.block)
    motion = rng.integers(-128, 128, (motion_channels(codec.reference), *grid), dtype=np.int8)
    how = codec.block, codec.vector_unit
    if codec.reference == "either":
        motion[2] = rng.integers(0, 2, grid)
        expected = naive.predict_next(*frames, motion, *how)
    else:
        expected = naive.predict(frames[int(codec.reference == "first")], motion, *how)
    predicted = predict_next(*frames, motion, codec)
    assert predicted.dtype == np.uint8
    assert np.array_equal(predicted, expected)


@given(seed=seeds, unit=st.sampled_from([1, 2]))
def test_a_vector_means_the_same_in_a_finer_unit(seed: int, unit: int) -> None:
    rng = np.random.default_rng(seed)
    frame = rng.integers(0, 256, (3, 13, 9), dtype=np.uint8)
    motion = rng.integers(-60, 60, (2, 4, 3), dtype=np.int8)
    finer = predict(frame, 2 * motion, Codec(4, vector_unit=2 * unit))
    assert np.array_equal(finer, predict(frame, motion, Codec(4, vector_unit=unit)))


def test_halves_round_up_and_edges_are_replicated() -> None:
    """By hand: halves as in MPEG-4, (A + B + 1) >> 1 and (A + B + C + D + 2) >> 2."""
    frame = np.array([[10, 13], [20, 28]], np.uint8)[None].repeat(3, axis=0)

    def upper_left(x: int, y: int, unit: int) -> int:
        vector = np.array([x, y], np.int8).reshape(2, 1, 1)
        return int(predict(frame, vector, Codec(4, vector_unit=unit))[0, 0, 0])

    assert upper_left(1, 0, 2) == (10 + 13 + 1) >> 1 == 12
    assert upper_left(0, 1, 2) == (10 + 20 + 1) >> 1 == 15
    assert upper_left(1, 1, 2) == (10 + 13 + 20 + 28 + 2) >> 2 == 18
    assert upper_left(1, 0, 4) == (12 * 10 + 4 * 13 + 8) >> 4 == 11
    assert upper_left(3, 1, 4) == (3 * 10 + 9 * 13 + 1 * 20 + 3 * 28 + 8) >> 4 == 16
    assert [upper_left(-1, 0, 4), upper_left(-128, -3, 4), upper_left(127, 127, 2)] == [10, 10, 28]


def test_prediction_broadcasts_over_frames() -> None:
    rng = np.random.default_rng(0)
    frame = rng.integers(0, 256, (3, 10, 12), dtype=np.uint8)
    motion = rng.integers(-5, 6, (4, 2, 3, 3), dtype=np.int8)
    codec = Codec(4, vector_unit=2)
    together = predict(frame, motion, codec)
    assert np.array_equal(together, np.stack([predict(frame, m, codec) for m in motion]))


def test_a_grid_that_does_not_fit_is_refused() -> None:
    with pytest.raises(ValueError, match=r"does not fit 8x8 frames at block 4"):
        predict(np.zeros((3, 8, 8), np.uint8), np.zeros((2, 1, 1), np.int8), Codec(4))


def test_any_vectors_are_invertible() -> None:
    """Exactness comes from the residual, not from a good search."""
    rng = np.random.default_rng(1)
    clip = rng.integers(0, 256, (5, 3, 17, 9), dtype=np.uint8)
    for codec in CODECS:
        shape = 4, motion_channels(codec.reference), *grid_shape(17, 9, codec.block)
        motion = rng.integers(-128, 128, shape, dtype=np.int8)
        rest = residual(clip, motion, codec)
        assert rest.dtype == np.int16
        assert np.array_equal(decode_clip(clip[0], motion, rest, codec), clip)


def test_motion_without_an_index_is_refused_where_blocks_choose() -> None:
    frame, motion = np.zeros((3, 4, 4), np.uint8), np.zeros((2, 1, 1), np.int8)
    with pytest.raises(ValueError, match=r"\(2, 1, 1\); its third axis from the end must be x, y"):
        predict_next(frame, frame, motion, Codec(4, "either"))
    with pytest.raises(ValueError, match=r"motion grid \(3, 1, 1\) does not fit"):
        predict_next(frame, frame, motion[[0, 0, 1]], Codec(4, "first"))


def test_generated_residuals_are_clamped() -> None:
    motion = np.zeros((1, 2, 1, 1), np.int8)
    white = np.full((3, 2, 2), 250, np.uint8)
    rest = np.full((1, 3, 2, 2), 100, np.int16)
    clip = decode_clip(white, motion, rest, Codec(4))
    assert clip[1].tolist() == np.full((3, 2, 2), 255).tolist()
