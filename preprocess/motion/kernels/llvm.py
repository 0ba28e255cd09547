"""Shorthands for LLVM's vector code in llvmlite, and sums of absolute differences.

A vector is `<count x element>`.

`sums_of_8` is the one function that depends on the processor: LLVM does not find x86's `psadbw`,
one instruction for 8 to 64 bytes, so it is called by name where the processor has it, and spelled
out in plain vector code elsewhere. All spellings give the same sums.

The choice follows the features that Numba compiles for, which are part of the key of its cache on
disk. So a cache that several machines share never gives one of them another's code, and
`NUMBA_CPU_NAME=generic NUMBA_CPU_FEATURES=` selects the plain spelling on any machine.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from llvmlite import ir
from numba import types
from numba.core import cgutils

I1, I8, I16, I32, I64 = (ir.IntType(bits) for bits in (1, 8, 16, 32, 64))


def pointers(context: Any, builder: Any, signature: Any, arguments: Any) -> dict[int, Any]:
    """Data pointers of the arguments that are arrays, by position."""
    return {
        i: cgutils.create_struct_proxy(kind)(context, builder, value).data
        for i, (kind, value) in enumerate(zip(signature.args, arguments, strict=True))
        if isinstance(kind, types.Array)
    }


def load(builder: Any, data: Any, index: Any, count: int, element: Any = I8) -> Any:
    """Load a vector of `count` elements from `data[index:]`, which need not be aligned."""
    pointer = builder.gep(data, [index])
    vector = builder.bitcast(pointer, ir.PointerType(ir.VectorType(element, count)))
    return builder.load(vector, align=element.width // 8)


def store(builder: Any, vector: Any, data: Any, index: Any) -> None:
    """Store a vector to `data[index:]`, which need not be aligned."""
    pointer = builder.bitcast(builder.gep(data, [index]), ir.PointerType(vector.type))
    builder.store(vector, pointer, align=vector.type.element.width // 8)


def row_start(builder: Any, start: Any, stride: Any, row: int) -> Any:
    """Index of a row's first element, `start + row * stride`."""
    return builder.add(start, builder.mul(stride, I64(row)))


def splat(vector: Any, value: int) -> Any:
    """Constant vector of equal elements."""
    return vector([vector.element(value)] * vector.count)


def broadcast(builder: Any, value: Any, vector: Any) -> Any:
    """Vector of equal elements."""
    undefined = ir.Constant(vector, ir.Undefined)
    first = builder.insert_element(undefined, value, I32(0))
    return shuffle(builder, first, [0] * vector.count)


def shuffle(builder: Any, vector: Any, lanes: list[int], other: Any = None) -> Any:
    """Elements of one or two vectors at the positions `lanes`."""
    mask = ir.Constant(ir.VectorType(I32, len(lanes)), lanes)
    return builder.shuffle_vector(vector, vector if other is None else other, mask)


def part(builder: Any, vector: Any, start: int, count: int) -> Any:
    """Elements start ... start + count - 1."""
    if count == vector.type.count:
        return vector
    return shuffle(builder, vector, list(range(start, start + count)))


def concatenate(builder: Any, parts: list[Any]) -> Any:
    """Join 2^n vectors of the same type into one."""
    while len(parts) > 1:
        lanes = list(range(2 * parts[0].type.count))
        parts = [
            shuffle(builder, a, lanes, b) for a, b in zip(parts[::2], parts[1::2], strict=True)
        ]
    return parts[0]


def declared(builder: Any, name: str, result: Any, arguments: list[Any]) -> Any:
    """Function of a name, declared once in a module."""
    kind = ir.FunctionType(result, arguments)
    return cgutils.get_or_insert_function(builder.module, kind, name)


def call(builder: Any, name: str, first: Any, second: Any) -> Any:
    """Call an LLVM intrinsic on vectors of the first argument's type."""
    kind = first.type
    full = f"llvm.{name}.v{kind.count}i{kind.element.width}"
    return builder.call(declared(builder, full, kind, [kind, second.type]), [first, second])


def sum_of(builder: Any, vector: Any) -> Any:
    """Sum of a vector's 64-bit elements."""
    if vector.type.count == 1:
        return builder.extract_element(vector, I32(0))
    name = f"llvm.vector.reduce.add.v{vector.type.count}i64"
    return builder.call(declared(builder, name, I64, [vector.type]), [vector])


def sums_of_8(context: Any, builder: Any, a: Any, b: Any) -> Any:
    """Sums over 8 neighbouring bytes of |a - b|: <8n x i8> twice -> <n x i64>."""
    features = context.codegen().magic_tuple()[2].split(",")
    if "+avx512bw" in features:
        return _psadbw(builder, a, b, 64, "llvm.x86.avx512.psad.bw.512")
    if "+avx2" in features:
        return _psadbw(builder, a, b, 32, "llvm.x86.avx2.psad.bw")
    return _plain_sums_of_8(builder, a, b)


def _psadbw(builder: Any, a: Any, b: Any, width: int, name: str) -> Any:
    """Sums by the instruction of the widest form that the processor has, chunk by chunk."""
    width = min(width, a.type.count)
    if width == 16:  # a block of 4 x 4, two rows of 8
        name = "llvm.x86.sse2.psad.bw"
    function = declared(
        builder, name, ir.VectorType(I64, width // 8), [ir.VectorType(I8, width)] * 2
    )
    chunks = [
        builder.call(function, [part(builder, v, start, width) for v in (a, b)])
        for start in range(0, a.type.count, width)
    ]
    return concatenate(builder, chunks)


def _plain_sums_of_8(builder: Any, a: Any, b: Any) -> Any:
    """Sums of differences as 64-bit words, folded in halves: pairs, quadruplets, eight bytes."""
    word = ir.VectorType(I64, a.type.count // 8)
    difference = builder.sub(call(builder, "umax", a, b), call(builder, "umin", a, b))
    x = builder.bitcast(difference, word)
    mask = splat(word, 0x00FF00FF00FF00FF)
    x = builder.add(builder.and_(x, mask), builder.and_(builder.lshr(x, splat(word, 8)), mask))
    x = builder.add(x, builder.lshr(x, splat(word, 16)))
    x = builder.add(x, builder.lshr(x, splat(word, 32)))
    return builder.and_(x, splat(word, 0xFFFF))


def switch(
    builder: Any, value: Any, cases: Sequence[int], emit: Callable[[int], Sequence[Any]]
) -> list[Any]:
    """Emit one copy of unrolled code for each case, of which `value` selects one at run time.

    Args:
        builder: LLVM's.
        value: integer; the last case also stands for all other values.
        cases: values, each with its own copy.
        emit: writes the copy of a case and returns its results, of the same types for all cases.

    Returns:
        The results of the copy that was run.
    """
    blocks = [builder.append_basic_block(f"case.{case}") for case in cases]
    end = builder.append_basic_block("case.end")
    chosen = builder.switch(value, blocks[-1])
    ends, found = [], []
    for case, block in zip(cases, blocks, strict=True):
        if block is not blocks[-1]:
            chosen.add_case(value.type(case), block)
        builder.position_at_end(block)
        found.append(emit(case))
        ends.append(builder.block)
        builder.branch(end)
    builder.position_at_end(end)
    results = []
    for values in zip(*found, strict=True):
        phi = builder.phi(values[0].type)
        for result, block in zip(values, ends, strict=True):
            phi.add_incoming(result, block)
        results.append(phi)
    return results
