"""Choice of the reference frame for each block: the one of two frames that costs less.

Encoders with several references choose in the same way, by distortion plus the cost of coding
vector and index (Wiegand, Zhang, Girod 1999, "Long-Term Memory Motion-Compensated Prediction").
Here the index costs as much as one pixel of vector length: in blocks that match both frames alike
it would follow noise.
"""

from __future__ import annotations

import numpy as np
from numba import njit
from numpy.typing import NDArray

from preprocess.motion.kernels.candidate_key import (
    JIT,
    KERNEL_SOURCE_HASH,
    PART,
    PENALTY_BITS,
    interpolated,
)
from shared.conventions import Codec


def choose(
    luma: NDArray[np.uint8],
    previous: NDArray[np.int8],
    first: NDArray[np.int8],
    codec: Codec,
    penalty: NDArray[np.int64],
    index_penalty: int,
) -> NDArray[np.int8]:
    """Choose the one of each block's two vectors that costs less; ties go to the previous frame.

    Args:
        luma: uint8, shape (T, H, W).
        previous: int8 in units of 1/u pixel, shape (T-1, 2, ceil(H/b), ceil(W/b)): vectors into
            the previous frame; predictors lie inside the frame.
        first: vectors into frame 0, of the same kind.
        codec: block size b and vector unit u.
        penalty: int64, shape (2Ru+1, 2Ru+1), of every vector: `preprocess.motion.vector_penalty`.
        index_penalty: penalty of the index 1, in the same unit.

    Returns:
        int8, shape (T-1, 3, ceil(H/b), ceil(W/b)): x, y and the index, 0 for the previous frame.
    """
    index = np.zeros_like(previous[:, :1])
    shift = codec.vector_unit.bit_length() - 1
    flat = np.ascontiguousarray(luma).reshape(-1)
    choose_clip(
        flat, luma.shape, previous, first, codec.block, shift, penalty, index_penalty, index
    )
    return np.concatenate([np.where(index != 0, first, previous), index], axis=1)


@njit(cache=True, **JIT)
def choose_clip(
    luma: NDArray[np.uint8],
    shape: tuple[int, int, int],
    previous: NDArray[np.int8],
    first: NDArray[np.int8],
    block: int,
    shift: int,
    penalty: NDArray[np.int64],
    index_penalty: int,
    index: NDArray[np.int8],
    sources: int = KERNEL_SOURCE_HASH,
) -> None:
    """Set the index of every block that costs less from frame 0 than from the previous frame.

    Args:
        luma: uint8, flat.
        shape: of the luma, (T, H, W).
        previous: int8 in units of 1/2^shift pixel, shape (T-1, 2, ceil(H/b), ceil(W/b)).
        first: vectors into frame 0, of the same kind.
        block: b, pixels.
        shift: log2 of the vector unit u.
        penalty: int64, shape (2Ru+1, 2Ru+1).
        index_penalty: penalty of the index 1.
        index: receives the indices, int8, shape (T-1, 1, ceil(H/b), ceil(W/b)), zeros before.
        sources: cache key; leave at its default.
    """
    frames, height, width = shape
    plane = height * width
    for n in range(1, frames):
        for row in range(index.shape[2]):
            for column in range(index.shape[3]):
                y, x = row * block, column * block
                rows, columns = min(block, height - y), min(block, width - x)
                here = n * plane + y * width + x
                size = rows, columns, width
                from_previous = _cost(
                    luma, here, here - plane, size, previous[n - 1, :, row, column], shift, penalty
                )
                from_first = _cost(
                    luma, here, here - n * plane, size, first[n - 1, :, row, column], shift, penalty
                )
                if from_first + rows * columns * index_penalty < from_previous:
                    index[n - 1, 0, row, column] = 1


@njit(**PART)
def _cost(luma, here, there, size, vector, shift, penalty):  # type: ignore[no-untyped-def]
    """256 SAD + pixels x penalty; both places are those of the block's first pixel."""
    rows, columns, width = size
    vx, vy, limit = np.int64(vector[0]), np.int64(vector[1]), len(penalty) // 2
    fraction = (1 << shift) - 1
    across, down = vx & fraction, vy & fraction
    right, below = (1 if across else 0), (width if down else 0)
    source = there + (vy >> shift) * width + (vx >> shift)
    total = np.int64(0)
    if not across and not down:
        for i in range(rows):
            for j in range(columns):
                k = i * width + j
                total += np.int64(abs(np.int16(luma[here + k]) - np.int16(luma[source + k])))
    else:
        for i in range(rows):
            for j in range(columns):
                k = i * width + j
                value = interpolated(luma, source + k, right, below, across, down, shift)
                total += abs(np.int64(luma[here + k]) - value)
    return (total << PENALTY_BITS) + rows * columns * penalty[vy + limit, vx + limit]
