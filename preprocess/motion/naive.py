"""The slow oracle of the search: whole-frame differences, one displacement at a time.

It shares no step with the other methods but the table of penalties; `verify` and the tests hold
other methods against it.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from shared.compensate import predict
from shared.conventions import Reference, grid_shape


def search(
    luma: NDArray[np.uint8],
    *,
    block: int,
    search_range: int,
    reference: Reference,
    penalty: NDArray[np.int64],
) -> NDArray[np.int8]:
    """As `preprocess.motion.exhaustive.search`, about a thousand times slower."""
    frames, height, width = luma.shape
    current = luma[1:].astype(np.int64)
    source = np.broadcast_to(luma[:1], current.shape) if reference == "first" else luma[:-1]
    grid = grid_shape(height, width, block)
    best = np.full((frames - 1, *grid), np.iinfo(np.int64).max)
    motion = np.zeros((frames - 1, 2, *grid), np.int8)
    offsets = range(-search_range, search_range + 1)
    raster = [(dy, dx) for dy in offsets for dx in offsets]
    for dy, dx in [(0, 0), *raster]:
        if abs(dy) >= height or abs(dx) >= width:
            continue
        cost = _costs(current, source, dy, dx, block)
        cost += int(penalty[dy + search_range, dx + search_range]) * _pixels(height, width, block)
        better = (cost < best) & _inside(height, width, block, dy, dx)
        best[better] = cost[better]
        motion[:, 0][better], motion[:, 1][better] = dx, dy
    return motion


def refine(
    luma: NDArray[np.uint8],
    motion: NDArray[np.int8],
    *,
    block: int,
    search_range: int,
    reference: Reference,
    vector_unit: int,
    penalty: NDArray[np.int64],
) -> NDArray[np.int8]:
    """As `preprocess.motion.subpixel.refine`, one displacement of all vectors at a time."""
    height, width = luma.shape[1:]
    source = luma[:1] if reference == "first" else luma[:-1]
    limit = search_range * vector_unit

    def costs(vectors: NDArray[np.int16]) -> NDArray[np.int64]:
        moved = predict(source[:, None], vectors, block=block, vector_unit=vector_unit)[:, 0]
        sad = _block_sums(np.abs(luma[1:].astype(np.int64) - moved), block)
        x, y = (vectors.transpose(1, 0, 2, 3) + limit).clip(0, 2 * limit)
        cost = 256 * sad + penalty[y, x] * _pixels(height, width, block)
        allowed = _inside_between((height, width), block, vectors, vector_unit)
        allowed &= (abs(vectors) <= limit).all(axis=1)
        return np.where(allowed, cost, np.iinfo(np.int64).max)

    best = motion.astype(np.int16) * vector_unit
    least = costs(best)
    step = vector_unit // 2
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
    """Which of the vectors (T, 2, h, w) have a predictor that lies in the frame, (T, h, w)."""
    inside = np.ones((len(vectors), *vectors.shape[2:]), np.bool_)
    for axis, side in enumerate(shape):
        corners = vectors[:, 1 - axis].swapaxes(axis + 1, 2)
        low = corners + vector_unit * np.arange(0, side, block)
        high = corners + vector_unit * _stops(side, block)
        inside &= ((low >= 0) & (high <= vector_unit * side)).swapaxes(axis + 1, 2)
    return inside


def _costs(
    current: NDArray[np.int64], source: NDArray[np.uint8], dy: int, dx: int, block: int
) -> NDArray[np.int64]:
    """256 SAD of every block at one displacement; meaningless where it leaves the frame."""
    height, width = current.shape[1:]
    rows = (np.arange(height) + dy).clip(0, height - 1)
    columns = (np.arange(width) + dx).clip(0, width - 1)
    return 256 * _block_sums(np.abs(current - source[:, rows][:, :, columns]), block)


def _block_sums(difference: NDArray[np.int64], block: int) -> NDArray[np.int64]:
    """Sums over blocks, cut ones included: (T, H, W) -> (T, h, w)."""
    height, width = difference.shape[1:]
    down = np.add.reduceat(difference, np.arange(0, height, block), axis=1)
    summed: NDArray[np.int64] = np.add.reduceat(down, np.arange(0, width, block), axis=2)
    return summed


def _pixels(height: int, width: int, block: int) -> NDArray[np.int64]:
    """Pixels of every block, cut ones included, shape of the grid."""
    heights, widths = (_stops(side, block) - np.arange(0, side, block) for side in (height, width))
    return np.outer(heights, widths)


def _inside(height: int, width: int, block: int, dy: int, dx: int) -> NDArray[np.bool_]:
    """Blocks whose predictor at this displacement lies in the frame, shape of the grid."""
    fits = [
        (np.arange(0, side, block) + shift >= 0) & (_stops(side, block) + shift <= side)
        for side, shift in ((height, dy), (width, dx))
    ]
    return np.logical_and.outer(*fits)


def _stops(side: int, block: int) -> NDArray[np.int64]:
    return np.minimum(np.arange(0, side, block) + block, side)
