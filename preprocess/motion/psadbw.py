"""Sums of absolute differences: the one place that knows processors.

LLVM does not find x86's `psadbw`, one instruction for 8 to 64 bytes, so it is called by name where
the processor has it, and spelled out in plain vector code elsewhere. All spellings give the same.

The choice follows the features that Numba compiles for, which are part of the key of its cache on
disk. So a cache that several machines share never gives one of them another's code, and
`NUMBA_CPU_NAME=generic NUMBA_CPU_FEATURES=` shows the plain spelling on any machine.
"""

from __future__ import annotations

from typing import Any

from llvmlite import ir

from preprocess.motion.llvm import I8, I64, call, concatenate, declared, part, splat


def sums_of_8(context: Any, builder: Any, a: Any, b: Any) -> Any:
    """Sums over 8 neighbouring bytes of |a - b|: <8n x i8> twice -> <n x i64>."""
    features = context.codegen().magic_tuple()[2].split(",")
    if "+avx512bw" in features:
        return _psadbw(builder, a, b, 64, "llvm.x86.avx512.psad.bw.512")
    if "+avx2" in features:
        return _psadbw(builder, a, b, 32, "llvm.x86.avx2.psad.bw")
    return _plain_sums_of_8(builder, a, b)


def _psadbw(builder: Any, a: Any, b: Any, width: int, name: str) -> Any:
    """The instruction at the widest that the processor has, piece by piece."""
    width = min(width, a.type.count)
    if width == 16:  # a block of 4 x 4, two rows of 8
        name = "llvm.x86.sse2.psad.bw"
    function = declared(
        builder, name, ir.VectorType(I64, width // 8), [ir.VectorType(I8, width)] * 2
    )
    pieces = [
        builder.call(function, [part(builder, v, start, width) for v in (a, b)])
        for start in range(0, a.type.count, width)
    ]
    return concatenate(builder, pieces)


def _plain_sums_of_8(builder: Any, a: Any, b: Any) -> Any:
    """Differences as 64-bit words, folded in halves: pairs, quadruplets, all eight bytes."""
    word = ir.VectorType(I64, a.type.count // 8)
    difference = builder.sub(call(builder, "umax", a, b), call(builder, "umin", a, b))
    x = builder.bitcast(difference, word)
    mask = splat(word, 0x00FF00FF00FF00FF)
    x = builder.add(builder.and_(x, mask), builder.and_(builder.lshr(x, splat(word, 8)), mask))
    x = builder.add(x, builder.lshr(x, splat(word, 16)))
    x = builder.add(x, builder.lshr(x, splat(word, 32)))
    return builder.and_(x, splat(word, 0xFFFF))
