"""What a vector costs besides its SAD, as integers, so that no method has to round."""

from __future__ import annotations

from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

UNIT_BITS = 8
UNITS_PER_SAD = 1 << UNIT_BITS
"""Penalties are counted in 1/256 of a grey level per block pixel."""


MOST = UNITS_PER_SAD * 255
"""A vector with this penalty is never less than the zero vector at its worst: more is the same."""


@lru_cache(maxsize=16)
def penalty_table(search_range: int, *, zero_bias: float, motion_cost: float) -> NDArray[np.int64]:
    """Penalty of every vector, `round(256 (motion_cost |v| + zero_bias [v != 0]))`.

    At most `MOST`, so that no cost overflows.

    The cost that a search minimises is `256 SAD + pixels_in_block * penalty[vy + R, vx + R]`.

    Args:
        search_range: R, pixels.
        zero_bias: grey levels per block pixel, >= 0.
        motion_cost: grey levels per block pixel and pixel of vector length, >= 0.

    Returns:
        int64, shape (2R+1, 2R+1), read-only; zero for the zero vector, which is the smallest.

    Raises:
        ValueError: a weight is negative or not finite.
    """
    for name, weight in (("zero_bias", zero_bias), ("motion_cost", motion_cost)):
        if not 0 <= weight < np.inf:
            raise ValueError(f"{name} {weight}; it must be finite and not negative")
    offsets = np.arange(-search_range, search_range + 1)
    # sqrt is rounded correctly everywhere, which hypot is not: the same table on any machine.
    length = np.sqrt(np.square(offsets[:, None]) + np.square(offsets))
    exact = np.rint(UNITS_PER_SAD * (motion_cost * length + zero_bias))
    penalty = np.minimum(exact, MOST).astype(np.int64)
    penalty[search_range, search_range] = 0
    penalty.flags.writeable = False
    return penalty


@lru_cache(maxsize=16)
def difference_penalty(
    search_range: int, *, zero_bias: float, motion_cost: float
) -> NDArray[np.int32]:
    """Penalty of every vector v by its difference d = v - e from the expected one.

    `round(256 motion_cost |d|)` for the zero vector, `round(256 (motion_cost |d| + zero_bias))`
    for any other, at most `MOST`: where e = 0, as in `penalty_table`. The cost that a search
    minimises is `256 SAD + pixels_in_block * penalty[v != 0, d_y + 2R, d_x + 2R]`.

    Args:
        search_range: R, pixels.
        zero_bias: grey levels per block pixel, >= 0.
        motion_cost: grey levels per block pixel and pixel of difference, >= 0.

    Returns:
        int32, shape (2, 4R+1, 4R+1), read-only: of the zero vector, of any other.

    Raises:
        ValueError: a weight is negative or not finite.
    """
    reach = 2 * search_range
    of_others = penalty_table(reach, zero_bias=zero_bias, motion_cost=motion_cost)
    of_zero = penalty_table(reach, zero_bias=0.0, motion_cost=motion_cost)
    penalty = np.stack([of_zero, of_others]).astype(np.int32)
    penalty[1, reach, reach] = min(np.rint(UNITS_PER_SAD * zero_bias), MOST)
    penalty.flags.writeable = False
    return penalty


def penalty_around_zero(penalty: NDArray[np.int32]) -> NDArray[np.int64]:
    """`penalty_table` from `difference_penalty`, of vectors measured from the zero vector."""
    reach = penalty.shape[1] // 4
    window = slice(reach, 3 * reach + 1)
    table = penalty[1, window, window].astype(np.int64)
    table[reach, reach] = 0
    return table


def index_penalty(motion_cost: float) -> int:
    """Penalty of the reference index 1, that of one pixel of vector length; at most `MOST`."""
    return int(min(np.rint(UNITS_PER_SAD * motion_cost), MOST))


def subpixel_penalty(
    search_range: int, vector_unit: int, *, zero_bias: float, motion_cost: float
) -> NDArray[np.int64]:
    """Penalty of every vector in units of 1/vector_unit pixel, whose length counts in pixels.

    Bit for bit `penalty_table` where a vector is whole: the unit is a power of two.

    Returns:
        int64, shape (2Ru+1, 2Ru+1), read-only.
    """
    return penalty_table(
        search_range * vector_unit, zero_bias=zero_bias, motion_cost=motion_cost / vector_unit
    )
