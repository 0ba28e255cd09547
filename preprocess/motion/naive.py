"""Slow oracle of the search: every SAD of a frame, then the least cost block by block.

It shares no step with the other methods but the table of penalties; `verify` and the tests compare
other methods with it.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from shared.conventions import Codec, grid_shape
from shared.motion_compensation import predict

_OUTSIDE = np.iinfo(np.int32).max


def search(luma: NDArray[np.uint8], codec: Codec, penalty: NDArray[np.int64]) -> NDArray[np.int8]:
    """Find the vectors of least cost as `preprocess.motion.exhaustive.search`, far more slowly."""
    frames, height, width = luma.shape
    grid, reach = grid_shape(height, width, codec.block), len(penalty) // 2
    motion = np.zeros((frames - 1, 2, *grid), np.int8)
    vectors = _in_order_of_ties(reach, height, width)
    of_vectors = penalty[vectors[:, 1] + reach, vectors[:, 0] + reach]
    penalties = np.multiply.outer(of_vectors, _pixels(height, width, codec.block))
    for n in range(1, frames):
        source = luma[0 if codec.reference == "first" else n - 1]
        sads = _sads(luma[n].astype(np.int64), source, vectors, codec.block)
        best = (np.int64(256) * sads + penalties).argmin(axis=0)  # (h, w)
        motion[n - 1] = np.moveaxis(vectors[best], -1, 0)
    return motion


def _in_order_of_ties(search_range: int, height: int, width: int) -> NDArray[np.int64]:
    """Every vector (x, y) that some block can have: zero, then raster order."""
    down, across = (min(search_range, side - 1) for side in (height, width))
    raster = [
        (dx, dy)
        for dy in range(-down, down + 1)
        for dx in range(-across, across + 1)
        if (dx, dy) != (0, 0)
    ]
    return np.array([(0, 0), *raster])


def _sads(
    current: NDArray[np.int64], source: NDArray[np.uint8], vectors: NDArray[np.int64], block: int
) -> NDArray[np.int32]:
    """SADs, shape (vectors, h, w); larger than any where the predictor leaves the frame."""
    height, width = current.shape
    grid = grid_shape(height, width, block)
    sads = np.empty((len(vectors), *grid), np.int32)
    for k, (dx, dy) in enumerate(vectors):
        sads[k] = _sads_at(current, source, dy, dx, block)
        sads[k][~_inside(height, width, block, dy, dx)] = _OUTSIDE
    return sads


def _sads_at(
    current: NDArray[np.int64], source: NDArray[np.uint8], dy: int, dx: int, block: int
) -> NDArray[np.int64]:
    """SAD of every block at one displacement; meaningless where it leaves the frame."""
    height, width = current.shape
    rows = (np.arange(height) + dy).clip(0, height - 1)
    columns = (np.arange(width) + dx).clip(0, width - 1)
    return _block_sums(np.abs(current - source[rows][:, columns])[None], block)[0]


def _block_sums(difference: NDArray[np.int64], block: int) -> NDArray[np.int64]:
    """Sums over blocks, cut ones included: (T, H, W) -> (T, h, w)."""
    height, width = difference.shape[1:]
    down = np.add.reduceat(difference, np.arange(0, height, block), axis=1)
    summed: NDArray[np.int64] = np.add.reduceat(down, np.arange(0, width, block), axis=2)
    return summed


def _pixels(height: int, width: int, block: int) -> NDArray[np.int64]:
    """Number of pixels of every block, cut ones included, shape (h, w)."""
    heights, widths = (_stops(side, block) - np.arange(0, side, block) for side in (height, width))
    return np.outer(heights, widths)


def _inside(height: int, width: int, block: int, dy: int, dx: int) -> NDArray[np.bool_]:
    """Mask (h, w) of the blocks whose predictor at this displacement lies in the frame."""
    fits = [
        (np.arange(0, side, block) + shift >= 0) & (_stops(side, block) + shift <= side)
        for side, shift in ((height, dy), (width, dx))
    ]
    return np.logical_and.outer(*fits)


def _stops(side: int, block: int) -> NDArray[np.int64]:
    return np.minimum(np.arange(0, side, block) + block, side)


def refine(
    luma: NDArray[np.uint8], motion: NDArray[np.int8], codec: Codec, penalty: NDArray[np.int64]
) -> NDArray[np.int8]:
    """Refine as `preprocess.motion.subpixel.refine`, one displacement of all vectors at a time."""
    block, unit = codec.block, codec.vector_unit
    height, width = luma.shape[1:]
    source = luma[:1] if codec.reference == "first" else luma[:-1]
    limit = len(penalty) // 2
    alone = replace(codec, compensation="block")

    def costs(vectors: NDArray[np.int16]) -> NDArray[np.int64]:
        moved = predict(source[:, None], vectors, alone)[:, 0]  # (T-1, H, W)
        sad = _block_sums(np.abs(luma[1:].astype(np.int64) - moved), block)
        x, y = (vectors.transpose(1, 0, 2, 3) + limit).clip(0, 2 * limit)
        cost = 256 * sad + penalty[y, x] * _pixels(height, width, block)
        allowed = _inside_between((height, width), block, vectors, unit)
        allowed &= (abs(vectors) <= limit).all(axis=1)
        return np.where(allowed, cost, np.iinfo(np.int64).max)

    best = motion.astype(np.int16) * unit
    least = costs(best)
    step = unit // 2
    while step:
        middle = best.copy()
        for dy in (-step, 0, step):
            for dx in (-step, 0, step):
                candidate = middle + np.array([dx, dy], np.int16)[:, None, None]
                cost = costs(candidate)
                better = cost < least
                least[better] = cost[better]
                best = np.where(better[:, None], candidate, best)
        step //= 2
    return best.astype(np.int8)


def _inside_between(
    shape: tuple[int, int], block: int, vectors: NDArray[np.int16], vector_unit: int
) -> NDArray[np.bool_]:
    """Mask (T, h, w) of the vectors (T, 2, h, w) whose predictor lies in the frame."""
    inside = np.ones((len(vectors), *vectors.shape[2:]), np.bool_)
    for axis, side in enumerate(shape):
        corners = vectors[:, 1 - axis].swapaxes(axis + 1, 2)
        low = corners + vector_unit * np.arange(0, side, block)
        high = corners + vector_unit * _stops(side, block)
        inside &= ((low >= 0) & (high <= vector_unit * side)).swapaxes(axis + 1, 2)
    return inside
