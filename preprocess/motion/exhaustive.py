"""Exhaustive search: every vector in range is a candidate, and the least cost is always found.

Most candidates are left out by multi-level successive elimination: the sum over a block's quarters
of |difference of their sums| is never more than the SAD (Gao, Duanmu, Zou: A multilevel successive
elimination algorithm for block matching motion estimation, 2000). A search starts from likely
vectors, to know a good cost early, and skips every candidate whose bound is not below it; 32
candidates are compared together. That is quick on anything but noise. Noise, and blocks that the
frame's edge cuts, are searched by brute force: blocks side by side, one candidate after another.

Frames lie one after another in one flat array, so that a place is one number. Places before a row
or after it may be read, as whole vectors are; their pixels are never chosen.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numba import njit
from numpy.typing import NDArray

from preprocess.motion.kernels.candidate_key import (
    JIT,
    KERNEL_SOURCE_HASH,
    ORDERS,
    PART,
    PENALTY_BITS,
    Size,
    key_of,
    store,
    vector_of,
)
from preprocess.motion.kernels.vectors import (
    COLUMNS,
    LANES,
    SPAN,
    WIDE,
    block_sad,
    count_ones,
    first_possible,
    slide,
    take_block,
    trailing_zeros,
    wide_step,
    wide_step_masked,
    window,
)
from shared.conventions import Codec, grid_shape

SLACK = 256
"""Zeros before and after the luma: more than a vector and a row of WIDE bytes reach."""

TO_SEARCH, TO_SEARCH_SURELY, DENSE, DONE = range(4)
"""States of a block. A dense one looks like noise: brute force may be quicker."""

DENSE_FRACTION = 0.5
"""Fraction of the farthest row's candidates that remain, above which a block is dense."""

_UNKNOWN = np.iinfo(np.int64).max
_NEVER_BETTER = np.iinfo(np.int64).min


def search(
    luma: NDArray[np.uint8],
    codec: Codec,
    penalty: NDArray[np.int64],
    *,
    brute_force: bool = False,
) -> NDArray[np.int8]:
    """Find the vectors of least cost; ties as in `shared.conventions`.

    Args:
        luma: uint8, shape (T, H, W).
        codec: block and reference; vectors are in whole pixels.
        penalty: int64, shape (2R+1, 2R+1), of every vector: `preprocess.motion.vector_penalty`.
        brute_force: compare every candidate; the result is the same.

    Returns:
        int8, shape (T-1, 2, ceil(H/b), ceil(W/b)).
    """
    frames, height, width = luma.shape
    block, reach = codec.block, len(penalty) // 2
    flat = np.empty(luma.size + 2 * SLACK, np.uint8)
    flat[:SLACK] = flat[-SLACK:] = 0
    flat[SLACK:-SLACK].reshape(luma.shape)[:] = luma
    # Differences of four sums over 16 x 16 pixels are too much for 16 bits.
    size = Size(height, width, block, reach, shift=2 if block == 32 else 0)
    rates = np.zeros(penalty.size + SPAN, np.uint16)
    rates[: penalty.size] = penalty.ravel() * (block * block) >> PENALTY_BITS >> size.shift
    grid = grid_shape(height, width, block)
    arrays = Arrays(
        luma=flat,
        penalty=penalty.ravel(),
        rates=rates,
        sums=np.zeros(2 * (height * width + SLACK), np.int16),
        columns=np.zeros(2 * (width + 4 * COLUMNS), np.int16),
        own=np.zeros(block * block, np.uint8),
        mask=np.zeros(WIDE, np.uint8),
        lanes=np.zeros((4, LANES), np.int64),
        keys=np.zeros(grid[1], np.int64),
        states=np.zeros(grid[1], np.int64),
        motion=np.zeros((frames - 1, 2, *grid), np.int8),
    )
    search_clip(size, arrays, codec.reference == "first", brute_force)
    return arrays.motion


