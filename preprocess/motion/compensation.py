"""Residual, or its inverse, where four blocks' vectors predict each pixel.

The formulas of `overlapped` and `interpolated` compensation are those of `shared.conventions`.
"""

from __future__ import annotations

import numpy as np
from numba import njit
from numpy.typing import NDArray

from preprocess.motion.kernels.candidate_key import JIT, KERNEL_SOURCE_HASH, PART, interpolated
from shared.conventions import FINE_UNIT, WINDOW_SCALE
from shared.motion_compensation import Neighbours

_FINE_SHIFT = FINE_UNIT.bit_length() - 1
_WINDOW_SHIFT = 2 * (WINDOW_SCALE.bit_length() - 1)


@njit(cache=True, **JIT)
def smooth_residual_into(
    clip: NDArray[np.uint8],
    shape: tuple[int, int, int, int],
    motion: NDArray[np.int8],
    block: int,
    reference_is_first: bool,
    shift: int,
    down: Neighbours,
    across: Neighbours,
    overlaps: bool,
    residual: NDArray[np.int16],
    decodes: bool,
    sources: int = KERNEL_SOURCE_HASH,
) -> None:
    """Residual of a clip, or its inverse, under overlapped or interpolated compensation.

    Args:
        clip: uint8, flat; receives frames 1...T-1 when decoding.
        shape: of the clip, (T, 3, H, W).
        motion: int8 in units of 1/2^shift pixel, shape (T-1, 2, ceil(H/b), ceil(W/b)); a third
            channel replaces `reference_is_first` block by block.
        block: b, pixels.
        reference_is_first: vectors point into frame 0, not into the previous frame.
        shift: log2 of the vector unit.
        down: `shared.motion_compensation.neighbours` of the rows.
        across: likewise, of the columns.
        overlaps: average four predictions; else interpolate the vectors.
        residual: int16, flat; received unless decoding.
        decodes: restore frames from the residual, instead of computing it.
        sources: cache key; leave at its default.
    """
    frames, channels, height, width = shape
    plane, size = height * width, (height, width)
    around = np.zeros((4, 3), np.int64)
    for n in range(1, frames):
        frame, before = n * channels * plane, (n - 1) * channels * plane
        alone = 0 if reference_is_first else before
        # A quarter of a block at a time: all its pixels lie between the same four blocks' centres.
        for row in range(2 * motion.shape[2]):
            rows = _half(row, block, height)
            for column in range(2 * motion.shape[3]):
                columns = _half(column, block, width)
                equal = _look_around(motion[n - 1], row, column, before, alone, overlaps, around)
                for y in range(rows[0], rows[1]):
                    for x in range(columns[0], columns[1]):
                        weights = down.weight[y], across.weight[x], down.scale
                        vx, vy, fine = around[0, 0], around[0, 1], shift
                        if not equal and not overlaps:
                            vx = _between(around[:, 0], weights, shift)
                            vy = _between(around[:, 1], weights, shift)
                            fine = _FINE_SHIFT
                        for c in range(channels):
                            if equal or not overlaps:
                                there = around[0, 2] + c * plane
                                value = _read(clip, there, size, y, x, vx, vy, fine)
                            else:
                                value = _blend(clip, c * plane, size, y, x, around, weights, shift)
                            at = c * plane + y * width + x
                            if decodes:
                                value += residual[before + at]
                                clip[frame + at] = min(max(value, 0), 255)
                            else:
                                residual[before + at] = clip[frame + at] - value


@njit(**PART)
def _half(index, block, side):  # type: ignore[no-untyped-def]
    """First pixel of the half block `index` along an axis, and the one after its last."""
    start = (index >> 1) * block
    middle = start + block // 2
    return (middle, min(start + block, side)) if index & 1 else (start, min(middle, side))


@njit(**PART)
def _look_around(field, row, column, before, alone, overlaps, around):  # type: ignore[no-untyped-def]
    """Set x, y and first byte of the reference of the four blocks around a quarter of a block.

    Interpolated vectors are not mixed with those into another frame: there the own block's is set.
    True if all four are equal.
    """
    equal, chosen = True, len(field) == 3
    own_row, own_column = row >> 1, column >> 1
    own_index = chosen and field[2, own_row, own_column] != 0
    for k in range(4):
        j = min(max(((row - 1) >> 1) + (k >> 1), 0), field.shape[1] - 1)
        i = min(max(((column - 1) >> 1) + (k & 1), 0), field.shape[2] - 1)
        index = chosen and field[2, j, i] != 0
        if not overlaps and index != own_index:
            j, i, index = own_row, own_column, own_index
        around[k, 0], around[k, 1] = field[0, j, i], field[1, j, i]
        around[k, 2] = (0 if index else before) if chosen else alone
        for value in range(3):
            equal = equal and around[k, value] == around[0, value]
    return equal


@njit(**PART)
def _between(values, weights, shift):  # type: ignore[no-untyped-def]
    """Component of a vector interpolated between four, in units of 1/64 pixel."""
    lower, later, scale = weights
    left = (scale - lower) * values[0] + lower * values[2]
    right = (scale - lower) * values[1] + lower * values[3]
    total, divisor = (scale - later) * left + later * right, (scale * scale) << shift
    return ((total << _FINE_SHIFT) + (divisor >> 1)) // divisor


@njit(**PART)
def _blend(clip, plane, size, y, x, around, weights, shift):  # type: ignore[no-untyped-def]
    """Pixel averaged over what the four blocks' vectors predict."""
    lower, later, scale = weights
    total = np.int64(1) << (_WINDOW_SHIFT - 1)
    for k in range(4):
        weight = (lower if k >> 1 else scale - lower) * (later if k & 1 else scale - later)
        there = around[k, 2] + plane
        total += weight * _read(clip, there, size, y, x, around[k, 0], around[k, 1], shift)
    return total >> _WINDOW_SHIFT


@njit(**PART)
def _read(clip, there, size, y, x, vx, vy, shift):  # type: ignore[no-untyped-def]
    """Pixel at a vector from (y, x), in the plane whose first byte is `there`."""
    height, width = size
    part = (np.int64(1) << shift) - 1
    top, left = y + (vy >> shift), x + (vx >> shift)
    upper, near = min(max(top, 0), height - 1), min(max(left, 0), width - 1)
    below = (min(max(top + 1, 0), height - 1) - upper) * width
    right = min(max(left + 1, 0), width - 1) - near
    place = there + upper * width + near
    return interpolated(clip, place, right, below, vx & part, vy & part, shift)
