"""What the kernels have in common: sizes, keys, Numba's flags.

A candidate's *key* is its cost, then its place in the order of ties. The least key is the answer,
whatever the order in which candidates are looked at.
"""

from __future__ import annotations

import zlib
from pathlib import Path
from typing import Any, NamedTuple

from numba import njit

JIT: dict[str, Any] = {"nogil": True, "boundscheck": False, "error_model": "numpy"}
"""Numba flags of every kernel. No fast-math: all is integer."""

PART: dict[str, Any] = {**JIT, "forceinline": True}
"""Of a kernel's parts. Not cached on disk: they are in the whole."""

_PACKAGE = Path(__file__).parents[2]
KERNEL_SOURCE_HASH = zlib.crc32(
    b"".join(
        path.read_bytes()
        for folder in ("frames", "motion", "motion/kernels")
        for path in sorted((_PACKAGE / folder).glob("*.py"))
    )
)
"""Checksum of the code of every folder with kernels, the default of a last argument of those that
are cached.

Numba's cache on disk looks at the age of a kernel's own file alone, not at those of its parts; but
a default is part of its key.
"""

ORDER_BITS = 16
"""The zero vector and (2 * 127 + 1)^2 others have fewer places than 2^16."""

ORDERS = (1 << ORDER_BITS) - 1


class Size(NamedTuple):
    """What does not change within a clip; pixels."""

    height: int
    width: int
    block: int
    reach: int
    """The search range R."""
    shift: int
    """Quarter sums are kept >> shift, so that four differences fit in 16 bits."""
    cost_from: int
    """Index into `shared.conventions.COSTS_FROM`."""


@njit(**PART)
def key_of(sad, extra, order):  # type: ignore[no-untyped-def]
    """Key of a candidate; `extra` is its penalty times the block's pixels."""
    return (((sad << 8) + extra) << ORDER_BITS) | order


@njit(**PART)
def vector_of(size, key):  # type: ignore[no-untyped-def]
    """(vx, vy) that a key stands for: order 0 is the zero vector, then raster order from 1."""
    order = key & ORDERS
    side = 2 * size.reach + 1
    vx, vy = 0, 0
    if order:
        vx, vy = (order - 1) % side - size.reach, (order - 1) // side - size.reach
    return vx, vy


@njit(**PART)
def zero_place(size, x_expected, y_expected):  # type: ignore[no-untyped-def]
    """Index of the zero vector's penalty in a flat table by differences from the expected one.

    Another vector's is dy (4R + 1) + dx behind it, in the second table.
    """
    return (2 * size.reach - y_expected) * (4 * size.reach + 1) + 2 * size.reach - x_expected


@njit(**PART)
def store(size, key, motion, n, row, column):  # type: ignore[no-untyped-def]
    """Write down the vector that a key of frame n stands for."""
    vx, vy = vector_of(size, key)
    motion[n - 1, 0, row, column] = vx
    motion[n - 1, 1, row, column] = vy
