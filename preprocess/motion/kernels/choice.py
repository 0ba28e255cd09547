"""Numba kernel that chooses each block's reference; see `preprocess.motion.reference_choice`."""

from __future__ import annotations

import numpy as np
from numba import njit
from numpy.typing import NDArray

from preprocess.motion.kernels.candidate_key import JIT, KERNEL_SOURCE_HASH, PART
from preprocess.motion.kernels.subpixel import interpolated


@njit(cache=True, **JIT)
def choose_clip(
    luma: NDArray[np.uint8],
    shape: tuple[int, int, int],
    before: NDArray[np.int8],
    first: NDArray[np.int8],
    block: int,
    shift: int,
    penalty: NDArray[np.int64],
    of_index: int,
    index: NDArray[np.int8],
    sources: int = KERNEL_SOURCE_HASH,
) -> None:
    """Set the index of every block that costs less from frame 0 than from the frame before.

    Args:
        luma: uint8, flat.
        shape: of the luma, (T, H, W).
        before: int8 in units of 1/2^shift pixel, shape (T-1, 2, ceil(H/b), ceil(W/b)).
        first: likewise, into frame 0.
        block: b, pixels.
        shift: log2 of the vector unit u.
        penalty: int64, shape (2Ru+1, 2Ru+1).
        of_index: penalty of the index 1.
        index: int8, shape (T-1, 1, ceil(H/b), ceil(W/b)), zeros; receives it.
        sources: not to be given.
    """
    frames, height, width = shape
    plane = height * width
    for n in range(1, frames):
        for row in range(index.shape[2]):
            for column in range(index.shape[3]):
                at = row * block, column * block
                rows, columns = min(block, height - at[0]), min(block, width - at[1])
                here = n * plane + at[0] * width + at[1]
                size = rows, columns, width
                of_before = _cost(
                    luma, here, here - plane, size, before[n - 1, :, row, column], shift, penalty
                )
                of_first = _cost(
                    luma, here, here - n * plane, size, first[n - 1, :, row, column], shift, penalty
                )
                if of_first + rows * columns * of_index < of_before:
                    index[n - 1, 0, row, column] = 1


@njit(**PART)
def _cost(luma, here, there, size, vector, shift, penalty):  # type: ignore[no-untyped-def]
    """256 SAD + pixels x penalty; both places are those of the block's first pixel."""
    rows, columns, width = size
    vx, vy, limit = np.int64(vector[0]), np.int64(vector[1]), len(penalty) // 2
    part = (1 << shift) - 1
    across, down = vx & part, vy & part
    right, below = (1 if across else 0), (width if down else 0)
    source = there + (vy >> shift) * width + (vx >> shift)
    total = np.int64(0)
    if not across and not down:
        for i in range(rows):
            for j in range(columns):
                k = i * width + j
                total += np.int64(abs(np.int16(luma[here + k]) - np.int16(luma[source + k])))
        return 256 * total + rows * columns * penalty[vy + limit, vx + limit]
    for i in range(rows):
        for j in range(columns):
            k = i * width + j
            value = interpolated(luma, source + k, right, below, across, down, shift)
            total += abs(np.int64(luma[here + k]) - value)
    return 256 * total + rows * columns * penalty[vy + limit, vx + limit]
