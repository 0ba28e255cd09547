"""The vectors that costs are measured from, see `shared.conventions.COSTS_FROM`."""

from __future__ import annotations

from numba import njit

from preprocess.motion.kernels.candidate_key import PART
from shared.conventions import COSTS_FROM

_ZERO, _TEMPORAL = map(COSTS_FROM.index, ("zero", "temporal"))


@njit(**PART)
def expect_row(size, motion, n, row, expected):  # type: ignore[no-untyped-def]
    """Expected vectors of a row of blocks of frame n.

    All of a row in one function, because to call one counts references of its arrays.

    Args:
        size: a `Size`.
        motion: vectors found so far.
        n: number of the current frame.
        row: of the grid.
        expected: int64, shape (2, columns); receives the vectors.
    """
    columns = motion.shape[3]
    for xy in range(2):
        for column in range(columns):
            before = motion[n - 2, xy, row, column] if n > 1 else 0
            if size.cost_from == _ZERO:
                expected[xy, column] = 0
            elif size.cost_from == _TEMPORAL or row == 0:
                expected[xy, column] = before
            else:
                above = motion[n - 1, xy, row - 1, column]
                beside = 0
                if columns > 1:
                    neighbour = column + 1 if column + 1 < columns else column - 1
                    beside = motion[n - 1, xy, row - 1, neighbour]
                median = max(min(above, beside), min(max(above, beside), before))
                # One neighbour that is alone is taken as it is.
                expected[xy, column] = above if n == 1 and columns == 1 else median
