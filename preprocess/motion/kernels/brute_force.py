"""Search by brute force: many blocks side by side, one candidate after another.

For what elimination is not good at: noise, and blocks that the frame's edge cuts.
"""

from __future__ import annotations

import numpy as np
from numba import njit

from preprocess.motion.kernels.candidate_key import PART, zero_place
from preprocess.motion.kernels.vectors import WIDE, wide_step, wide_step_masked

_NEVER_BETTER = np.iinfo(np.int64).min


@njit(**PART)
def search_group(  # type: ignore[no-untyped-def]
    size, luma, here, there, penalty, expected, mask, lanes, row, keys, states, state, start, stop
):
    """Search those blocks among WIDE / b neighbours that are in a state.

    Args:
        size: a `Size`.
        luma: flat.
        here: index of the current plane's first pixel.
        there: of the reference plane's.
        penalty: see `search_clip`.
        expected: int64, (x, y) of the vectors that the row's blocks' costs are measured from.
        mask: scratch for `wide_step`.
        lanes: scratch for `wide_step`.
        row: of the grid.
        keys: of the row's blocks; bettered.
        states: of the row's blocks.
        state: of those to search.
        start: first column of the group.
        stop: behind the last.
    """
    reach, block, width = size.reach, size.block, size.width
    side, wide = 2 * reach + 1, 4 * reach + 1
    y = row * block
    rows = min(block, size.height - y)
    # Sums are over 8 bytes: blocks of 4 are taken in turn, the even ones, then the odd ones.
    turns = 2 if block == 4 else 1
    for turn in range(turns):
        for lane in range(lanes.shape[1]):
            lanes[4, lane] = _NEVER_BETTER
        mask[:] = 0
        left, right, used, alike = reach, -reach, 0, True
        for column in range(start + turn, stop, turns):
            if states[column] != state:
                continue
            x = column * block
            columns = min(block, width - x)
            low, high = max(-reach, -x), min(reach, width - columns - x)
            left, right, used = min(left, low), max(right, high), used + columns
            zero = zero_place(size, expected[0, column], expected[1, column])
            alike &= zero == zero_place(size, expected[0, start], expected[1, start])
            first = (column - start) * block
            for i in range(first, first + columns):
                mask[i] = 255
            for lane in range(first // 8, first // 8 + max(1, block // 8)):
                lanes[0, lane], lanes[1, lane] = low, high - low
                lanes[2, lane], lanes[3, lane] = rows * columns, zero
                lanes[4, lane] = keys[column]
        at = here + y * width + start * block
        for dy in range(max(-reach, -y), min(reach, size.height - rows - y) + 1):
            place = there - here + at + dy * width
            for dx in range(left, right + 1):
                order = (dy + reach) * side + dx + reach + 1
                # Of the two tables of penalties, the first is of the zero vector.
                cost = wide * wide + dy * wide + dx
                if dx == 0 and dy == 0:
                    order, cost = 0, 0
                there_x = place + dx
                # Lanes that are not used are never better: only cut blocks need the mask.
                if used == WIDE and alike:
                    wide_step(
                        luma, at, there_x, width, rows, mask, lanes, block, dx, penalty, cost, order
                    )
                else:
                    wide_step_masked(
                        luma, at, there_x, width, rows, mask, lanes, block, dx, penalty, cost, order
                    )
        for column in range(start + turn, stop, turns):
            if states[column] == state:
                keys[column] = lanes[4, (column - start) * block // 8]
