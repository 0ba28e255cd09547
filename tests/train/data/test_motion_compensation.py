"""The torch version equals the numpy one, which equals the naive oracle."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from shared import motion_compensation as exact
from shared.conventions import Codec, grid_shape, motion_channels
from tests.conftest import CODECS, codecs
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


def random_parts(
    seed: int, height: int, width: int, codec: Codec
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """First frames, vectors that leave the frame, residuals that clamp; of several clips."""
    rng = np.random.default_rng(seed)
    grid = grid_shape(height, width, codec.block)
    first_frame = rng.integers(0, 256, (CLIPS, 3, height, width), dtype=np.uint8)
    reach, channels = rng.choice([3, 128]), motion_channels(codec.reference)
    motion = rng.integers(-reach, reach, (CLIPS, FRAMES - 1, channels, *grid), dtype=np.int8)
    rest = rng.integers(-255, 256, (CLIPS, FRAMES - 1, 3, height, width), dtype=np.int16)
    return first_frame, motion, rest


@pytest.mark.parametrize("device", DEVICES)
@given(seed=seeds, height=sides, width=sides, codec=codecs)
def test_predictions_equal_numpy(
    device: str, seed: int, height: int, width: int, codec: Codec
) -> None:
    codec = replace(codec, reference="first")
    first_frame, motion, _ = random_parts(seed, height, width, codec)
    frames, vectors = (torch.from_numpy(array).to(device) for array in (first_frame, motion))
    one = predict(frames, vectors[:, 0], codec)
    assert one.dtype == torch.uint8
    assert np.array_equal(one.cpu().numpy(), exact.predict(first_frame, motion[:, 0], codec))
    every = predict_from_first(frames, vectors, codec)
    assert np.array_equal(every.cpu().numpy(), exact.predict(first_frame[:, None], motion, codec))


@pytest.mark.parametrize("device", DEVICES)
@given(seed=seeds, height=sides, width=sides, codec=codecs)
@settings(max_examples=80)
def test_decoding_equals_numpy(
    device: str, seed: int, height: int, width: int, codec: Codec
) -> None:
    parts = random_parts(seed, height, width, codec)
    tensors = (torch.from_numpy(array).to(device) for array in parts)
    decoded = decode_clips(*tensors, codec)
    expected = [exact.decode_clip(*clip, codec) for clip in zip(*parts, strict=True)]
    assert decoded.dtype == torch.uint8
    assert np.array_equal(decoded.cpu().numpy(), np.stack(expected))


@pytest.mark.parametrize("codec", [codec for codec in CODECS if codec.block == 4], ids=str)
def test_stored_residuals_give_the_clip_back(codec: Codec) -> None:
    rng = np.random.default_rng(0)
    clip = rng.integers(0, 256, (4, 3, 9, 14), dtype=np.uint8)
    motion = rng.integers(-128, 128, (3, motion_channels(codec.reference), 3, 4), dtype=np.int8)
    rest = exact.residual(clip, motion, codec)
    tensors = (torch.from_numpy(array)[None] for array in (clip[0], motion, rest))
    assert np.array_equal(decode_clips(*tensors, codec)[0].numpy(), clip)


def test_a_grid_that_does_not_fit_is_refused() -> None:
    with pytest.raises(ValueError, match=r"\(2, 1, 1\) does not fit 8x8 frames at block 4"):
        predict(torch.zeros(1, 3, 8, 8), torch.zeros(1, 2, 1, 1), Codec(4))


def test_motion_without_an_index_is_refused_where_blocks_choose() -> None:
    frames, motion = torch.zeros(1, 3, 4, 4), torch.zeros(1, 2, 1, 1)
    with pytest.raises(ValueError, match=r"\(1, 2, 1, 1\); its second axis must be x, y, index"):
        predict_next(frames, frames, motion, Codec(4, "either"))


def test_floats_are_not_interpolated() -> None:
    frames, motion = torch.rand(1, 3, 8, 8), torch.zeros(1, 2, 2, 2)
    assert predict(frames, motion, Codec(4)).dtype == torch.float32
    for codec in (
        Codec(4, vector_unit=2),
        Codec(4, compensation="overlapped"),
        Codec(4, compensation="interpolated"),
    ):
        with pytest.raises(
            ValueError, match=r"torch\.float32; between pixels or blocks it must be"
        ):
            predict(frames, motion, codec)
