"""Vector instructions between pixels: a block interpolated, and its SAD, sum or difference.

`shared.conventions` has the formula. It is worked out in 16 bits, a row at a time: first across,
then down. Nothing is read beyond the pixels that the formula gives a weight to.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

from llvmlite import ir
from numba import types
from numba.extending import intrinsic

from preprocess.motion.kernels.llvm import (
    I8,
    I16,
    I64,
    broadcast,
    call,
    concatenate,
    load,
    part,
    pointers,
    row_start,
    shuffle,
    splat,
    store,
    sum_of,
    sums_of_8,
)
from preprocess.motion.kernels.vectors import WIDE
from shared.conventions import BLOCKS


class _Place(NamedTuple):
    """Where a block's predictor lies, as LLVM integers.

    Attributes:
        start: index of the pixel at its upper left, whole parts of the vector.
        stride: of a row.
        across: fraction to the right, in units of a pixel / 2^shift.
        down: fraction downwards.
        shift: log2 of the vector unit.
    """

    start: Any
    stride: Any
    across: Any
    down: Any
    shift: Any


_PLACE = (types.int64,) * len(_Place._fields)


def _predicted_rows(builder: Any, data: Any, place: _Place, block: int) -> Iterator[Any]:
    """The rows of a predictor, <block x i16> each, those of small blocks several at once."""
    at_once = _rows_at_once(block)
    wide = ir.VectorType(I16, at_once * block)
    unit = builder.shl(I64(1), place.shift)
    across, down, rest_across, rest_down, shift, half = (
        broadcast(builder, builder.trunc(value, I16), wide)
        for value in (
            place.across,
            place.down,
            builder.sub(unit, place.across),
            builder.sub(unit, place.down),
            builder.add(place.shift, place.shift),
            builder.lshr(builder.mul(unit, unit), I64(1)),
        )
    )
    right = _if_any(builder, place.across, I64(1))
    below = _if_any(builder, place.down, place.stride)

    def pixels(starts: list[Any], step: Any) -> Any:
        rows = [load(builder, data, builder.add(start, step), block) for start in starts]
        return builder.zext(concatenate(builder, rows), wide)

    def rows_across(starts: list[Any]) -> Any:
        here, beside = pixels(starts, I64(0)), pixels(starts, right)
        return builder.add(builder.mul(here, rest_across), builder.mul(beside, across))

    starts = [row_start(builder, place.start, place.stride, row) for row in range(block)]
    # The row below the last is only one more; as many as are taken at once, to keep it simple.
    starts += [builder.add(starts[-1], below)] * at_once
    rows_below = list(range(block, at_once * block + block))
    upper = rows_across(starts[:at_once])
    for row in range(at_once, len(starts), at_once):
        following = rows_across(starts[row : row + at_once])
        lower = shuffle(builder, upper, rows_below, following)
        total = builder.add(builder.mul(upper, rest_down), builder.mul(lower, down))
        yield builder.lshr(builder.add(total, half), shift)
        upper = following


def _rows_at_once(block: int) -> int:
    """So many that 32 bytes are, where there are as many."""
    return min(block, 32 // block)


def _if_any(builder: Any, fraction: Any, step: Any) -> Any:
    """A step that is not taken where there is no fraction."""
    return builder.select(builder.icmp_signed("!=", fraction, I64(0)), step, I64(0))


def _make_block_sad(block: int) -> Callable[..., Any]:
    @intrinsic
    def block_sad(typingctx, current, reference, start, stride, across, down, shift):  # type: ignore[no-untyped-def]
        """SAD of a block, gathered in `current`, and the predictor at a `_Place`."""

        def codegen(context, builder, signature, arguments):  # type: ignore[no-untyped-def]
            data = pointers(context, builder, signature, arguments)
            rows = [
                builder.trunc(row, ir.VectorType(I8, row.type.count))
                for row in _predicted_rows(builder, data[1], _Place(*arguments[2:]), block)
            ]
            bytes_at_once = min(WIDE, block * block)
            count = bytes_at_once // rows[0].type.count
            total = None
            for i in range(0, len(rows), count):
                start = I64(i * rows[0].type.count)
                here = load(builder, data[0], start, bytes_at_once)
                there = concatenate(builder, rows[i : i + count])
                sums = sums_of_8(context, builder, here, there)
                total = sums if total is None else builder.add(total, sums)
            return sum_of(builder, total)

        return types.int64(current, reference, *_PLACE), codegen

    return block_sad


BLOCK_SAD_BETWEEN = {block: _make_block_sad(block) for block in BLOCKS}


def _make_compensate(block: int, decodes: bool) -> Callable[..., Any]:
    @intrinsic
    def compensate(  # type: ignore[no-untyped-def]
        typingctx, clip, here, there, at, stride, residual, across, down, shift
    ):
        """As `ADD` and `SUBTRACT` of `preprocess.motion.kernels.vectors`, with a predictor between pixels.

        That of the block at `here` starts at `there`; its fractions are those of a `_Place`.
        """

        def codegen(context, builder, signature, arguments):  # type: ignore[no-untyped-def]
            data = pointers(context, builder, signature, arguments)
            wide, narrow = ir.VectorType(I16, block), ir.VectorType(I8, block)
            _, here, there, at, stride, _, *fraction = arguments
            place = _Place(there, stride, *fraction)
            rows = (
                part(builder, rows, start, block)
                for rows in _predicted_rows(builder, data[0], place, block)
                for start in range(0, rows.type.count, block)
            )
            for row, prediction in enumerate(rows):
                current, rest = (row_start(builder, start, stride, row) for start in (here, at))
                if decodes:
                    total = builder.add(prediction, load(builder, data[5], rest, block, I16))
                    total = call(builder, "smax", total, splat(wide, 0))
                    total = call(builder, "smin", total, splat(wide, 255))
                    store(builder, builder.trunc(total, narrow), data[0], current)
                else:
                    pixels = builder.zext(load(builder, data[0], current, block), wide)
                    store(builder, builder.sub(pixels, prediction), data[5], rest)
            return context.get_dummy_value()

        return types.void(clip, *[types.int64] * 4, residual, *[types.int64] * 3), codegen

    return compensate


ADD_BETWEEN, SUBTRACT_BETWEEN = (
    {block: _make_compensate(block, decodes) for block in BLOCKS} for decodes in (True, False)
)
