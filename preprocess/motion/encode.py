"""Encode a clip in the store's form (first frame, motion, residual), and restore it.

`shared` states in NumPy what the kernels here compute, many times as fast.
"""

from __future__ import annotations

from dataclasses import dataclass
from importlib import import_module

import numpy as np
from numba import njit
from numpy.typing import NDArray

from preprocess.motion import search
from preprocess.motion.compensation import smooth_residual_into
from preprocess.motion.kernels.candidate_key import JIT, KERNEL_SOURCE_HASH, PART, interpolated
from preprocess.motion.kernels.vectors import add, add_between, subtract, subtract_between
from shared.conventions import Codec
from shared.motion_compensation import neighbours
from shared.schema import CodecOptions


@dataclass(frozen=True)
class Encoded:
    """A clip as `shared.motion_compensation.decode_clip` takes it.

    Attributes:
        first_frame: uint8, shape (3, H, W).
        motion: int8 in units of 1/vector_unit pixel, shape (T-1, C, ceil(H/b), ceil(W/b)); C is 3
            where blocks choose their reference, else 2.
        residual: int16, shape (T-1, 3, H, W).
    """

    first_frame: NDArray[np.uint8]
    motion: NDArray[np.int8]
    residual: NDArray[np.int16]


def encode(clip: NDArray[np.uint8], options: CodecOptions) -> Encoded:
    """Search a clip's motion and take the residual; loses nothing.

    Args:
        clip: uint8 RGB, shape (T, 3, H, W), any H and W of at least one pixel.
        options: codec, search range, method and motion cost are used here.
    """
    clip = np.ascontiguousarray(clip)
    motion = find_motion(clip, options, options.method)
    return Encoded(clip[0], motion, clip_residual(clip, motion, options.codec))


def find_motion(clip: NDArray[np.uint8], options: CodecOptions, method: str) -> NDArray[np.int8]:
    """Vectors of a clip: of its blocks by their luma, or of whole frames by their colours.

    Args:
        clip: uint8 RGB, shape (T, 3, H, W), C order.
        options: codec, search range and motion cost are used here.
        method: `variational`, or one of `preprocess.motion.METHODS`.

    Returns:
        int8 in units of 1/vector_unit pixel, shape (T-1, C, ceil(H/b), ceil(W/b)).
    """
    if method == "variational":
        fields: NDArray[np.int8] = import_module("preprocess.motion.variational").search(
            clip, options.codec, options.search_range, options.motion_cost
        )
        return fields
    return search(
        clip_luma(clip),
        options.codec,
        search_range=options.search_range,
        method=method,
        motion_cost=options.motion_cost,
    )


