from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from shared.conventions import (
    BLOCKS,
    COMPENSATIONS,
    VECTOR_UNITS,
    Codec,
    Compensation,
    grid_shape,
    motion_channels,
)
from shared.motion_compensation import decode_clip, neighbours, predict, predict_next, residual
from tests import naive
from tests.conftest import CODECS, codecs

seeds = st.integers(0, 2**32 - 1)
smooth = st.sampled_from([kind for kind in COMPENSATIONS if kind != "block"])


@given(seed=seeds, long=st.integers(1, 40), short=st.integers(1, 9), codec=codecs)
@settings(max_examples=80)
def test_prediction_equals_the_oracle(seed: int, long: int, short: int, codec: Codec) -> None:
    """Any int8 vector decodes, also one far outside the frame."""
    rng = np.random.default_rng(seed)
    height, width = rng.permutation([long, short])
    frames = rng.integers(0, 256, (2, 3, height, width), dtype=np.uint8)
    grid = grid_shape(height, width, codec.block)
    motion = rng.integers(-128, 128, (motion_channels(codec.reference), *grid), dtype=np.int8)
    how = codec.block, codec.vector_unit, codec.compensation
    if codec.reference == "either":
        motion[2] = rng.integers(0, 2, grid)
        expected = naive.predict_next(*frames, motion, *how)
    else:
        expected = naive.predict(frames[int(codec.reference == "first")], motion, *how)
    predicted = predict_next(*frames, motion, codec)
    assert predicted.dtype == np.uint8
    assert np.array_equal(predicted, expected)


@given(seed=seeds, unit=st.sampled_from([1, 2]), compensation=st.sampled_from(COMPENSATIONS))
def test_a_vector_means_the_same_in_a_finer_unit(
    seed: int, unit: int, compensation: Compensation
) -> None:
    rng = np.random.default_rng(seed)
    frame = rng.integers(0, 256, (3, 13, 9), dtype=np.uint8)
    motion = rng.integers(-60, 60, (2, 4, 3), dtype=np.int8)
    codec = Codec(4, vector_unit=unit, compensation=compensation)
    finer = predict(frame, 2 * motion, replace(codec, vector_unit=2 * unit))
    assert np.array_equal(finer, predict(frame, motion, codec))


@given(
    seed=seeds,
    height=st.integers(1, 40),
    width=st.integers(1, 40),
    codec=codecs,
    zero=st.booleans(),
)
def test_a_constant_field_is_a_shift_however_it_is_compensated(
    seed: int, height: int, width: int, codec: Codec, zero: bool
) -> None:
    """In whole pixels: of the frame with its edge replicated. A zero field is a copy."""
    rng = np.random.default_rng(seed)
    frames = rng.integers(0, 256, (2, 3, height, width), dtype=np.uint8)
    field = rng.integers(-30, 31, motion_channels(codec.reference))
    field[2:] &= 1
    field[:2] *= not zero
    grid = grid_shape(height, width, codec.block)
    motion = np.broadcast_to(field.astype(np.int8)[:, None, None], (len(field), *grid))
    made = predict_next(*frames, motion, codec)
    assert np.array_equal(made, predict_next(*frames, motion, replace(codec, compensation="block")))
    if not (field[:2] % codec.vector_unit).any():
        x, y = field[:2] // codec.vector_unit
        source = frames[int(codec.reference == "first" or field[2:].any())]
        wide = np.pad(source, ((0, 0), (30, 30), (30, 30)), mode="edge")
        shifted = wide[:, 30 + y : 30 + y + height, 30 + x : 30 + x + width]
        assert np.array_equal(made, shifted)


