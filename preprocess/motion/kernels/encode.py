"""Numba kernels for luma and residuals; `shared` states in numpy what they compute."""

from __future__ import annotations

import numpy as np
from numba import njit
from numpy.typing import NDArray

from preprocess.motion.kernels.candidate_key import JIT, KERNEL_SOURCE_HASH, PART
from preprocess.motion.kernels.subpixel import interpolated
from preprocess.motion.kernels.subpixel_vectors import ADD_BETWEEN, SUBTRACT_BETWEEN
from preprocess.motion.kernels.vectors import ADD, SUBTRACT


@njit(cache=True, **JIT)
def luma_into(clip: NDArray[np.uint8], luma: NDArray[np.uint8]) -> None:
    """`shared.conventions.luma` of a clip.

    Args:
        clip: uint8 RGB, shape (T, 3, P), C order.
        luma: receives it, uint8, shape (T, P).
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
    first: bool,
    shift: int,
    residual: NDArray[np.int16],
    decodes: bool,
    sources: int = KERNEL_SOURCE_HASH,
) -> None:
    """`shared.motion_compensation.residual` of a clip, or its inverse: `shared.motion_compensation.decode_clip`.

    Args:
        clip: uint8, flat; frames 1...T-1 are received where it decodes.
        shape: of the clip, (T, 3, H, W).
        motion: int8 in units of 1/2^shift pixel, shape (T-1, 2, ceil(H/b), ceil(W/b)); with a third
            channel, what that has of a block stands in place of `first`.
        block: b, pixels.
        first: whether vectors point into frame 0 rather than into the frame before.
        shift: log2 of the vector unit.
        residual: int16, flat; received unless it decodes.
        decodes: which of the two.
        sources: not to be given.
    """
    frames, channels, height, width = shape
    plane, part = height * width, (1 << shift) - 1
    chosen = motion.shape[1] == 3
    for n in range(1, frames):
        for row in range(motion.shape[2]):
            for column in range(motion.shape[3]):
                y, x = row * block, column * block
                from_first = motion[n - 1, 2, row, column] != 0 if chosen else first
                source = 0 if from_first else n - 1
                vx = np.int64(motion[n - 1, 0, row, column])
                vy = np.int64(motion[n - 1, 1, row, column])
                top, left, down, across = y + (vy >> shift), x + (vx >> shift), vy & part, vx & part
                whole = y + block <= height and x + block <= width
                # A fraction reaches one pixel further.
                lowest, rightmost = height - block - (down > 0), width - block - (across > 0)
                inside = 0 <= top <= lowest and 0 <= left <= rightmost
                for c in range(channels):
                    here, there = (n * channels + c) * plane, (source * channels + c) * plane
                    rest = here - channels * plane
                    if whole and inside:
                        at = y * width + x
                        places = here + at, there + top * width + left, rest + at
                        fraction = across, down, shift
                        if across or down:
                            if decodes:
                                _add_between(clip, places, width, residual, block, fraction)
                            else:
                                _subtract_between(clip, places, width, residual, block, fraction)
                        elif decodes:
                            _add(clip, places, width, residual, block)
                        else:
                            _subtract(clip, places, width, residual, block)
                        continue
                    for j in range(y, min(y + block, height)):
                        above = _clamp(top + j - y, height)
                        below = (_clamp(top + j - y + 1, height) - above) * width
                        for i in range(x, min(x + block, width)):
                            beside = _clamp(left + i - x, width)
                            right = _clamp(left + i - x + 1, width) - beside
                            place = there + above * width + beside
                            predicted = interpolated(clip, place, right, below, across, down, shift)
                            at = j * width + i
                            if decodes:
                                clip[here + at] = _clamp(predicted + residual[rest + at], 256)
                            else:
                                residual[rest + at] = clip[here + at] - predicted


@njit(**PART)
def _clamp(place: int, size: int) -> int:
    return min(max(place, 0), size - 1)


# One copy of the unrolled code for each block size.
_add_4, _add_8, _add_16, _add_32 = (ADD[block] for block in (4, 8, 16, 32))
_subtract_4, _subtract_8, _subtract_16, _subtract_32 = (SUBTRACT[block] for block in (4, 8, 16, 32))


@njit(**PART)
def _subtract(clip, places, stride, residual, block):  # type: ignore[no-untyped-def]
    if block == 16:
        _subtract_16(clip, *places, stride, residual)
    elif block == 8:
        _subtract_8(clip, *places, stride, residual)
    elif block == 32:
        _subtract_32(clip, *places, stride, residual)
    else:
        _subtract_4(clip, *places, stride, residual)


@njit(**PART)
def _add(clip, places, stride, residual, block):  # type: ignore[no-untyped-def]
    if block == 16:
        _add_16(clip, *places, stride, residual)
    elif block == 8:
        _add_8(clip, *places, stride, residual)
    elif block == 32:
        _add_32(clip, *places, stride, residual)
    else:
        _add_4(clip, *places, stride, residual)


# The same with predictors between pixels.
_between_add_4, _between_add_8, _between_add_16, _between_add_32 = (
    ADD_BETWEEN[block] for block in (4, 8, 16, 32)
)
_between_subtract_4, _between_subtract_8, _between_subtract_16, _between_subtract_32 = (
    SUBTRACT_BETWEEN[block] for block in (4, 8, 16, 32)
)


@njit(**PART)
def _subtract_between(clip, places, stride, residual, block, fraction):  # type: ignore[no-untyped-def]
    if block == 16:
        _between_subtract_16(clip, *places, stride, residual, *fraction)
    elif block == 8:
        _between_subtract_8(clip, *places, stride, residual, *fraction)
    elif block == 32:
        _between_subtract_32(clip, *places, stride, residual, *fraction)
    else:
        _between_subtract_4(clip, *places, stride, residual, *fraction)


@njit(**PART)
def _add_between(clip, places, stride, residual, block, fraction):  # type: ignore[no-untyped-def]
    if block == 16:
        _between_add_16(clip, *places, stride, residual, *fraction)
    elif block == 8:
        _between_add_8(clip, *places, stride, residual, *fraction)
    elif block == 32:
        _between_add_32(clip, *places, stride, residual, *fraction)
    else:
        _between_add_4(clip, *places, stride, residual, *fraction)
