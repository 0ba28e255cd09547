"""Vector instructions of the kernels: SADs, sums, comparisons and residuals of whole blocks.

Written in LLVM's own vector types, because it does not find them in a loop over a block. It is
plain LLVM, which any processor's code generator splits to its own width, but for `sums_of_8` of
`preprocess.motion.kernels.llvm`. Code that is unrolled has a copy for each block size.

Between pixels, the formula of `shared.conventions` is computed in 16 bits, a row at a time: first
across, then down. Nothing is read beyond the pixels to which the formula gives a weight.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from preprocess.motion.kernels.llvm import (
    I1,
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
    switch,
)
from shared.conventions import BLOCKS

SPAN = 64
"""Neighbouring candidates that `first_possible` compares together, at most."""

COLUMNS = 32
"""16-bit sums that `slide` and `window` process together."""

WIDE = 64
"""Bytes of a row that `wide_step` processes together: 64 / b blocks side by side."""

LANES = WIDE // 8
"""64-bit sums of these bytes."""


# --- one block ---------------------------------------------------------------------------------


@intrinsic
def take_block(typingctx, block, luma, start, stride, own):  # type: ignore[no-untyped-def]
    """Copy the block at the byte `start` of a plane with rows of `stride` into `own`."""

    def codegen(context, builder, signature, arguments):  # type: ignore[no-untyped-def]
        data = pointers(context, builder, signature, arguments)

        def emit(block: int) -> tuple[()]:
            rows = min(WIDE // block, block)
            for row in range(0, block, rows):
                there = _load_rows(builder, data[1], arguments[2], arguments[3], row, rows, block)
                store(builder, there, data[4], I64(row * block))
            return ()

        switch(builder, arguments[0], BLOCKS, emit)
        return context.get_dummy_value()

    return types.void(types.int64, luma, types.int64, types.int64, own), codegen


@intrinsic
def block_sad(typingctx, block, own, luma, start, stride):  # type: ignore[no-untyped-def]
    """SAD of a block, copied to `own`, and the one at the byte `start` of a plane."""

    def codegen(context, builder, signature, arguments):  # type: ignore[no-untyped-def]
        data = pointers(context, builder, signature, arguments)

        def emit(block: int) -> tuple[Any]:
            # Two loads make 16 bytes of short rows; more takes longer to put together.
            rows = 2 if block == 8 else min(WIDE // block, block)
            there = (
                _load_rows(builder, data[2], arguments[3], arguments[4], row, rows, block)
                for row in range(0, block, rows)
            )
            return (_sad(context, builder, data[1], there),)

        return switch(builder, arguments[0], BLOCKS, emit)[0]

    return types.int64(types.int64, own, luma, types.int64, types.int64), codegen


@intrinsic
def block_sad_between(typingctx, block, own, luma, start, stride, across, down, shift):  # type: ignore[no-untyped-def]
    """SAD of a block, copied to `own`, and the predictor at a `_Place` between pixels."""

    def codegen(context, builder, signature, arguments):  # type: ignore[no-untyped-def]
        data = pointers(context, builder, signature, arguments)

        def emit(block: int) -> tuple[Any]:
            rows = [
                builder.trunc(row, ir.VectorType(I8, row.type.count))
                for row in _predicted_rows(builder, data[2], _Place(*arguments[3:]), block)
            ]
            count = min(WIDE, block * block) // rows[0].type.count
            there = (concatenate(builder, rows[i : i + count]) for i in range(0, len(rows), count))
            return (_sad(context, builder, data[1], there),)

        return switch(builder, arguments[0], BLOCKS, emit)[0]

    return types.int64(types.int64, own, luma, *_PLACE), codegen


def _make_residual(decodes: bool, between: bool) -> Callable[..., Any]:
    @intrinsic
    def residual(  # type: ignore[no-untyped-def]
        typingctx, block, clip, here, there, at, stride, rest, across, down, shift
    ):
        """Residual of a block, rest[at] = clip[here] - prediction, or its inverse.

        The inverse, clip[here] = prediction + rest[at], is clamped. The prediction is clip[there],
        interpolated at a `_Place` where it lies between pixels. Rows of both are `stride` apart;
        clip is uint8, the residual int16.
        """

        def codegen(context, builder, signature, arguments):  # type: ignore[no-untyped-def]
            data = pointers(context, builder, signature, arguments)
            here, there, at, stride = arguments[2:6]
            place = _Place(there, stride, *arguments[7:])

            def emit(block: int) -> tuple[()]:
                wide, narrow = ir.VectorType(I16, block), ir.VectorType(I8, block)
                predict = _split_rows if between else _whole_rows
                for row, prediction in enumerate(predict(builder, data[1], place, block)):
                    current, rest = (row_start(builder, start, stride, row) for start in (here, at))
                    if decodes:
                        total = builder.add(prediction, load(builder, data[6], rest, block, I16))
                        total = call(builder, "smax", total, splat(wide, 0))
                        total = call(builder, "smin", total, splat(wide, 255))
                        store(builder, builder.trunc(total, narrow), data[1], current)
                    else:
                        pixels = builder.zext(load(builder, data[1], current, block), wide)
                        store(builder, builder.sub(pixels, prediction), data[6], rest)
                return ()

            switch(builder, arguments[0], BLOCKS, emit)
            return context.get_dummy_value()

        integers = [types.int64] * 4
        return types.void(types.int64, clip, *integers, rest, *integers[:3]), codegen

    return residual


subtract, subtract_between = (_make_residual(False, between) for between in (False, True))
add, add_between = (_make_residual(True, between) for between in (False, True))


def _load_rows(
    builder: Any, data: Any, start: Any, stride: Any, row: int, count: int, block: int
) -> Any:
    """Rows `row` ... `row + count - 1` of a block as one vector."""
    rows = [
        load(builder, data, row_start(builder, start, stride, row + r), block) for r in range(count)
    ]
    return concatenate(builder, rows)


def _sad(context: Any, builder: Any, own: Any, there: Iterator[Any]) -> Any:
    """SAD of a block that lies in `own` and of one given in chunks of whole rows."""
    total, place = None, 0
    for chunk in there:
        here = load(builder, own, I64(place), chunk.type.count)
        place += chunk.type.count
        sums = sums_of_8(context, builder, here, chunk)
        total = sums if total is None else builder.add(total, sums)
    return sum_of(builder, total)


class _Place(NamedTuple):
    """Place of a block's predictor, as LLVM integers.

    Attributes:
        start: index of the pixel at its upper left, whole parts of the vector.
        stride: pixels from a row to the next.
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


