"""Vector instructions for the search.

Written in LLVM's own vector types, because it does not find them in a loop over a block: the SAD
of a block, a comparison of 32 candidates at once, a row of blocks side by side. It is plain LLVM,
which any processor's code generator splits to its own width, but for `preprocess.motion.kernels.llvm`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from preprocess.motion.kernels.llvm import (
    I1,
    I8,
    I16,
    I32,
    I64,
    broadcast,
    call,
    concatenate,
    load,
    pointers,
    row_start,
    shuffle,
    splat,
    store,
    sum_of,
    sums_of_8,
)
from shared.conventions import BLOCKS

SPANS = (16, 32, 48, 64)
"""Neighbouring candidates that `first_possible` compares at once."""

COLUMNS = 32
"""16-bit sums that `slide` and `window` take at once."""

WIDE = 64
"""Bytes of a row that `wide_step` takes at once: 64 / b blocks side by side."""

LANES = WIDE // 8
"""64-bit sums that these bytes give."""


# --- one block ---------------------------------------------------------------------------------


def _make_block_sad(block: int) -> Callable[..., Any]:
    @intrinsic
    def block_sad(typingctx, current, reference, start, stride):  # type: ignore[no-untyped-def]
        """SAD of a block, gathered in `current`, at the byte `start` of a plane of that stride."""

        def codegen(context, builder, signature, arguments):  # type: ignore[no-untyped-def]
            data = pointers(context, builder, signature, arguments)
            # Two loads make 16 bytes of short rows; more takes longer to put together.
            rows_at_once = 2 if block == 8 else min(WIDE // block, block)
            total = None
            for row in range(0, block, rows_at_once):
                here = load(builder, data[0], I64(row * block), rows_at_once * block)
                there = [
                    load(
                        builder,
                        data[1],
                        row_start(builder, arguments[2], arguments[3], row + r),
                        block,
                    )
                    for r in range(rows_at_once)
                ]
                sums = sums_of_8(context, builder, here, concatenate(builder, there))
                total = sums if total is None else builder.add(total, sums)
            return sum_of(builder, total)

        return types.int64(current, reference, types.int64, types.int64), codegen

    return block_sad


BLOCK_SAD = {block: _make_block_sad(block) for block in BLOCKS}


def _make_take_block(block: int) -> Callable[..., Any]:
    @intrinsic
    def take_block(typingctx, luma, start, stride, own):  # type: ignore[no-untyped-def]
        """Copy the block at the byte `start` of a plane of that stride, row by row."""

        def codegen(context, builder, signature, arguments):  # type: ignore[no-untyped-def]
            data = pointers(context, builder, signature, arguments)
            rows_at_once = min(WIDE // block, block)
            for row in range(0, block, rows_at_once):
                there = [
                    load(
                        builder,
                        data[0],
                        row_start(builder, arguments[1], arguments[2], row + r),
                        block,
                    )
                    for r in range(rows_at_once)
                ]
                store(builder, concatenate(builder, there), data[3], I64(row * block))
            return context.get_dummy_value()

        return types.void(luma, types.int64, types.int64, own), codegen

    return take_block


TAKE_BLOCK = {block: _make_take_block(block) for block in BLOCKS}


def _make_compensate(block: int, decodes: bool) -> Callable[..., Any]:
    @intrinsic
    def compensate(typingctx, clip, here, there, at, stride, residual):  # type: ignore[no-untyped-def]
        """residual[at] = clip[here] - clip[there] for a block, or clip[here] = clip[there] + it.

        Rows are `stride` apart everywhere; clip is uint8, residual int16, sums are clamped.
        """

        def codegen(context, builder, signature, arguments):  # type: ignore[no-untyped-def]
            data = pointers(context, builder, signature, arguments)
            _, here, there, at, stride, _ = arguments
            wide, narrow = ir.VectorType(I16, block), ir.VectorType(I8, block)
            for row in range(block):
                current, predicted, rest = (
                    row_start(builder, start, stride, row) for start in (here, there, at)
                )
                prediction = builder.zext(load(builder, data[0], predicted, block), wide)
                if decodes:
                    total = builder.add(prediction, load(builder, data[5], rest, block, I16))
                    total = call(builder, "smax", total, splat(wide, 0))
                    total = call(builder, "smin", total, splat(wide, 255))
                    store(builder, builder.trunc(total, narrow), data[0], current)
                else:
                    pixels = builder.zext(load(builder, data[0], current, block), wide)
                    store(builder, builder.sub(pixels, prediction), data[5], rest)
            return context.get_dummy_value()

        return types.void(clip, *[types.int64] * 4, residual), codegen

    return compensate


ADD, SUBTRACT = (
    {block: _make_compensate(block, decodes) for block in BLOCKS} for decodes in (True, False)
)


@intrinsic
def slide(typingctx, columns, before, after, luma, leaving, entering):  # type: ignore[no-untyped-def]
    """Sums of 32 columns a row further down, from those at `before`, to `after`."""

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


def _make_window(half: int) -> Callable[..., Any]:
    @intrinsic
    def window(typingctx, columns, x, shift, sums, at):  # type: ignore[no-untyped-def]
        """Sums over `half` neighbouring columns at 32 places."""

        def codegen(context, builder, signature, arguments):  # type: ignore[no-untyped-def]
            data = pointers(context, builder, signature, arguments)
            _, x, shift, _, at = arguments
            # Shifted in registers: a load from any place but a vector's own costs two.
            near, far = (
                load(builder, data[0], builder.add(x, I64(i)), COLUMNS, I16) for i in (0, COLUMNS)
            )
            step = 1
            while step < half:
                lanes = list(range(step, step + COLUMNS))
                near = builder.add(near, shuffle(builder, near, lanes, far))
                far = builder.add(far, shuffle(builder, far, lanes))
                step *= 2
            amount = broadcast(builder, builder.trunc(shift, I16), near.type)
            store(builder, builder.lshr(near, amount), data[3], at)
            return context.get_dummy_value()

        return types.void(columns, types.int64, types.int64, sums, types.int64), codegen

    return window


WINDOW = {block // 2: _make_window(block // 2) for block in BLOCKS}


def _make_first_possible(span: int) -> Callable[..., Any]:
    @intrinsic
    def first_possible(  # type: ignore[no-untyped-def]
        typingctx,
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
        """The first row of neighbouring candidates of which some may still be the best.

        A candidate's bound is the sum over the block's quarters of |own sum - reference's sum|,
        which is never more than its SAD, plus its rate.

        Args:
            sums: int16, the reference's sums over quarters, flat.
            start: index of the first candidate's upper left quarter.
            half: side of a quarter.
            stride: of a row of `sums`.
            own: four int16, the block's own quarters.
            rates: uint16, flat.
            rate: index of the first candidate's rate.
            rate_stride: of a row of `rates`.
            step: 1 for the rows downwards, -1 for those upwards.
            count: rows to look at, at least 1.
            inside: bits of the candidates of a row that count.
            most: largest bound that is still possible, in [0, 65535].

        Returns:
            The row, counted from 0, and its candidates as bits; the last row if there is none.
        """

        def codegen(context, builder, signature, arguments):  # type: ignore[no-untyped-def]
            data = pointers(context, builder, signature, arguments)
            start, half, stride, own = arguments[1:5]
            rate, rate_stride, step, count, inside, most = arguments[6:]
            below = builder.mul(half, stride)
            corners = [I64(0), half, below, builder.add(below, half)]
            quarters = [builder.extract_value(own, i) for i in range(4)]
            limit = builder.trunc(most, I16)
            before, loop, after = builder.block, *map(builder.append_basic_block, ("row", "end"))
            builder.branch(loop)
            builder.position_at_end(loop)
            row, place, place_of_rate = (builder.phi(I64) for _ in range(3))
            bits = I64(0)
            for first in range(0, span, COLUMNS):
                lanes = min(COLUMNS, span - first)
                vector = ir.VectorType(I16, lanes)
                terms = []
                for corner, quarter in zip(corners, quarters, strict=True):
                    at = builder.add(builder.add(place, corner), I64(first))
                    theirs = load(builder, data[0], at, lanes, I16)
                    difference = builder.sub(theirs, broadcast(builder, quarter, vector))
                    terms.append(call(builder, "abs", difference, I1(0)))
                bound = builder.add(builder.add(*terms[:2]), builder.add(*terms[2:]))
                at = builder.add(place_of_rate, I64(first))
                bound = call(builder, "uadd.sat", bound, load(builder, data[5], at, lanes, I16))
                possible = builder.icmp_unsigned("<=", bound, broadcast(builder, limit, vector))
                found = builder.zext(builder.bitcast(possible, ir.IntType(lanes)), I64)
                bits = builder.or_(bits, builder.shl(found, I64(first)))
            bits = builder.and_(bits, inside)
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
            return context.make_tuple(builder, signature.return_type, [row, bits])

        places, quarters = [types.int64] * 3, types.UniTuple(types.int16, 4)
        found = types.UniTuple(types.int64, 2)
        return found(sums, *places, quarters, rates, *[types.int64] * 6), codegen

    return first_possible


FIRST_POSSIBLE = {span: _make_first_possible(span) for span in SPANS}


# --- many blocks side by side ------------------------------------------------------------------


def _make_wide_step(masked: bool) -> Callable[..., Any]:
    @intrinsic
    def wide_step(  # type: ignore[no-untyped-def]
        typingctx, luma, here, there, stride, rows, mask, lanes, block, dx, penalty, place, order
    ):
        """Improve the keys of the blocks in a group by one candidate vector.

        Args:
            luma: flat.
            here: index of the group's first pixel.
            there: of its predictor's; may lie before the row.
            stride: of a row.
            rows: of the group.
            mask: 64 bytes, 255 for the columns that count; used only where masked.
            lanes: int64 (5, 8): least dx, number of further ones, pixels, index of the zero
                vector's penalty, best key so far; where not masked, of the first lane's alone.
            block: b; 4 as 8, of which the mask leaves half.
            dx: the candidate.
            penalty: flat.
            place: of its penalty, from the zero vector's.
            order: its place in the order of ties.
        """

        def codegen(context, builder, signature, arguments):  # type: ignore[no-untyped-def]
            data = pointers(context, builder, signature, arguments)
            _, here, there, stride, rows, _, _, block, dx, _, place, order = arguments
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
            low, count, pixels, zero, best = (
                load(builder, data[6], I64(LANES * row), LANES, I64) for row in range(5)
            )
            if masked:
                rest = builder.mul(
                    pixels,
                    _gather(builder, data[9], builder.add(zero, broadcast(builder, place, word))),
                )
            else:
                at = builder.add(builder.extract_element(zero, I32(0)), place)
                penalty_of_all = builder.sext(builder.load(builder.gep(data[9], [at])), I64)
                rest = broadcast(
                    builder, builder.mul(builder.mul(rows, block), penalty_of_all), word
                )
            cost = builder.add(builder.shl(sad, splat(word, 8)), rest)
            key = builder.or_(builder.shl(cost, splat(word, 16)), broadcast(builder, order, word))
            beyond = builder.sub(broadcast(builder, dx, word), low)
            better = builder.and_(
                builder.icmp_unsigned("<=", beyond, count), builder.icmp_signed("<", key, best)
            )
            store(builder, builder.select(better, key, best), data[6], I64(LANES * 4))
            return context.get_dummy_value()

        integers = [types.int64] * 4
        rest = (*integers[:2], penalty, *integers[:2])
        return types.void(luma, *integers, mask, lanes, *rest), codegen

    return wide_step


wide_step, wide_step_masked = map(_make_wide_step, (False, True))


def _gather(builder: Any, data: Any, places: Any) -> Any:
    """Elements at these places as 64-bit numbers."""
    gathered = ir.Constant(places.type, ir.Undefined)
    for lane in range(places.type.count):
        at = builder.gep(data, [builder.extract_element(places, I32(lane))])
        value = builder.sext(builder.load(at), I64)
        gathered = builder.insert_element(gathered, value, I32(lane))
    return gathered


def _sum_over_block(builder: Any, sums: Any, block: Any) -> Any:
    """Sums of 8 columns -> sums of b columns, in every lane of the block."""
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
