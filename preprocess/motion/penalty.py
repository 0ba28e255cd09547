"""What a vector costs besides its SAD, as integers, so that no method has to round."""

from __future__ import annotations

from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

UNIT_BITS = 8
UNITS_PER_SAD = 1 << UNIT_BITS
"""Penalties are counted in 1/256 of a grey level per block pixel."""


MOST = UNITS_PER_SAD * 255
"""The largest penalty, as much as the largest SAD: so that no cost overflows."""


@lru_cache(maxsize=16)
def penalty_table(search_range: int, *, zero_bias: float, motion_cost: float) -> NDArray[np.int32]:
    """Penalty of every vector, by its difference d from the expected one.

    `round(256 motion_cost |d|)` for the zero vector, else `round(256 (motion_cost |d| +
    zero_bias))`; at most `MOST`. The cost that a search minimises is, with e the expected vector,
    `256 SAD + pixels_in_block * penalty[v != 0, vy - ey + 2R, vx - ex + 2R]`.

    Args:
        search_range: R, pixels.
        zero_bias: grey levels per block pixel, >= 0.
        motion_cost: grey levels per block pixel and pixel of difference, >= 0.

    Returns:
        int32, shape (2, 4R+1, 4R+1), read-only: of the zero vector, of any other.

    Raises:
        ValueError: a weight is negative or not finite.
    """
    for name, weight in (("zero_bias", zero_bias), ("motion_cost", motion_cost)):
        if not 0 <= weight < np.inf:
            raise ValueError(f"{name} {weight}; it must be finite and not negative")
    offsets = np.arange(-2 * search_range, 2 * search_range + 1)
    # sqrt is rounded correctly everywhere, which hypot is not: the same table on any machine.
    length = np.sqrt(np.square(offsets[:, None]) + np.square(offsets))
    biases = np.array([0.0, zero_bias])[:, None, None]
    exact = np.rint(UNITS_PER_SAD * (motion_cost * length + biases))
    penalty = np.minimum(exact, MOST).astype(np.int32)
    penalty.flags.writeable = False
    return penalty