def clip_luma(clip: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """`shared.conventions.luma` of a clip (T, 3, H, W) in C order."""
    frames, channels, height, width = clip.shape
    luma = np.empty((frames, height, width), np.uint8)
    luma_into(clip.reshape(frames, channels, -1), luma.reshape(frames, -1))
    return luma


def clip_residual(
    clip: NDArray[np.uint8], motion: NDArray[np.int8], codec: Codec
) -> NDArray[np.int16]:
    """`shared.motion_compensation.residual` of a clip in C order."""
    residual = np.empty((len(clip) - 1, *clip.shape[1:]), np.int16)
    _compute(clip.ravel(), clip.shape, motion, codec, residual, decodes=False)
    return residual


def restore_clip(
    first_frame: NDArray[np.uint8],
    motion: NDArray[np.int8],
    residual: NDArray[np.int16],
    codec: Codec,
) -> NDArray[np.uint8]:
    """`shared.motion_compensation.decode_clip`."""
    clip = np.empty((len(motion) + 1, *first_frame.shape), np.uint8)
    clip[0] = first_frame
    _compute(clip.reshape(-1), clip.shape, motion, codec, residual, decodes=True)
    return clip


def _compute(
    flat: NDArray[np.uint8],
    shape: tuple[int, ...],
    motion: NDArray[np.int8],
    codec: Codec,
    residual: NDArray[np.int16],
    *,
    decodes: bool,
) -> None:
    """Call the kernel of a codec."""
    first, shift = codec.reference == "first", codec.vector_unit.bit_length() - 1
    rest = np.ascontiguousarray(residual).reshape(-1)
    if codec.compensation == "block":
        residual_into(flat, shape, motion, codec.block, first, shift, rest, decodes)
        return
    down, across = (neighbours(side, codec.block, codec.compensation) for side in shape[2:])
    overlaps = codec.compensation == "overlapped"
    smooth_residual_into(
        flat, shape, motion, codec.block, first, shift, down, across, overlaps, rest, decodes
    )


@njit(cache=True, **JIT)
def luma_into(clip: NDArray[np.uint8], luma: NDArray[np.uint8]) -> None:
    """`shared.conventions.luma` of a clip.

    Args:
        clip: uint8 RGB, shape (T, 3, P), C order.
        luma: receives the luma, uint8, shape (T, P).
    """
    for n in range(clip.shape[0]):
        for i in range(clip.shape[2]):
            red, green, blue = clip[n, 0, i], clip[n, 1, i], clip[n, 2, i]
            total = np.uint16(77) * red + np.uint16(150) * green + np.uint16(29) * blue
            luma[n, i] = (total + np.uint16(128)) >> 8


@njit(cache=True, **JIT)
def residual_into(
    clip: NDArray[np.uint8],
    shape: tuple[int, int, int, int],
    motion: NDArray[np.int8],
    block: int,
    reference_is_first: bool,
    shift: int,
    residual: NDArray[np.int16],
    decodes: bool,
    sources: int = KERNEL_SOURCE_HASH,
) -> None:
    """Residual of a clip, or its inverse, where each block moves alone.

    Args:
        clip: uint8, flat; receives frames 1...T-1 when decoding.
        shape: of the clip, (T, 3, H, W).
        motion: int8 in units of 1/2^shift pixel, shape (T-1, 2, ceil(H/b), ceil(W/b)); a third
            channel replaces `reference_is_first` block by block.
        block: b, pixels.
        reference_is_first: vectors point into frame 0, not into the previous frame.
        shift: log2 of the vector unit.
        residual: int16, flat; received unless decoding.
        decodes: restore frames from the residual, instead of computing it.
        sources: cache key; leave at its default.
    """
    frames, channels, height, width = shape
    plane, part = height * width, (1 << shift) - 1
    chosen = motion.shape[1] == 3
    for n in range(1, frames):
        for row in range(motion.shape[2]):
            for column in range(motion.shape[3]):
                y, x = row * block, column * block
                from_first = motion[n - 1, 2, row, column] != 0 if chosen else reference_is_first
                source = 0 if from_first else n - 1
                vx = np.int64(motion[n - 1, 0, row, column])
                vy = np.int64(motion[n - 1, 1, row, column])
                top, left, down, across = y + (vy >> shift), x + (vx >> shift), vy & part, vx & part
                whole = y + block <= height and x + block <= width
                # A fraction reaches one pixel further.
                lowest, rightmost = height - block - (down > 0), width - block - (across > 0)
                inside = 0 <= top <= lowest and 0 <= left <= rightmost
                between = across > 0 or down > 0
                for c in range(channels):
                    here, there = (n * channels + c) * plane, (source * channels + c) * plane
                    rest = here - channels * plane
                    if whole and inside:
                        at = y * width + x
                        places = here + at, there + top * width + left, rest + at, width
                        if decodes and between:
                            add_between(block, clip, *places, residual, across, down, shift)
                        elif decodes:
                            add(block, clip, *places, residual, across, down, shift)
                        elif between:
                            subtract_between(block, clip, *places, residual, across, down, shift)
                        else:
                            subtract(block, clip, *places, residual, across, down, shift)
                        continue
                    # Pixel by pixel, with coordinates clamped to the frame.
                    for j in range(y, min(y + block, height)):
                        upper = _clamp(top + j - y, height)
                        below = (_clamp(top + j - y + 1, height) - upper) * width
                        for i in range(x, min(x + block, width)):
                            near = _clamp(left + i - x, width)
                            right = _clamp(left + i - x + 1, width) - near
                            place = there + upper * width + near
                            predicted = interpolated(clip, place, right, below, across, down, shift)
                            at = j * width + i
                            if decodes:
                                clip[here + at] = _clamp(predicted + residual[rest + at], 256)
                            else:
                                residual[rest + at] = clip[here + at] - predicted


@njit(**PART)
def _clamp(place: int, size: int) -> int:
    return min(max(place, 0), size - 1)