class Arrays(NamedTuple):
    """Arrays that the parts of the kernel have in common.

    Attributes:
        luma: uint8, T planes of H x W between SLACK zeros, flat.
        penalty: int64, of every vector, flat.
        rates: uint16, penalties of a whole block in units of the bound, rounded down; flat,
            followed by SPAN zeros.
        sums: int16, quarter sums of two frames, flat.
        columns: int16, scratch of the quarter sums, two rows and 4 COLUMNS each.
        own: uint8, scratch for the pixels of one block.
        mask: uint8, scratch of `wide_step`.
        lanes: int64, scratch of `wide_step`.
        keys: int64, best key of each block of a row of the grid.
        states: int64, state of each block of a row of the grid.
        motion: receives the vectors, int8, shape (T-1, 2, ceil(H/b), ceil(W/b)).
    """

    luma: Any
    penalty: Any
    rates: Any
    sums: Any
    columns: Any
    own: Any
    mask: Any
    lanes: Any
    keys: Any
    states: Any
    motion: Any


class Planes(NamedTuple):
    """Places of the current frame and of its reference frame in the flat arrays.

    Attributes:
        n: number of the current frame.
        here: index of the current plane's first pixel.
        there: index of the reference plane's first pixel.
        ours: index of the current plane's first quarter sum.
        theirs: index of the reference plane's first quarter sum.
    """

    n: int
    here: int
    there: int
    ours: int
    theirs: int


@njit(cache=True, **JIT)
def search_clip(  # type: ignore[no-untyped-def]
    size, arrays, reference_is_first, brute_force, sources=KERNEL_SOURCE_HASH
):
    """Search all blocks of all frames.

    Args:
        size: a `Size`.
        arrays: an `Arrays`.
        reference_is_first: vectors point into frame 0, not into the previous frame.
        brute_force: leave out no candidate; the result is the same.
        sources: cache key; leave at its default.
    """
    height, width, block = size.height, size.width, size.block
    plane, motion, keys, states = height * width, arrays.motion, arrays.keys, arrays.states
    sums_plane = len(arrays.sums) // 2
    grid_width, in_group = motion.shape[3], WIDE // block
    eliminates = not brute_force and height >= block and width >= block
    if eliminates:
        _quarter_sums(size, arrays, SLACK, 0)
    for n in range(1, motion.shape[0] + 1):
        planes = Planes(
            n,
            SLACK + n * plane,
            SLACK + (0 if reference_is_first else (n - 1) * plane),
            sums_plane * (1 if reference_is_first else n % 2),
            sums_plane * (0 if reference_is_first else (n - 1) % 2),
        )
        if eliminates:
            _quarter_sums(size, arrays, planes.here, planes.ours)
        for row in range(motion.shape[2]):
            whole = width // block if eliminates and (row + 1) * block <= height else 0
            for column in range(grid_width):
                states[column] = TO_SEARCH if column < whole else DENSE
                keys[column] = _UNKNOWN
            for state in (TO_SEARCH, TO_SEARCH_SURELY):
                _eliminate(size, arrays, planes, row, state)
                for start in range(0, whole, in_group):
                    stop = min(start + in_group, whole)
                    dense = 0
                    for column in range(start, stop):
                        dense += states[column] == DENSE
                    # One dense block among many is not worth a group's brute force.
                    if 2 * dense <= in_group:
                        for column in range(start, stop):
                            if states[column] == DENSE:
                                states[column] = TO_SEARCH_SURELY
            for start in range(0, grid_width, in_group):
                stop = min(start + in_group, grid_width)
                dense = 0
                for column in range(start, stop):
                    dense += states[column] == DENSE
                if dense:
                    _brute_force(size, arrays, planes, row, start, stop)
                    for column in range(start, stop):
                        store(size, keys[column], motion, n, row, column)


# --- elimination -------------------------------------------------------------------------------


