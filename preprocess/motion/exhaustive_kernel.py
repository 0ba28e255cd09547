"""The exhaustive search's Numba kernels.

For one block and one dy, the SADs of all dx are summed side by side, LANES at a time: the inner
loop runs over neighbouring candidates rather than over a block's pixels, so that LLVM turns it
into vector instructions whatever the block size, and cut blocks need no case of their own.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import njit
from numpy.typing import NDArray

from preprocess.motion.penalty import UNITS_PER_SAD

LANES = 16
"""Candidates summed together: one 256-bit register of 16-bit differences."""

_ROWS_BETWEEN_CHECKS = 4

JIT: dict[str, Any] = {"nogil": True, "cache": True, "boundscheck": False, "error_model": "numpy"}
"""Numba flags of every kernel. No fast-math: all is integer."""


@njit(**JIT)
def search_clip(
    padded: NDArray[np.int16],
    width: int,
    block: int,
    first: bool,
    penalty: NDArray[np.int64],
    sad: NDArray[np.unsignedinteger[Any]],
    motion: NDArray[np.int8],
) -> None:
    """Search all blocks of all frames.

    Args:
        padded: luma, int16, shape (T, H, R + W + R + 2 LANES), the frame starting at column R.
        width: W, pixels.
        block: b, pixels.
        first: whether vectors point into frame 0 rather than into the frame before.
        penalty: int64, shape (2R+1, 2R+1).
        sad: scratch, shape (2R+1 + LANES,), wide enough for a block's SAD.
        motion: receives the vectors, int8, shape (T-1, 2, ceil(H/b), ceil(W/b)).
    """
    for n in range(1, len(padded)):
        reference = padded[0] if first else padded[n - 1]
        for row in range(motion.shape[2]):
            for column in range(motion.shape[3]):
                vx, vy = _search_block(
                    padded[n], reference, width, block, row, column, penalty, sad
                )
                motion[n - 1, 0, row, column] = vx
                motion[n - 1, 1, row, column] = vy


@njit(**JIT)
def _search_block(  # type: ignore[no-untyped-def]
    current, reference, width, block, row, column, penalty, sad
):
    """Zero vector first, then raster order with strict `<`: ties as the conventions say."""
    reach = len(penalty) // 2
    y, x = row * block, column * block
    height = len(current)
    rows, columns = min(block, height - y), min(block, width - x)
    pixels = rows * columns
    best = UNITS_PER_SAD * _zero_sad(current, reference, y, reach + x, rows, columns)
    vx, vy = 0, 0
    for dy in range(max(-reach, -y), min(reach, height - rows - y) + 1):
        penalties = penalty[reach + dy]
        # Penalties grow with |dx|: the row's smallest is that of dx = 0.
        floor = pixels * penalties[reach]
        if floor >= best:
            continue
        # Candidates inside the frame, less those whose penalty alone is too much.
        low, high = max(0, reach - x), min(2 * reach, width - columns - x + reach)
        while low <= high and pixels * penalties[low] >= best:
            low += 1
        while low <= high and pixels * penalties[high] >= best:
            high -= 1
        count = high - low + 1
        if count > 0 and _sum_rows(
            current, reference, y, x, dy, low, rows, columns, count, reach, sad, floor, best
        ):
            for k in range(count):
                cost = UNITS_PER_SAD * np.int64(sad[k]) + pixels * penalties[low + k]
                if cost < best:
                    best, vy, vx = cost, dy, low + k - reach
    return vx, vy


@njit(**JIT)
def _zero_sad(current, reference, y, x, rows, columns):  # type: ignore[no-untyped-def]
    total = np.int64(0)
    for j in range(y, y + rows):
        for i in range(x, x + columns):
            total += abs(current[j, i] - reference[j, i])
    return total


@njit(**JIT)
def _sum_rows(  # type: ignore[no-untyped-def]
    current, reference, y, x, dy, low, rows, columns, count, reach, sad, floor, best
):
    """SADs of candidates low ... low + count - 1; False once none of them can be the best."""
    sad[: count + LANES] = 0
    for j in range(rows):
        _add_row(current, reference, y + j, reach + x, y + dy + j, x + low, columns, count, sad)
        if j % _ROWS_BETWEEN_CHECKS == _ROWS_BETWEEN_CHECKS - 1 or j == rows - 1:
            least = sad[0]
            for k in range(1, count):
                least = min(least, sad[k])
            if UNITS_PER_SAD * np.int64(least) + floor >= best:
                return False
    return True


@njit(**JIT)
def _add_row(current, reference, y, x, ry, rx, columns, count, sad):  # type: ignore[no-untyped-def]
    """Add |current[y, x + i] - reference[ry, rx + i + k]| of every block pixel i to candidate k.

    Takes whole frames: to take a row of one would count a reference every time.
    """
    whole = columns - columns % 4
    for i in range(0, whole, 4):
        # Four pixels a step, so that sums stay in registers in between.
        c0, c1 = current[y, x + i], current[y, x + i + 1]
        c2, c3 = current[y, x + i + 2], current[y, x + i + 3]
        for lane in range(0, count, LANES):
            sums = sad[lane : lane + LANES]
            row = reference[ry, rx + i + lane : rx + i + lane + LANES + 3]
            for k in range(LANES):
                near = abs(c0 - row[k]) + abs(c1 - row[k + 1])
                sums[k] += near + abs(c2 - row[k + 2]) + abs(c3 - row[k + 3])
    for i in range(whole, columns):
        for k in range(count):
            sad[k] += abs(current[y, x + i] - reference[ry, rx + i + k])
