"""Search by multi-level successive elimination: exact, and quick on anything but noise.

A search starts from likely vectors, to know a good cost early, and then leaves out every candidate
whose cost cannot be less: the sum over a block's quarters of |difference of their sums| is never
more than the SAD (Gao, Duanmu, Zou: A multilevel successive elimination algorithm for block
matching motion estimation, 2000). 32 candidates are compared at once.
"""

from __future__ import annotations

import numpy as np
from numba import njit

from preprocess.motion.kernels.candidate_key import (
    ORDERS,
    PART,
    key_of,
    store,
    vector_of,
    zero_place,
)
from preprocess.motion.kernels.vectors import (
    BLOCK_SAD,
    COLUMNS,
    FIRST_POSSIBLE,
    SPANS,
    TAKE_BLOCK,
    WINDOW,
    count_ones,
    slide,
    trailing_zeros,
)

TO_SEARCH, TO_SEARCH_SURELY, DENSE, DONE = range(4)
"""States of a block. A dense one looks like noise: brute force may be quicker."""

DENSE_SHARE = 0.5
"""Share of the farthest row's candidates that cannot be left out, above which a block is dense."""

_sad_4, _sad_8, _sad_16, _sad_32 = (BLOCK_SAD[block] for block in (4, 8, 16, 32))
_take_4, _take_8, _take_16, _take_32 = (TAKE_BLOCK[block] for block in (4, 8, 16, 32))
SPAN = SPANS[-1]

_first_16, _first_32, _first_48, _first_64 = (FIRST_POSSIBLE[span] for span in SPANS)
_window_2, _window_4, _window_8, _window_16 = (WINDOW[half] for half in (2, 4, 8, 16))


@njit(**PART)
def quarter_sums(size, luma, start, columns, sums, out):  # type: ignore[no-untyped-def]
    """Sums over b/2 x b/2 pixels at every place of one plane, >> shift.

    Args:
        size: a `Size`.
        luma: flat.
        start: index of the plane's first pixel.
        columns: int16 scratch, twice a row and 2 COLUMNS.
        sums: int16, flat; receives them, rows of W.
        out: index of the first.
    """
    half = size.block // 2
    span = len(columns) // 2
    columns[:] = 0
    for y in range(1 - half, size.height - half + 2):
        # A row ahead, into the other half: what was just written cannot be read at once.
        before, after = span * (y & 1), span * (1 - (y & 1))
        if y <= size.height - half:
            entering = start + (y + half - 1) * size.width
            for x in range(0, size.width, COLUMNS):
                # Until sums are full, what leaves them are the zeros before the first plane.
                leaving = start + (y - 1) * size.width + x if y > 0 else 0
                slide(columns, before + x, after + x, luma, leaving, entering + x)
        if y > 0:
            for x in range(0, size.width, COLUMNS):
                _window(size, half, columns, before + x, sums, out + (y - 1) * size.width + x)