@njit(**PART)
def _quarter_sums(size, arrays, start, out):  # type: ignore[no-untyped-def]
    """Sum b/2 x b/2 pixels at every place of the plane at `start`, >> shift, into rows of W."""
    luma, columns, sums = arrays.luma, arrays.columns, arrays.sums
    half = size.block // 2
    span = len(columns) // 2
    columns[:] = 0
    for y in range(1 - half, size.height - half + 2):
        # A row ahead, into the other half: what was just written cannot be read immediately.
        before, after = span * (y & 1), span * (1 - (y & 1))
        if y <= size.height - half:
            entering = start + (y + half - 1) * size.width
            for x in range(0, size.width, COLUMNS):
                # Until sums are full, what leaves them are the zeros before the first plane.
                leaving = start + (y - 1) * size.width + x if y > 0 else 0
                slide(columns, before + x, after + x, luma, leaving, entering + x)
        if y > 0:
            for x in range(0, size.width, COLUMNS):
                window(half, columns, before + x, size.shift, sums, out + (y - 1) * size.width + x)


@njit(**PART)
def _eliminate(size, arrays, planes, row, state):  # type: ignore[no-untyped-def]
    """Search the blocks of one row of the grid that are in a state, leaving out by bounds.

    They become DONE or, unless searched surely, DENSE. All of a row is in one function, because a
    call counts references of its arrays.
    """
    luma, penalty, rates, sums, own = (
        arrays.luma,
        arrays.penalty,
        arrays.rates,
        arrays.sums,
        arrays.own,
    )
    keys, states, motion, n = arrays.keys, arrays.states, arrays.motion, planes.n
    reach, block, width = size.reach, size.block, size.width
    half, pixels, y = block // 2, block * block, row * block
    side = 2 * reach + 1
    zero = reach * side + reach
    top, bottom = max(-reach, -y), min(reach, size.height - block - y)
    for column in range(len(keys)):
        if states[column] != state:
            continue
        x = column * block
        at = y * width + x
        there = planes.there + at
        left, right = max(-reach, -x), min(reach, width - block - x)
        take_block(block, luma, planes.here + at, width, own)
        key = key_of(block_sad(block, own, luma, there, width), 0, 0)
        states[column] = DONE
        if key:
            for k in range(3):
                # Left, above, and where the block was one frame earlier.
                r, c, m = row - (k == 1), column - (k == 0), n - 1 - (k == 2)
                if r < 0 or c < 0 or m < 0:
                    continue
                dx = min(max(np.int64(motion[m, 0, r, c]), left), right)
                dy = min(max(np.int64(motion[m, 1, r, c]), top), bottom)
                place = zero + dy * side + dx
                if (dx != 0 or dy != 0) and place + 1 != key & ORDERS:
                    sad = block_sad(block, own, luma, there + dy * width + dx, width)
                    key = min(key, key_of(sad, pixels * penalty[place], place + 1))
            corner, below = planes.ours + at, half * width
            quarters = (
                sums[corner],
                sums[corner + half],
                sums[corner + below],
                sums[corner + below + half],
            )
            limit = _limit(size, key)
            middle = vector_of(size, key)[1]
            # A row's rates are least at dx = 0.
            first, last = top, bottom
            while first < middle and np.int64(rates[zero + first * side]) > limit:
                first += 1
            while last > middle and np.int64(rates[zero + last * side]) > limit:
                last -= 1
            theirs = planes.theirs + at
            # A SAD below one a pixel is no noise worth testing for.
            if state == TO_SEARCH and limit > pixels:
                dy = first if middle - first > last - middle else last
                count = 0
                for dx in range(left, right + 1, SPAN):
                    found = _possible(
                        size, sums, theirs, quarters, rates, dx, dy, 1, 1, right, limit
                    )
                    count += count_ones(found[1])
                if count > DENSE_FRACTION * (right - left + 1):
                    states[column], keys[column] = DENSE, key
                    continue
            for dx in range(left, right + 1, SPAN):
                # Rows near the best so far first: the sooner a key is good, the more is left out.
                for step in (1, -1):
                    dy = middle if step == 1 else middle - 1
                    rest = last - dy + 1 if step == 1 else dy - first + 1
                    while rest > 0:
                        skipped, bits = _possible(
                            size, sums, theirs, quarters, rates, dx, dy, step, rest, right, limit
                        )
                        dy += step * skipped
                        rest -= skipped + 1
                        while bits:
                            vx = dx + trailing_zeros(bits)
                            bits &= bits - 1
                            place = zero + dy * side + vx
                            sad = block_sad(block, own, luma, there + dy * width + vx, width)
                            # The zero vector comes again, with a key that is not below its own.
                            candidate = key_of(sad, pixels * penalty[place], place + 1)
                            if candidate < key:
                                key = candidate
                                limit = _limit(size, key)
                        dy += step
        keys[column] = key
        store(size, key, motion, n, row, column)


