"""The torch version equals the numpy one, which equals the naive oracle."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from shared import motion_compensation as exact
from shared.conventions import (
    BLOCKS,
    REFERENCES,
    VECTOR_UNITS,
    Codec,
    Reference,
    grid_shape,
    motion_channels,
)
from train.data.motion_compensation import decode_clips, predict, predict_from_first, predict_next

DEVICES = [
    "cpu",
    pytest.param(
        "cuda", marks=pytest.mark.skipif(not torch.cuda.is_available(), reason="needs CUDA")
    ),
]
CLIPS, FRAMES = 2, 3

seeds = st.integers(0, 2**32 - 1)
sides = st.integers(1, 40)
blocks = st.sampled_from(BLOCKS)
units = st.sampled_from(VECTOR_UNITS)


def random_parts(
    seed: int, height: int, width: int, block: int, reference: Reference = "previous"
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """First frames, vectors that leave the frame, residuals that clamp; of several clips."""
    rng = np.random.default_rng(seed)
    grid = grid_shape(height, width, block)
    first_frame = rng.integers(0, 256, (CLIPS, 3, height, width), dtype=np.uint8)
    reach, channels = rng.choice([3, 128]), motion_channels(reference)
    motion = rng.integers(-reach, reach, (CLIPS, FRAMES - 1, channels, *grid), dtype=np.int8)
    rest = rng.integers(-255, 256, (CLIPS, FRAMES - 1, 3, height, width), dtype=np.int16)
    return first_frame, motion, rest


@pytest.mark.parametrize("device", DEVICES)
@given(seed=seeds, height=sides, width=sides, block=blocks, unit=units)
def test_predictions_equal_numpy(
    device: str, seed: int, height: int, width: int, block: int, unit: int
) -> None:
    first_frame, motion, _ = random_parts(seed, height, width, block)
    frames, vectors = (torch.from_numpy(array).to(device) for array in (first_frame, motion))
    how = {"block": block, "vector_unit": unit}
    codec = Codec(**how)
    one = predict(frames, vectors[:, 0], **how)
    assert one.dtype == torch.uint8
    assert np.array_equal(one.cpu().numpy(), exact.predict(first_frame, motion[:, 0], codec))
    every = predict_from_first(frames, vectors, **how)
    assert np.array_equal(every.cpu().numpy(), exact.predict(first_frame[:, None], motion, codec))


@pytest.mark.parametrize("device", DEVICES)
@given(
    seed=seeds,
    height=sides,
    width=sides,
    block=blocks,
    reference=st.sampled_from(REFERENCES),
    unit=units,
)
def test_decoding_equals_numpy(
    device: str, seed: int, height: int, width: int, block: int, reference: Reference, unit: int
) -> None:
    parts = random_parts(seed, height, width, block, reference)
    tensors = (torch.from_numpy(array).to(device) for array in parts)
    decoded = decode_clips(*tensors, block=block, reference=reference, vector_unit=unit)
    expected = [
        exact.decode_clip(*clip, Codec(block, reference, unit)) for clip in zip(*parts, strict=True)
    ]
    assert decoded.dtype == torch.uint8
    assert np.array_equal(decoded.cpu().numpy(), np.stack(expected))


@pytest.mark.parametrize("vector_unit", VECTOR_UNITS)
@pytest.mark.parametrize("reference", REFERENCES)
def test_stored_residuals_give_the_clip_back(reference: Reference, vector_unit: int) -> None:
    rng = np.random.default_rng(0)
    clip = rng.integers(0, 256, (4, 3, 9, 14), dtype=np.uint8)
    motion = rng.integers(-128, 128, (3, motion_channels(reference), 3, 4), dtype=np.int8)
    rest = exact.residual(clip, motion, Codec(4, reference, vector_unit))
    tensors = (torch.from_numpy(array)[None] for array in (clip[0], motion, rest))
    decoded = decode_clips(*tensors, block=4, reference=reference, vector_unit=vector_unit)
    assert np.array_equal(decoded[0].numpy(), clip)


def test_a_grid_that_does_not_fit_is_refused() -> None:
    with pytest.raises(ValueError, match=r"\(2, 1, 1\) does not fit 8x8 frames at block 4"):
        predict(torch.zeros(1, 3, 8, 8), torch.zeros(1, 2, 1, 1), block=4, vector_unit=1)


def test_motion_without_an_index_is_refused_where_blocks_choose() -> None:
    frames, motion = torch.zeros(1, 3, 4, 4), torch.zeros(1, 2, 1, 1)
    with pytest.raises(ValueError, match=r"\(1, 2, 1, 1\); its second axis must be x, y, index"):
        predict_next(frames, frames, motion, block=4, reference="either", vector_unit=1)


def test_floats_are_not_interpolated() -> None:
    motion = torch.zeros(1, 2, 2, 2)
    assert predict(torch.rand(1, 3, 8, 8), motion, block=4, vector_unit=1).dtype == torch.float32
    with pytest.raises(ValueError, match=r"torch\.float32; between pixels it must be uint8"):
        predict(torch.rand(1, 3, 8, 8), motion, block=4, vector_unit=2)
