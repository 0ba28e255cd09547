"""The kernel that refines vectors between pixels; see `preprocess.motion.subpixel`."""

from __future__ import annotations

import numpy as np
from numba import njit
from numpy.typing import NDArray

from preprocess.motion.kernels.candidate_key import JIT, KERNEL_SOURCE_HASH, PART
from preprocess.motion.kernels.subpixel_vectors import BLOCK_SAD_BETWEEN
from preprocess.motion.kernels.vectors import TAKE_BLOCK

_UNKNOWN = int(np.iinfo(np.int64).max)


@njit(cache=True, **JIT)
def refine_clip(
    luma: NDArray[np.uint8],
    shape: tuple[int, int, int],
    block: int,
    first: bool,
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
        first: whether vectors point into frame 0 rather than into the frame before.
        shift: log2 of the vector unit u.
        penalty: int64, shape (2Ru+1, 2Ru+1).
        motion: int8, shape (T-1, 2, ceil(H/b), ceil(W/b)); whole-pixel vectors in units of 1/u
            pixel, which receive the refined ones.
        sources: not to be given.
    """
    frames, height, width = shape
    own = np.zeros(block * block, np.uint8)
    limit = len(penalty) // 2
    for n in range(1, frames):
        here, there = n * height * width, (0 if first else n - 1) * height * width
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
                    _take(luma, at, width, own, block)
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
                                sad = _sad(own, luma, place, width, across, down, shift, block)
                            else:
                                sad = _cut_sad(
                                    luma, at, place, width, across, down, shift, rows, columns
                                )
                            cost += sad << 8
                            if cost < best:
                                best, best_x, best_y = cost, vx, vy
                    step >>= 1
                motion[n - 1, 0, row, column] = best_x
                motion[n - 1, 1, row, column] = best_y


@njit(**PART)
def interpolated(pixels, place, right, below, across, down, shift):  # type: ignore[no-untyped-def]
    """One pixel of a prediction: formula of `shared.conventions`, neighbours `right`, `below`."""
    unit = np.int64(1) << shift
    upper = (unit - across) * pixels[place] + across * pixels[place + right]
    place += below
    lower = (unit - across) * pixels[place] + across * pixels[place + right]
    return ((unit - down) * upper + down * lower + (unit * unit >> 1)) >> (2 * shift)


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


_sad_4, _sad_8, _sad_16, _sad_32 = (BLOCK_SAD_BETWEEN[block] for block in (4, 8, 16, 32))
_take_4, _take_8, _take_16, _take_32 = (TAKE_BLOCK[block] for block in (4, 8, 16, 32))


@njit(**PART)
def _take(luma, at, width, own, block):  # type: ignore[no-untyped-def]
    if block == 16:
        _take_16(luma, at, width, own)
    elif block == 8:
        _take_8(luma, at, width, own)
    elif block == 32:
        _take_32(luma, at, width, own)
    else:
        _take_4(luma, at, width, own)


@njit(**PART)
def _sad(own, luma, place, width, across, down, shift, block):  # type: ignore[no-untyped-def]
    if block == 16:
        return _sad_16(own, luma, place, width, across, down, shift)
    if block == 8:
        return _sad_8(own, luma, place, width, across, down, shift)
    if block == 32:
        return _sad_32(own, luma, place, width, across, down, shift)
    return _sad_4(own, luma, place, width, across, down, shift)
