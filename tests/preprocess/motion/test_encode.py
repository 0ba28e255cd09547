"""The codec: first frame + motion + residual give back every frame bit for bit."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from preprocess.motion.encode import clip_luma, clip_residual, encode, restore_clip
from shared.conventions import Codec, grid_shape, luma, motion_channels
from shared.motion_compensation import decode_clip, residual
from shared.schema import CodecOptions
from tests.conftest import CODECS, codecs, moving_square


def round_trip(clip: NDArray[np.uint8], options: CodecOptions) -> NDArray[np.uint8]:
    encoded = encode(clip, options)
    assert encoded.motion.dtype == np.int8
    assert encoded.residual.dtype == np.int16
    return decode_clip(encoded.first_frame, encoded.motion, encoded.residual, options.codec)


@given(
    seed=st.integers(0, 2**32 - 1),
    kind=st.sampled_from(["noise", "constant", "moving"]),
    frames=st.integers(2, 5),
    height=st.integers(1, 40),
    width=st.integers(1, 40),
    codec=codecs,
    search_range=st.integers(0, 9),
    motion_cost=st.sampled_from([0.0, 0.3]),
)
def test_decode_of_encode_is_the_clip(
    seed: int,
    kind: str,
    frames: int,
    height: int,
    width: int,
    codec: Codec,
    search_range: int,
    motion_cost: float,
) -> None:
    rng = np.random.default_rng(seed)
    clip = {
        "noise": rng.integers(0, 256, (frames, 3, height, width), dtype=np.uint8),
        "constant": np.full((frames, 3, height, width), seed % 256, np.uint8),
        "moving": moving_square(frames, height, width, seed).transpose(0, 3, 1, 2),
    }[kind]
    costs = {"search_range": search_range, "motion_cost": motion_cost}
    options = CodecOptions(frames=frames, **vars(codec), **costs)
    assert np.array_equal(round_trip(clip, options), clip)


@pytest.mark.parametrize(("height", "width"), [(1, 1), (17, 33), (100, 75), (128, 128)])
def test_named_sizes(height: int, width: int) -> None:
    clip = moving_square(4, height, width).transpose(0, 3, 1, 2)
    for codec in CODECS[::5]:
        assert np.array_equal(round_trip(clip, CodecOptions(frames=4, **vars(codec))), clip)


@given(
    seed=st.integers(0, 2**32 - 1),
    shape=st.tuples(st.integers(2, 3), st.just(3), st.integers(1, 70), st.integers(1, 70)),
    codec=codecs,
    reach=st.sampled_from([0, 3, 127]),
)
@settings(max_examples=80)
def test_kernels_do_what_shared_says(
    seed: int, shape: tuple[int, int, int, int], codec: Codec, reach: int
) -> None:
    """For any vectors, also those that point out of the frame."""
    rng = np.random.default_rng(seed)
    clip = rng.integers(0, 256, shape, dtype=np.uint8)
    grid, channels = grid_shape(*shape[2:], codec.block), motion_channels(codec.reference)
    motion = rng.integers(-reach, reach + 1, (shape[0] - 1, channels, *grid)).astype(np.int8)
    wanted = residual(clip, motion, codec)
    assert np.array_equal(clip_residual(clip, motion, codec), wanted)
    assert np.array_equal(clip_luma(clip), luma(clip))
    rest = rng.integers(-255, 256, wanted.shape).astype(np.int16)
    for stored in (wanted, rest):
        restored = restore_clip(clip[0], motion, stored, codec)
        assert np.array_equal(restored, decode_clip(clip[0], motion, stored, codec))


def test_motion_explains_a_moving_square() -> None:
    clip = moving_square(6, 64, 64).transpose(0, 3, 1, 2)
    encoded = encode(clip, CodecOptions(frames=6, block=8, search_range=8))
    difference = np.diff(clip.astype(np.int16), axis=0)
    assert np.abs(encoded.residual).sum() < 0.5 * np.abs(difference).sum()
