"""Refinement of whole-pixel vectors to halves and quarters of a pixel, as encoders do it.

First the eight vectors half a pixel around the best whole-pixel one are compared with it, then
those a quarter of a pixel around the best of these nine. The result is the best of the vectors
compared, not of all in range, and its cost is never above that of the whole-pixel vector. The cost
is that of `preprocess.motion`, with the SAD of the interpolated luma. Ties go to the vector in the
middle, then to raster order of (y, x). As zero is only ever compared in the middle, it wins its
ties here too.
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
from preprocess.motion.kernels.vectors import block_sad_between, take_block
from shared.conventions import Codec

_UNKNOWN = int(np.iinfo(np.int64).max)


def refine(
    luma: NDArray[np.uint8], motion: NDArray[np.int8], codec: Codec, penalty: NDArray[np.int64]
) -> NDArray[np.int8]:
    """Refine vectors given in pixels to the unit of the codec.

    Predictors stay inside the frame and components within the search range. A vector whose
    predictor is not inside is only converted to the new unit.

    Args:
        luma: uint8, shape (T, H, W).
        motion: int8 pixels, shape (T-1, 2, ceil(H/b), ceil(W/b)), within the search range R.
        codec: block, reference, and vector unit u, 2 or 4.
        penalty: int64, shape (2Ru+1, 2Ru+1), of every vector: `preprocess.motion.vector_penalty`.

    Returns:
        int8 in units of 1/u pixel, shape of `motion`.
    """
    refined = motion * np.int8(codec.vector_unit)
    refine_clip(
        np.ascontiguousarray(luma).reshape(-1),
        luma.shape,
        codec.block,
        codec.reference == "first",
        codec.vector_unit.bit_length() - 1,
        penalty,
        refined,
    )
    return refined


@njit(cache=True, **JIT)
def refine_clip(
    luma: NDArray[np.uint8],
    shape: tuple[int, int, int],
    block: int,
    reference_is_first: bool,
    shift: int,
    penalty: NDArray[np.int64],
    motion: NDArray[np.int8],
    sources: int = KERNEL_SOURCE_HASH,
) -> None:
    """Refine all vectors of all frames.

    Args:
        luma: uint8, flat.
        shape: of the luma, (T, H, W).
        block: b, pixels.
        reference_is_first: vectors point into frame 0, not into the previous frame.
        shift: log2 of the vector unit u.
        penalty: int64, shape (2Ru+1, 2Ru+1).
        motion: int8, shape (T-1, 2, ceil(H/b), ceil(W/b)); whole-pixel vectors in units of 1/u
            pixel, which are replaced by the refined ones.
        sources: cache key; leave at its default.
    """
    frames, height, width = shape
    own = np.zeros(block * block, np.uint8)
    limit = len(penalty) // 2
    for n in range(1, frames):
        here = n * height * width
        there = (0 if reference_is_first else n - 1) * height * width
        for row in range(motion.shape[2]):
            y = row * block
            rows = min(block, height - y)
            # A predictor inside the frame: its first and its last pixel are, in units of 1/u.
            top = max(-limit, -(y << shift))
            bottom = min(limit, (height - rows - y) << shift)
            for column in range(motion.shape[3]):
                x = column * block
                columns = min(block, width - x)
                left = max(-limit, -(x << shift))
                right = min(limit, (width - columns - x) << shift)
                pixels, at = rows * columns, here + y * width + x
                whole = pixels == block * block
                if whole:
                    take_block(block, luma, at, width, own)
                best_x = int(motion[n - 1, 0, row, column])
                best_y = int(motion[n - 1, 1, row, column])
                if not (left <= best_x <= right and top <= best_y <= bottom):
                    continue
                best = _UNKNOWN
                step = 1 << shift
                # First the vector itself, as if in steps of a pixel; then in steps half as large.
                while step > 0 and best > 0:
                    middle_x, middle_y = best_x, best_y
                    reach = 0 if best == _UNKNOWN else step
                    for vy in range(middle_y - reach, middle_y + reach + 1, step):
                        for vx in range(middle_x - reach, middle_x + reach + 1, step):
                            if not (left <= vx <= right and top <= vy <= bottom):
                                continue
                            cost = pixels * penalty[vy + limit, vx + limit]
                            if cost >= best:
                                continue
                            place = there + (y + (vy >> shift)) * width + x + (vx >> shift)
                            across, down = vx & ((1 << shift) - 1), vy & ((1 << shift) - 1)
                            if whole:
                                sad = block_sad_between(
                                    block, own, luma, place, width, across, down, shift
                                )
                            else:
                                sad = _cut_sad(
                                    luma, at, place, width, across, down, shift, rows, columns
                                )
                            cost += sad << PENALTY_BITS
                            if cost < best:
                                best, best_x, best_y = cost, vx, vy
                    step >>= 1
                motion[n - 1, 0, row, column] = best_x
                motion[n - 1, 1, row, column] = best_y


@njit(**PART)
def _cut_sad(luma, at, place, width, across, down, shift, rows, columns):  # type: ignore[no-untyped-def]
    """SAD of a block that the frame's edge cuts."""
    right, below = (1 if across else 0), (width if down else 0)
    total = 0
    for i in range(rows):
        for j in range(columns):
            k = i * width + j
            value = interpolated(luma, place + k, right, below, across, down, shift)
            total += abs(np.int64(luma[at + k]) - value)
    return total
