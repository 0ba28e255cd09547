"""What a vector costs besides its SAD, as integers, so that no method has to round."""

from __future__ import annotations

from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

UNITS_PER_SAD = 256
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
