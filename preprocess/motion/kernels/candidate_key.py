"""Common parts of the kernels: Numba's flags, the checksum of their sources, candidate keys.

The *key* of a candidate vector is its cost, followed by its place in the order of ties. The least
key is the answer, in any order in which candidates are compared.
"""

from __future__ import annotations

import zlib
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numba import njit

JIT: dict[str, Any] = {"nogil": True, "boundscheck": False, "error_model": "numpy"}
"""Numba flags of every kernel. No fast-math: all is integer."""

PART: dict[str, Any] = {**JIT, "forceinline": True}
"""Numba flags of the parts of a kernel. Not cached on disk: they are compiled into the kernel."""

_PACKAGE = Path(__file__).parents[2]
KERNEL_SOURCE_HASH = zlib.crc32(
    b"".join(
        path.read_bytes()
        for folder in ("frames", "motion", "motion/kernels")
        for path in sorted((_PACKAGE / folder).glob("*.py"))
    )
)
"""Checksum of the sources of all kernels, the default of a last argument of those that are cached.

Numba's cache on disk compares the age of a kernel's own file only, not those of its parts; but a
default is part of the cache's key.
"""

PENALTY_BITS = 8
"""Penalties are integers in units of 1/256 grey level per block pixel: cost = 256 SAD + ..."""

ORDER_BITS = 16
"""Bits for the order of ties: the zero vector and (2 * 127 + 1)^2 others are fewer than 2^16."""

ORDERS = (1 << ORDER_BITS) - 1


class Size(NamedTuple):
    """Sizes that are constant within a clip, pixels."""

    height: int
    width: int
    block: int
    reach: int
    """Search range R."""
    shift: int
    """Quarter sums are kept >> shift, so that four differences fit in 16 bits."""


@njit(**PART)
def key_of(sad, extra, order):  # type: ignore[no-untyped-def]
    """Key of a candidate; `extra` is its penalty times the block's pixels."""
    return (((sad << PENALTY_BITS) + extra) << ORDER_BITS) | order


@njit(**PART)
def vector_of(size, key):  # type: ignore[no-untyped-def]
    """Vector (vx, vy) of a key: order 0 is the zero vector, then raster order from 1."""
    order = key & ORDERS
    side = 2 * size.reach + 1
    vx, vy = 0, 0
    if order:
        vx, vy = (order - 1) % side - size.reach, (order - 1) // side - size.reach
    return vx, vy


@njit(**PART)
def store(size, key, motion, n, row, column):  # type: ignore[no-untyped-def]
    """Write the vector of a key into the motion of frame n."""
    vx, vy = vector_of(size, key)
    motion[n - 1, 0, row, column] = vx
    motion[n - 1, 1, row, column] = vy


@njit(**PART)
def interpolated(pixels, place, right, below, across, down, shift):  # type: ignore[no-untyped-def]
    """Interpolate one pixel of a prediction, by the formula of `shared.conventions`.

    `place` is the index of its upper left neighbour in flat pixels, `right` and `below` the steps
    to the other neighbours, `across` and `down` the fraction in units of 1/2^shift pixel.
    """
    unit = np.int64(1) << shift
    upper = (unit - across) * pixels[place] + across * pixels[place + right]
    place += below
    lower = (unit - across) * pixels[place] + across * pixels[place + right]
    return ((unit - down) * upper + down * lower + (unit * unit >> 1)) >> (2 * shift)