def _whole_rows(builder: Any, data: Any, place: _Place, block: int) -> Iterator[Any]:
    """Rows of a predictor at whole pixels, <block x i16> each."""
    for row in range(block):
        pixels = load(builder, data, row_start(builder, place.start, place.stride, row), block)
        yield builder.zext(pixels, ir.VectorType(I16, block))


def _split_rows(builder: Any, data: Any, place: _Place, block: int) -> Iterator[Any]:
    """Rows of a predictor between pixels, <block x i16> each."""
    for rows in _predicted_rows(builder, data, place, block):
        for start in range(0, rows.type.count, block):
            yield part(builder, rows, start, block)


def _predicted_rows(builder: Any, data: Any, place: _Place, block: int) -> Iterator[Any]:
    """Rows of a predictor between pixels, as many together as fill 32 bytes."""
    together = min(block, 32 // block)
    wide = ir.VectorType(I16, together * block)
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
        here, neighbours = pixels(starts, I64(0)), pixels(starts, right)
        return builder.add(builder.mul(here, rest_across), builder.mul(neighbours, across))

    starts = [row_start(builder, place.start, place.stride, row) for row in range(block)]
    # One row more below the last, repeated to fill a vector.
    starts += [builder.add(starts[-1], below)] * together
    rows_below = list(range(block, together * block + block))
    upper = rows_across(starts[:together])
    for row in range(together, len(starts), together):
        following = rows_across(starts[row : row + together])
        lower = shuffle(builder, upper, rows_below, following)
        total = builder.add(builder.mul(upper, rest_down), builder.mul(lower, down))
        yield builder.lshr(builder.add(total, half), shift)
        upper = following


def _if_any(builder: Any, fraction: Any, step: Any) -> Any:
    """Step to the next pixel, or 0 if there is no fraction."""
    return builder.select(builder.icmp_signed("!=", fraction, I64(0)), step, I64(0))


# --- bounds of many candidates -----------------------------------------------------------------


@intrinsic
def slide(typingctx, columns, before, after, luma, leaving, entering):  # type: ignore[no-untyped-def]
    """Move the sums of 32 columns one row down, from those at `before` to `after`."""

    def codegen(context, builder, signature, arguments):  # type: ignore[no-untyped-def]
        data = pointers(context, builder, signature, arguments)
        vector = ir.VectorType(I16, COLUMNS)
        _, before, after, _, leaving, entering = arguments
        old, new = (
            builder.zext(load(builder, data[3], at, COLUMNS), vector) for at in (leaving, entering)
        )
        total = builder.add(load(builder, data[0], before, COLUMNS, I16), new)
        store(builder, builder.sub(total, old), data[0], after)
        return context.get_dummy_value()

    places = [types.int64] * 2
    return types.void(columns, *places, luma, *places), codegen


@intrinsic
def window(typingctx, half, columns, x, shift, sums, at):  # type: ignore[no-untyped-def]
    """Sums over `half` neighbouring columns at 32 places, >> shift."""

    def codegen(context, builder, signature, arguments):  # type: ignore[no-untyped-def]
        data = pointers(context, builder, signature, arguments)
        _, _, x, shift, _, at = arguments

        def emit(half: int) -> tuple[()]:
            # Shifted in registers: a load from any place but a vector's own costs two.
            near, far = (
                load(builder, data[1], builder.add(x, I64(i)), COLUMNS, I16) for i in (0, COLUMNS)
            )
            step = 1
            while step < half:
                lanes = list(range(step, step + COLUMNS))
                near = builder.add(near, shuffle(builder, near, lanes, far))
                far = builder.add(far, shuffle(builder, far, lanes))
                step *= 2
            amount = broadcast(builder, builder.trunc(shift, I16), near.type)
            store(builder, builder.lshr(near, amount), data[4], at)
            return ()

        switch(builder, arguments[0], [block // 2 for block in BLOCKS], emit)
        return context.get_dummy_value()

    return types.void(types.int64, columns, types.int64, types.int64, sums, types.int64), codegen


@intrinsic
def first_possible(  # type: ignore[no-untyped-def]
    typingctx,
    span,
    sums,
    start,
    half,
    stride,
    own,
    rates,
    rate,
    rate_stride,
    step,
    count,
    inside,
    most,
):
    """Find the first row of neighbouring candidates of which some may still be the best.

    A candidate's bound is the sum over the block's quarters of |own sum - reference's sum|, which
    is never more than its SAD, plus its rate.

    Args:
        span: neighbouring candidates in units of 16, 1 to SPAN / 16.
        sums: int16, the reference's sums over quarters, flat.
        start: index of the first candidate's upper left quarter.
        half: side of a quarter.
        stride: of a row of `sums`.
        own: four int16, the block's own quarters.
        rates: uint16, flat.
        rate: index of the first candidate's rate.
        rate_stride: of a row of `rates`.
        step: 1 for the rows downwards, -1 for those upwards.
        count: rows to compare, at least 1.
        inside: bits of the candidates of a row that are allowed.
        most: largest bound that is still possible, in [0, 65535].

    Returns:
        The row, counted from 0, and its candidates as bits; the last row if there is none.
    """

    def codegen(context, builder, signature, arguments):  # type: ignore[no-untyped-def]
        data = pointers(context, builder, signature, arguments)
        start, half, stride, own = arguments[2:6]
        rate, rate_stride, step, count, inside, most = arguments[7:]
        below = builder.mul(half, stride)
        corners = [I64(0), half, below, builder.add(below, half)]
        quarters = [builder.extract_value(own, i) for i in range(4)]
        limit = builder.trunc(most, I16)

        def candidates(span: int, place: Any, place_of_rate: Any) -> Any:
            """Possible candidates of one row, as bits."""
            bits = I64(0)
            for first in range(0, span, COLUMNS):
                lanes = min(COLUMNS, span - first)
                vector = ir.VectorType(I16, lanes)
                terms = []
                for corner, quarter in zip(corners, quarters, strict=True):
                    at = builder.add(builder.add(place, corner), I64(first))
                    theirs = load(builder, data[1], at, lanes, I16)
                    difference = builder.sub(theirs, broadcast(builder, quarter, vector))
                    terms.append(call(builder, "abs", difference, I1(0)))
                bound = builder.add(builder.add(*terms[:2]), builder.add(*terms[2:]))
                at = builder.add(place_of_rate, I64(first))
                bound = call(builder, "uadd.sat", bound, load(builder, data[6], at, lanes, I16))
                possible = builder.icmp_unsigned("<=", bound, broadcast(builder, limit, vector))
                found = builder.zext(builder.bitcast(possible, ir.IntType(lanes)), I64)
                bits = builder.or_(bits, builder.shl(found, I64(first)))
            return builder.and_(bits, inside)

        def emit(span: int) -> tuple[Any, Any]:
            before, loop, after = builder.block, *map(builder.append_basic_block, ("row", "end"))
            builder.branch(loop)
            builder.position_at_end(loop)
            row, place, place_of_rate = (builder.phi(I64) for _ in range(3))
            bits = candidates(16 * span, place, place_of_rate)
            following = builder.add(row, I64(1))
            for value, first, advance in (
                (row, I64(0), I64(1)),
                (place, start, builder.mul(step, stride)),
                (place_of_rate, rate, builder.mul(step, rate_stride)),
            ):
                value.add_incoming(first, before)
                value.add_incoming(builder.add(value, advance), loop)
            done = builder.icmp_signed(">=", following, count)
            builder.cbranch(builder.or_(done, builder.icmp_signed("!=", bits, I64(0))), after, loop)
            builder.position_at_end(after)
            return row, bits

        found = switch(builder, arguments[0], range(1, SPAN // 16 + 1), emit)
        return context.make_tuple(builder, signature.return_type, found)

    integers, quarters = [types.int64] * 6, types.UniTuple(types.int16, 4)
    found = types.UniTuple(types.int64, 2)
    return found(types.int64, sums, *integers[:3], quarters, rates, *integers), codegen


# --- many blocks side by side ------------------------------------------------------------------


def _make_wide_step(masked: bool) -> Callable[..., Any]:
    @intrinsic
    def wide_step(  # type: ignore[no-untyped-def]
        typingctx, luma, here, there, stride, rows, mask, lanes, block, dx, penalty, order
    ):
        """Improve the keys of the blocks in a group by one candidate vector.

        Args:
            luma: flat.
            here: index of the group's first pixel.
            there: index of its predictor's first pixel; may lie before the row.
            stride: pixels from a row to the next.
            rows: of the group.
            mask: 64 bytes, 255 for the columns that are used; for masked steps only.
            lanes: int64 (4, 8): least dx, number of further ones, pixels, best key so far.
            block: b; 4 as 8, of which the mask leaves half.
            dx: horizontal component of the candidate.
            penalty: of the candidate.
            order: its place in the order of ties.
        """

        def codegen(context, builder, signature, arguments):  # type: ignore[no-untyped-def]
            data = pointers(context, builder, signature, arguments)
            _, here, there, stride, rows, _, _, block, dx, penalty, order = arguments
            word = ir.VectorType(I64, LANES)
            total = cgutils.alloca_once_value(builder, splat(word, 0))
            keep = load(builder, data[5], I64(0), WIDE) if masked else None
            with cgutils.for_range(builder, rows) as loop:
                row = builder.mul(loop.index, stride)
                pair = [
                    load(builder, data[0], builder.add(start, row), WIDE) for start in (here, there)
                ]
                if keep is not None:
                    pair = [builder.and_(pixels, keep) for pixels in pair]
                sums = sums_of_8(context, builder, *pair)
                builder.store(builder.add(builder.load(total), sums), total)
            sad = _sum_over_block(builder, builder.load(total), block)
            low, count, pixels, best = (
                load(builder, data[6], I64(LANES * row), LANES, I64) for row in range(4)
            )
            if masked:
                extra = builder.mul(pixels, broadcast(builder, penalty, word))
            else:  # all blocks are whole
                of_each = builder.mul(builder.mul(rows, block), penalty)
                extra = broadcast(builder, of_each, word)
            cost = builder.add(builder.shl(sad, splat(word, 8)), extra)
            key = builder.or_(builder.shl(cost, splat(word, 16)), broadcast(builder, order, word))
            beyond = builder.sub(broadcast(builder, dx, word), low)
            better = builder.and_(
                builder.icmp_unsigned("<=", beyond, count), builder.icmp_signed("<", key, best)
            )
            store(builder, builder.select(better, key, best), data[6], I64(LANES * 3))
            return context.get_dummy_value()

        integers = [types.int64] * 4
        return types.void(luma, *integers, mask, lanes, *integers), codegen

    return wide_step


wide_step, wide_step_masked = map(_make_wide_step, (False, True))


def _sum_over_block(builder: Any, sums: Any, block: Any) -> Any:
    """Sum 8-column sums over the b columns of a block, in every lane of the block."""
    pairs = builder.add(sums, shuffle(builder, sums, [lane ^ 1 for lane in range(LANES)]))
    fours = builder.add(pairs, shuffle(builder, pairs, [lane ^ 2 for lane in range(LANES)]))
    wide = builder.select(builder.icmp_signed("==", block, I64(32)), fours, pairs)
    return builder.select(builder.icmp_signed("<=", block, I64(8)), sums, wide)


# --- bits --------------------------------------------------------------------------------------


@intrinsic
def trailing_zeros(typingctx, bits):  # type: ignore[no-untyped-def]
    """Index of the lowest bit that is set; there must be one."""

    def codegen(context, builder, signature, arguments):  # type: ignore[no-untyped-def]
        return builder.cttz(arguments[0], I1(1))

    return types.int64(types.int64), codegen


@intrinsic
def count_ones(typingctx, bits):  # type: ignore[no-untyped-def]
    """Number of bits that are set."""

    def codegen(context, builder, signature, arguments):  # type: ignore[no-untyped-def]
        return builder.ctpop(arguments[0])

    return types.int64(types.int64), codegen