@njit(**PART)
def _limit(size, key):  # type: ignore[no-untyped-def]
    """Largest bound of a candidate whose cost is not above the key's.

    SAD + rate <= cost / 256; a difference of sums that were cut by `shift` bits falls short by
    less than 2^shift, four times. A bound ends at 65535, which lets all pass.
    """
    return min(65535, ((key >> 24) + 4 * ((1 << size.shift) - 1)) >> size.shift)


@njit(**PART)
def _possible(  # type: ignore[no-untyped-def]
    size, sums, start, quarters, rates, dx, dy, step, count, right, limit
):
    """Call `first_possible` for the candidates from (dx, dy) to the right, at most SPAN."""
    width, side = size.width, 2 * size.reach + 1
    across = min(right + 1 - dx, SPAN)
    return first_possible(
        (across + 15) // 16,
        sums,
        start + dy * width + dx,
        size.block // 2,
        width,
        quarters,
        rates,
        (dy + size.reach) * side + dx + size.reach,
        side,
        step,
        count,
        (2 << (across - 1)) - 1,
        limit,
    )


# --- brute force -------------------------------------------------------------------------------


@njit(**PART)
def _brute_force(size, arrays, planes, row, start, stop):  # type: ignore[no-untyped-def]
    """Search the dense blocks among WIDE / b neighbours of a row of the grid; improves their keys.

    The neighbours are the columns from `start` up to `stop`.
    """
    luma, penalty, mask, lanes = arrays.luma, arrays.penalty, arrays.mask, arrays.lanes
    keys, states = arrays.keys, arrays.states
    reach, block, width = size.reach, size.block, size.width
    side = 2 * reach + 1
    y = row * block
    rows = min(block, size.height - y)
    # Sums are over 8 bytes: blocks of 4 are taken in turn, the even ones, then the odd ones.
    turns = 2 if block == 4 else 1
    for turn in range(turns):
        for lane in range(lanes.shape[1]):
            lanes[3, lane] = _NEVER_BETTER
        mask[:] = 0
        left, right, used = reach, -reach, 0
        for column in range(start + turn, stop, turns):
            if states[column] != DENSE:
                continue
            x = column * block
            columns = min(block, width - x)
            low, high = max(-reach, -x), min(reach, width - columns - x)
            left, right, used = min(left, low), max(right, high), used + columns
            first = (column - start) * block
            for i in range(first, first + columns):
                mask[i] = 255
            for lane in range(first // 8, first // 8 + max(1, block // 8)):
                lanes[0, lane], lanes[1, lane] = low, high - low
                lanes[2, lane], lanes[3, lane] = rows * columns, keys[column]
        at = y * width + start * block
        here = planes.here + at
        for dy in range(max(-reach, -y), min(reach, size.height - rows - y) + 1):
            line = planes.there + at + dy * width
            for dx in range(left, right + 1):
                place = (dy + reach) * side + dx + reach
                order, of_one = place + 1, penalty[place]
                if dx == 0 and dy == 0:
                    order = 0
                there = line + dx
                # Lanes that are not used are never better: only cut blocks need the mask.
                if used == WIDE:
                    wide_step(luma, here, there, width, rows, mask, lanes, block, dx, of_one, order)
                else:
                    wide_step_masked(
                        luma, here, there, width, rows, mask, lanes, block, dx, of_one, order
                    )
        for column in range(start + turn, stop, turns):
            if states[column] == DENSE:
                keys[column] = lanes[3, (column - start) * block // 8]
