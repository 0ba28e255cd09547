"""The slow oracle of the search: every SAD of a frame, then the least cost block by block.

It shares no step with the other methods but the table of penalties; `verify` and the tests hold
other methods against it.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from shared.conventions import CostFrom, Reference, grid_shape
from shared.motion_compensation import predict

_OUTSIDE = np.iinfo(np.int32).max


def search(
    luma: NDArray[np.uint8],
    *,
    block: int,
    search_range: int,
    reference: Reference,
    penalty: NDArray[np.int32],
    cost_from: CostFrom = "zero",
) -> NDArray[np.int8]:
    """As `preprocess.motion.exhaustive.search`, about a thousand times slower."""
    frames, height, width = luma.shape
    grid = grid_shape(height, width, block)
    motion = np.zeros((frames - 1, 2, *grid), np.int8)
    vectors = _in_order_of_ties(search_range, height, width)
    pixels = _pixels(height, width, block)
    # Differences of vectors, from -2R, are indices into the table.
    origin = 2 * search_range
    for n in range(1, frames):
        source = luma[0 if reference == "first" else n - 1]
        sads = _sads(luma[n].astype(np.int64), source, vectors, block)
        for row in range(grid[0]):
            expected = expected_row(motion, n - 1, row, cost_from)
            away = vectors[:, :, None] - expected + origin
            penalties = penalty[vectors.any(axis=1).astype(int)[:, None], away[:, 1], away[:, 0]]
            costs = np.int64(256) * sads[:, row] + pixels[row] * penalties
            motion[n - 1, :, row] = vectors[costs.argmin(axis=0)].T
    return motion


def _in_order_of_ties(search_range: int, height: int, width: int) -> NDArray[np.int64]:
    """(x, y) of every vector that any block can have: zero, then raster order."""
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
    """SADs, shape (vectors, grid); more than any where the predictor leaves the frame."""
    height, width = current.shape
    grid = grid_shape(height, width, block)
    sads = np.empty((len(vectors), *grid), np.int32)
    for k, (dx, dy) in enumerate(vectors):
        sads[k] = _sads_at(current, source, dy, dx, block)
        sads[k][~_inside(height, width, block, dy, dx)] = _OUTSIDE
    return sads


def expected_row(
    motion: NDArray[np.int8], n: int, row: int, cost_from: CostFrom
) -> NDArray[np.int64]:
    """Expected vectors of one row of blocks, see `shared.conventions.COSTS_FROM`.

    Args:
        motion: int8, shape (T-1, 2, h, w); what is before the row is known.
        n: index into `motion`.
        row: of the grid.
        cost_from: which are expected.

    Returns:
        int64 pixels, (x, y), shape (2, w).
    """
    none = np.zeros((2, motion.shape[3]), np.int64)
    before = motion[n - 1, :, row].astype(np.int64) if n else none
    above = motion[n, :, row - 1].astype(np.int64) if row else none
    if cost_from == "zero":
        return none
    if cost_from == "temporal" or row == 0:
        return before
    columns = motion.shape[3]
    if columns == 1:
        return np.median([above, none, before], axis=0).astype(np.int64) if n else above
    beside = above[:, [*range(1, columns), columns - 2]]
    return np.median([above, beside, before], axis=0).astype(np.int64)


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