@given(side=st.integers(1, 70), block=st.integers(1, 33), compensation=smooth)
def test_weights_add_up_and_are_symmetric(
    side: int, block: int, compensation: Compensation
) -> None:
    """For any block size, also an odd one."""
    weights = dense_weights(side, block, compensation)
    scale = 64 if compensation == "overlapped" else 2 * block
    assert (weights >= 0).all()
    assert (weights.sum(axis=1) == scale).all()
    assert ((weights > 0).sum(axis=1) <= 2).all()
    # None counts for more than the own block.
    own = weights[np.arange(side), np.arange(side) // block]
    assert (own >= weights.max(axis=1)).all()
    whole = dense_weights(side * block, block, compensation)
    assert np.array_equal(whole[::-1, ::-1], whole)


def dense_weights(side: int, block: int, compensation: Compensation) -> NDArray[np.int64]:
    """Weight of every block for every pixel of an axis, shape (side, ceil(side / b))."""
    found = neighbours(side, block, compensation)
    weights = np.zeros((side, -(-side // block)), np.int64)
    np.add.at(weights, (np.arange(side), found.before), found.scale - found.weight)
    np.add.at(weights, (np.arange(side), found.after), found.weight)
    return weights


def test_windows_by_hand() -> None:
    """64 sin^2 of 11.25, 33.75, 56.25 and 78.75 degrees, and 2b-ths."""
    overlapped, linear = (neighbours(10, 4, kind) for kind in ("overlapped", "interpolated"))
    assert overlapped.weight.tolist() == [44, 62, 2, 20, 44, 62, 2, 20, 44, 62]
    assert linear.weight.tolist() == [5, 7, 1, 3, 5, 7, 1, 3, 5, 7]
    assert overlapped.before.tolist() == [0, 0, 0, 0, 0, 0, 1, 1, 1, 1]
    assert overlapped.after.tolist() == [0, 0, 1, 1, 1, 1, 2, 2, 2, 2]


def test_compensation_by_hand() -> None:
    """Two blocks of four pixels in one row: the left one still, the right one moved by two."""
    row = np.array([0, 10, 20, 30, 40, 50, 60, 70], np.uint8)
    frame = np.broadcast_to(row, (3, 1, 8))
    motion = np.array([[[0, 2]], [[0, 0]]], np.int8)
    made = {
        kind: predict(frame, motion, Codec(4, "first", 1, kind))[0, 0] for kind in COMPENSATIONS
    }
    assert made["block"].tolist() == [0, 10, 20, 30, 60, 70, 70, 70]
    # Pixels 2 to 5 weigh the right block by 2, 20, 44 and 62 of 64:
    # (62*20 + 2*40)/64 = 20.6; (44*30 + 20*50)/64 = 36.25; (20*40 + 44*60)/64 = 53.75;
    # (2*50 + 62*70)/64 = 69.4.
    assert made["overlapped"].tolist() == [0, 10, 21, 36, 54, 69, 70, 70]
    # They move by 1/4, 3/4, 5/4 and 7/4 pixel: 22.5, 37.5, 52.5, 67.5, halves up.
    assert made["interpolated"].tolist() == [0, 10, 23, 38, 53, 68, 70, 70]


def test_vectors_into_different_frames_are_not_mixed() -> None:
    """A row of two blocks: the left one from the black frame before, the right from frame 0."""
    before = np.zeros((3, 1, 8), np.uint8)
    first = np.broadcast_to(np.arange(0, 80, 10, dtype=np.uint8), (3, 1, 8))
    motion = np.array([[[100, 2]], [[0, 0]], [[0, 1]]], np.int8)
    made = {
        kind: predict_next(before, first, motion, Codec(4, "either", 1, kind))[0, 0].tolist()
        for kind in COMPENSATIONS
    }
    assert made["block"] == made["interpolated"] == [0, 0, 0, 0, 60, 70, 70, 70]
    # Of frame 0 at two to the right, 40, 50, 60 and 70, 2, 20, 44 and 62 parts of 64.
    assert made["overlapped"] == [0, 0, 1, 16, 41, 68, 70, 70]


@given(
    seed=seeds,
    block=st.sampled_from(BLOCKS[:3]),
    unit=st.sampled_from(VECTOR_UNITS),
    height=st.integers(33, 48),
    width=st.integers(33, 48),
)
def test_a_control_grid_follows_affine_motion(
    seed: int, block: int, unit: int, height: int, width: int
) -> None:
    """Between the outer block centres, against floats.

    Bilinear interpolation is exact for an affine field, but the vectors at the centres are rounded
    to 1/u pixel, by 1/2u at most, and so is what is interpolated between them; that is rounded to
    1/64 pixel. On a ramp of slopes g a grey level is then wrong by the slopes times these, and by
    its own rounding.
    """
    rng = np.random.default_rng(seed)
    matrix, shift = rng.uniform(-0.1, 0.1, (2, 2)), rng.uniform(-1, 1, 2)
    slopes = rng.uniform(-1.2, 1.2, 2)
    y, x = np.mgrid[:height, :width]
    middle = np.array([width, height]) / 2

    def vector(x: np.ndarray, y: np.ndarray) -> np.ndarray:
        return np.stack(
            [m @ np.stack([x - middle[0], y - middle[1]]).reshape(2, -1) + s for m, s in
             zip(matrix, shift, strict=True)]
        ).reshape(2, *x.shape)  # fmt: skip

    def ramp(x: np.ndarray, y: np.ndarray) -> np.ndarray:
        return 128 + slopes[0] * (x - middle[0]) + slopes[1] * (y - middle[1])

    rows, columns = grid_shape(height, width, block)
    centre_y, centre_x = np.mgrid[:rows, :columns] * block + (block - 1) / 2
    motion = np.floor(vector(centre_x, centre_y) * unit + 0.5).astype(np.int8)
    frame = np.rint(ramp(x, y)).astype(np.uint8)[None].repeat(3, axis=0)
    made = predict(frame, motion, Codec(block, "first", unit, "interpolated"))[0]
    vx, vy = vector(x, y)
    exact = ramp(x + vx, y + vy)
    inside = (y >= centre_y[0, 0]) & (y <= centre_y[-1, 0])
    inside &= (x >= centre_x[0, 0]) & (x <= centre_x[0, -1])
    inside &= (x + vx >= 1) & (x + vx <= width - 2) & (y + vy >= 1) & (y + vy <= height - 2)
    bound = np.abs(slopes).sum() * (0.5 / unit + 0.5 / 64) + 0.5 + 0.5
    assert inside.sum() > 50
    assert np.abs(made - exact)[inside].max() <= bound + 1e-9


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
