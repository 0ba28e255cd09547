"""Numba kernels that shrink planes by area and turn them to RGB; `preprocess.frames.area` says what.

Rows are summed first, in vector instructions along them. For the columns, tiles are transposed in
registers, so that vector instructions do the same again.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numba import njit, types
from numba.extending import intrinsic
from numpy.typing import NDArray

from preprocess.motion.kernels.candidate_key import JIT, KERNEL_SOURCE_HASH, PART
from preprocess.motion.kernels.llvm import load, pointers, row_start, shuffle, store

TILE = 32
"""Sides of scratch arrays are multiples of this: a cache line of 16-bit numbers."""

_PART = 8
"""Side of what is transposed at once in 16 or 32 bits; 16 in 8 bits."""


def _make_transpose(side: int) -> Callable[..., Any]:
    @intrinsic
    def transpose(typingctx, source, at, stride, to, place, step):  # type: ignore[no-untyped-def]
        """to[place + x * step + y] = source[at + y * stride + x], for x and y below `side`."""

        def codegen(context, builder, signature, arguments):  # type: ignore[no-untyped-def]
            data = pointers(context, builder, signature, arguments)
            element = data[0].type.pointee
            starts = [row_start(builder, arguments[1], arguments[2], y) for y in range(side)]
            rows = [load(builder, data[0], start, side, element) for start in starts]
            # Perfect shuffles: each pass interleaves row y with row y + side / 2.
            lanes = [[half + i // 2 + side * (i % 2) for i in range(side)]
                     for half in (0, side // 2)]  # fmt: skip
            for _ in range(side.bit_length() - 1):
                pairs = list(zip(rows[: side // 2], rows[side // 2 :], strict=True))
                rows = [shuffle(builder, a, half, b) for a, b in pairs for half in lanes]
            for x, row in enumerate(rows):
                store(builder, row, data[3], row_start(builder, arguments[4], arguments[5], x))
            return context.get_dummy_value()

        place_types = types.int64, types.int64
        return types.void(source, *place_types, to, *place_types), codegen

    return transpose


_transpose_16, _transpose_8 = _make_transpose(2 * _PART), _make_transpose(_PART)


@njit(cache=True, **JIT)
def shrink(
    plane: NDArray[np.uint8],
    stride: int,
    rows: NDArray[np.int32],
    columns: NDArray[np.int32],
    units: tuple[int, int],
    scale: float,
    sums: NDArray[np.uint16],
    lines: NDArray[Any],
    turned: NDArray[Any],
    totals: NDArray[np.uint32],
    means: NDArray[np.float32],
    sources: int = KERNEL_SOURCE_HASH,
) -> None:
    """Weighted means of a plane over the pixels of a smaller one.

    Args:
        plane: uint8, flat.
        stride: bytes from one of its rows to the next.
        rows: samples of each pixel's rows, int32, shape (h, 4): the first, the last, the weights
            of these two; `units[0]` is that of the others.
        columns: as much of its columns, shape (w, 4) and `units[1]`.
        units: weights of whole samples.
        scale: 1 / the sum of all weights of a pixel.
        sums: scratch, as many as columns are used, rounded up to a TILE.
        lines: scratch, unsigned, TILE times as many, flat; holds 255 times a row's weights.
        turned: scratch of the same type and size.
        totals: scratch, a TILE.
        means: receives them, transposed; float32, shape (w, h), rounded up to a TILE.
        sources: not to be given.
    """
    left = columns[0, 0]
    used = columns[-1, 1] + 1 - left
    for start in range(0, rows.shape[0], TILE):
        stop = min(start + TILE, rows.shape[0])
        _sum_rows(plane, stride, rows, start, stop, units[0], left, used, sums, lines)
        for x in range(0, used, _PART):
            for y in range(0, TILE, _PART):
                at = y * sums.size + x
                _transpose_8(lines, at, sums.size, turned, x * TILE + y, TILE)
        _sum_columns(turned, columns, units[1], scale, totals, means, start)


# Places in flat arrays, as unsigned numbers, because Numba counts references for each slice that is
# taken, and looks at each signed index whether it is negative.


@njit(**PART)
def _sum_rows(plane, stride, rows, start, stop, unit, left, used, sums, lines):  # type: ignore[no-untyped-def]
    number, width, all_used = lines.dtype.type, np.uint64(stride), np.uint64(used)
    whole = number(unit)
    for i in range(start, stop):
        sums[:] = 0
        for y in range(rows[i, 0] + 1, rows[i, 1]):
            at = np.uint64(y) * width + np.uint64(left)
            for x in range(all_used):
                sums[x] = np.uint16(sums[x] + np.uint16(plane[at + x]))
        top = np.uint64(rows[i, 0]) * width + np.uint64(left)
        bottom = np.uint64(rows[i, 1]) * width + np.uint64(left)
        above, below = number(rows[i, 2]), number(rows[i, 3])
        to = np.uint64((i - start) * sums.size)
        for x in range(all_used):
            one, other = number(plane[top + x]), number(plane[bottom + x])
            ends = number(number(above * one) + number(below * other))
            lines[to + x] = number(number(whole * number(sums[x])) + ends)


@njit(**PART)
def _sum_columns(turned, columns, unit, scale, totals, means, start):  # type: ignore[no-untyped-def]
    # A number of rounds that is known would be unrolled into single steps.
    whole, side, flat = float(unit), np.uint64(totals.size), means.reshape(-1)
    for j in range(columns.shape[0]):
        totals[:] = 0
        first, last = columns[j, 0] - columns[0, 0], columns[j, 1] - columns[0, 0]
        for x in range(first + 1, last):
            at = np.uint64(x * TILE)
            for i in range(side):
                totals[i] = np.uint32(totals[i] + np.uint32(turned[at + i]))
        before, after = float(columns[j, 2]), float(columns[j, 3])
        one, other = np.uint64(first * TILE), np.uint64(last * TILE)
        to = np.uint64(j * means.shape[1] + start)
        for i in range(side):
            # Whole numbers below 2^53: exact, in whatever order.
            total = whole * totals[i] + before * turned[one + i] + after * turned[other + i]
            flat[to + i] = np.float32(total * scale)


@njit(cache=True, **JIT)
def to_rgb(
    yuv: NDArray[np.float32],
    matrix: NDArray[np.float32],
    turned: NDArray[np.uint8],
    rgb: NDArray[np.uint8],
    sources: int = KERNEL_SOURCE_HASH,
) -> None:
    """Colour of a picture.

    Args:
        yuv: transposed, float32, shape (3, w, h), sides that are multiples of a TILE.
        matrix: float32, shape (3, 4): colour = matrix[:, :3] yuv + matrix[:, 3], rounded.
        turned: scratch, uint8, shape (w, h).
        rgb: receives it, uint8, shape (3, h, w).
        sources: not to be given.
    """
    width, height = turned.shape
    flat, y, u, v = turned.reshape(-1), yuv[0].reshape(-1), yuv[1].reshape(-1), yuv[2].reshape(-1)
    for c in range(3):
        of_y, of_u, of_v, offset = matrix[c]
        for i in range(flat.size):
            value = of_y * y[i] + of_u * u[i] + of_v * v[i] + offset
            flat[i] = np.uint8(min(max(value, np.float32(0)), np.float32(255)) + np.float32(0.5))
        plane = rgb[c].reshape(-1)
        for j in range(0, width, 2 * _PART):
            for i in range(0, height, 2 * _PART):
                _transpose_16(flat, j * height + i, height, plane, i * width + j, width)