@njit(**PART)
def search_row(  # type: ignore[no-untyped-def]
    size,
    luma,
    here,
    there,
    sums,
    ours,
    theirs,
    rates,
    penalty,
    expected,
    own,
    motion,
    n,
    row,
    keys,
    states,
    state,
):
    """Search the blocks of one row of the grid that are in a state.

    All of a row in one function, because to call one counts references of its arrays.

    Args:
        size: a `Size`.
        luma: flat.
        here: index of the current plane's first pixel.
        there: of the reference plane's.
        sums: quarter sums of both.
        ours: index of the current plane's first sum.
        theirs: of the reference plane's.
        rates: see `search_clip`.
        penalty: see `search_clip`.
        expected: int64, (x, y) of the vectors that the row's blocks' costs are measured from.
        own: scratch for one block.
        motion: vectors found so far; receives these.
        n: number of the current frame.
        row: of the grid.
        keys: int64, one for each block of the row; receives the best.
        states: of the row's blocks; become DONE or, unless searched surely, DENSE.
        state: of those to search.
    """
    reach, block, width = size.reach, size.block, size.width
    half, pixels, y = block // 2, block * block, row * block
    side, wide = 2 * reach + 1, 4 * reach + 1
    top, bottom = max(-reach, -y), min(reach, size.height - block - y)
    for column in range(len(keys)):
        if states[column] != state:
            continue
        x = column * block
        at = y * width + x
        left, right = max(-reach, -x), min(reach, width - block - x)
        x_expected, y_expected = expected[0, column], expected[1, column]
        zero = zero_place(size, x_expected, y_expected)
        others = zero + wide * wide
        _take(size, luma, here + at, own)
        key = key_of(_sad(size, own, luma, there + at), pixels * penalty[zero], 0)
        states[column] = DONE
        if key:
            for k in range(3):
                # Left, above, and where the block was a frame before.
                r, c, m = row - (k == 1), column - (k == 0), n - 1 - (k == 2)
                if r < 0 or c < 0 or m < 0:
                    continue
                dx = min(max(np.int64(motion[m, 0, r, c]), left), right)
                dy = min(max(np.int64(motion[m, 1, r, c]), top), bottom)
                order = (dy + reach) * side + dx + reach + 1
                if (dx != 0 or dy != 0) and order != key & ORDERS:
                    sad = _sad(size, own, luma, there + at + dy * width + dx)
                    key = min(key, key_of(sad, pixels * penalty[others + dy * wide + dx], order))
            place, below = ours + at, half * width
            quarters = (
                sums[place],
                sums[place + half],
                sums[place + below],
                sums[place + below + half],
            )
            limit = _limit(size, key)
            middle = vector_of(size, key)[1]
            # A row's rates are least where the expected vector is.
            nearest = zero + min(max(x_expected, left), right)
            first, last = top, bottom
            while first < middle and np.int64(rates[nearest + first * wide]) > limit:
                first += 1
            while last > middle and np.int64(rates[nearest + last * wide]) > limit:
                last -= 1
            # A SAD below one a pixel is no noise worth asking about.
            if state == TO_SEARCH and limit > pixels:
                dy = first if middle - first > last - middle else last
                count = 0
                for dx in range(left, right + 1, SPAN):
                    found = _first_possible(
                        size, sums, theirs + at, quarters, rates, zero, dx, dy, 1, 1, right, limit
                    )
                    count += count_ones(found[1])
                if count > DENSE_SHARE * (right - left + 1):
                    states[column], keys[column] = DENSE, key
                    continue
            for dx in range(left, right + 1, SPAN):
                # Rows near the best so far first: the sooner a key is good, the more is left out.
                for step in (1, -1):
                    dy = middle if step == 1 else middle - 1
                    rest = last - dy + 1 if step == 1 else dy - first + 1
                    while rest > 0:
                        skipped, bits = _first_possible(
                            size,
                            sums,
                            theirs + at,
                            quarters,
                            rates,
                            zero,
                            dx,
                            dy,
                            step,
                            rest,
                            right,
                            limit,
                        )
                        dy += step * skipped
                        rest -= skipped + 1
                        while bits:
                            vx = dx + trailing_zeros(bits)
                            bits &= bits - 1
                            sad = _sad(size, own, luma, there + at + dy * width + vx)
                            extra = pixels * penalty[others + dy * wide + vx]
                            order = (dy + reach) * side + vx + reach + 1
                            candidate = key_of(sad, extra, order)
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


# The instructions are unrolled, one copy for each block size.


@njit(**PART)
def _first_possible(  # type: ignore[no-untyped-def]
    size, sums, start, own, rates, zero, dx, dy, step, count, right, limit
):
    half, width, wide = size.block // 2, size.width, 4 * size.reach + 1
    at, rate, across = start + dy * width + dx, zero + dy * wide + dx, right + 1 - dx
    inside = (2 << (min(across, SPAN) - 1)) - 1
    if across <= 16:
        return _first_16(sums, at, half, width, own, rates, rate, wide, step, count, inside, limit)
    if across <= 32:
        return _first_32(sums, at, half, width, own, rates, rate, wide, step, count, inside, limit)
    if across <= 48:
        return _first_48(sums, at, half, width, own, rates, rate, wide, step, count, inside, limit)
    return _first_64(sums, at, half, width, own, rates, rate, wide, step, count, inside, limit)


@njit(**PART)
def _take(size, luma, at, own):  # type: ignore[no-untyped-def]
    if size.block == 16:
        _take_16(luma, at, size.width, own)
    elif size.block == 8:
        _take_8(luma, at, size.width, own)
    elif size.block == 32:
        _take_32(luma, at, size.width, own)
    else:
        _take_4(luma, at, size.width, own)


@njit(**PART)
def _sad(size, own, luma, at):  # type: ignore[no-untyped-def]
    if size.block == 16:
        return _sad_16(own, luma, at, size.width)
    if size.block == 8:
        return _sad_8(own, luma, at, size.width)
    if size.block == 32:
        return _sad_32(own, luma, at, size.width)
    return _sad_4(own, luma, at, size.width)


@njit(**PART)
def _window(size, half, columns, x, sums, at):  # type: ignore[no-untyped-def]
    if half == 8:
        _window_8(columns, x, size.shift, sums, at)
    elif half == 4:
        _window_4(columns, x, size.shift, sums, at)
    elif half == 16:
        _window_16(columns, x, size.shift, sums, at)
    else:
        _window_2(columns, x, size.shift, sums, at)
