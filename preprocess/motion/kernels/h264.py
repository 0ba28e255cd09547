"""Numba kernel of the method h264: which of a block's coded vectors it takes."""

from __future__ import annotations

import numpy as np
from numba import njit
from numpy.typing import NDArray

from preprocess.motion.kernels.candidate_key import JIT


@njit(cache=True, **JIT)
def choose_vectors(
    luma: NDArray[np.uint8],
    coded: NDArray[np.int16],
    block: int,
    first: bool,
    penalty: NDArray[np.int64],
    motion: NDArray[np.int8],
) -> None:
    """The vector of least cost among zero and those coded in a block, brought within bounds.

    Args:
        luma: uint8, shape (T, H, W).
        coded: int16 pixels, shape (T-1, 2, h, w), one vector for every min(block, 16) pixels.
        block: b, pixels.
        first: whether vectors point into frame 0 rather than into the frame before.
        penalty: int64, shape (2R+1, 2R+1), see `preprocess.motion.penalty`.
        motion: receives them, int8, shape (T-1, 2, ceil(H/b), ceil(W/b)).
    """
    frames, height, width = luma.shape
    reach = penalty.shape[0] // 2
    across = max(1, block // 16)
    for n in range(1, frames):
        source = luma[0 if first else n - 1]
        for row in range(motion.shape[2]):
            for column in range(motion.shape[3]):
                top, left = row * block, column * block
                bottom, right = min(top + block, height), min(left + block, width)
                here, pixels = luma[n, top:bottom, left:right], (bottom - top) * (right - left)
                least = 256 * _sad(here, source[top:bottom, left:right])
                for i in range(row * across, min((row + 1) * across, coded.shape[2])):
                    for j in range(column * across, min((column + 1) * across, coded.shape[3])):
                        vx = min(max(coded[n - 1, 0, i, j], -left, -reach), width - right, reach)
                        vy = min(max(coded[n - 1, 1, i, j], -top, -reach), height - bottom, reach)
                        there = source[top + vy : bottom + vy, left + vx : right + vx]
                        cost = 256 * _sad(here, there)
                        cost += pixels * penalty[vy + reach, vx + reach]
                        if cost < least:
                            least = cost
                            motion[n - 1, 0, row, column] = vx
                            motion[n - 1, 1, row, column] = vy


@njit(**JIT)
def _sad(one, other):  # type: ignore[no-untyped-def]
    total = np.int64(0)
    for y in range(one.shape[0]):
        for x in range(one.shape[1]):
            total += abs(np.int64(one[y, x]) - np.int64(other[y, x]))
    return total
