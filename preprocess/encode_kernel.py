"""Numba kernels for luma and residuals; `shared` states in numpy what they compute."""

from __future__ import annotations

import numpy as np
from numba import njit
from numpy.typing import NDArray

from preprocess.motion.keys import JIT, PART, SOURCES
from preprocess.motion.vectors import SUBTRACT


@njit(cache=True, **JIT)
def luma_into(clip: NDArray[np.uint8], luma: NDArray[np.uint8]) -> None:
    """`shared.conventions.luma` of a clip.

    Args:
        clip: uint8 RGB, shape (T, 3, P), C order.
        luma: receives it, uint8, shape (T, P).
    """
    for n in range(clip.shape[0]):
        for i in range(clip.shape[2]):
            red, green, blue = clip[n, 0, i], clip[n, 1, i], clip[n, 2, i]
            total = np.uint16(77) * red + np.uint16(150) * green + np.uint16(29) * blue
            luma[n, i] = (total + np.uint16(128)) >> 8


@njit(cache=True, **JIT)
def residual_into(
    clip: NDArray[np.uint8],
    shape: tuple[int, int, int, int],
    motion: NDArray[np.int8],
    block: int,
    first: bool,
    residual: NDArray[np.int16],
    sources: int = SOURCES,
) -> None:
    """`shared.compensate.residual` of a clip.

    Args:
        clip: uint8, flat.
        shape: of the clip, (T, 3, H, W).
        motion: int8 pixels, shape (T-1, 2, ceil(H/b), ceil(W/b)).
        block: b, pixels.
        first: whether vectors point into frame 0 rather than into the frame before.
        residual: receives it, int16, flat.
        sources: not to be given.
    """
    frames, channels, height, width = shape
    plane = height * width
    for n in range(1, frames):
        source = 0 if first else n - 1
        for row in range(motion.shape[2]):
            for column in range(motion.shape[3]):
                y, x = row * block, column * block
                vx, vy = motion[n - 1, 0, row, column], motion[n - 1, 1, row, column]
                top, left = y + np.int64(vy), x + np.int64(vx)
                whole = y + block <= height and x + block <= width
                inside = 0 <= top <= height - block and 0 <= left <= width - block
                for c in range(channels):
                    here, there = (n * channels + c) * plane, (source * channels + c) * plane
                    out = here - channels * plane
                    if whole and inside:
                        at, to = here + y * width + x, out + y * width + x
                        _subtract(clip, at, there + top * width + left, width, residual, to, block)
                        continue
                    for j in range(y, min(y + block, height)):
                        ry = _clamp(top + j - y, height)
                        for i in range(x, min(x + block, width)):
                            rx = _clamp(left + i - x, width)
                            predicted = np.int16(clip[there + ry * width + rx])
                            current = np.int16(clip[here + j * width + i])
                            residual[out + j * width + i] = current - predicted


@njit(**PART)
def _clamp(place: int, size: int) -> int:
    return min(max(place, 0), size - 1)


_subtract_4, _subtract_8, _subtract_16, _subtract_32 = (SUBTRACT[block] for block in (4, 8, 16, 32))


@njit(**PART)
def _subtract(clip, here, there, stride, out, at, block):  # type: ignore[no-untyped-def]
    """One copy of the unrolled code for each block size."""
    if block == 16:
        _subtract_16(clip, here, there, stride, out, at)
    elif block == 8:
        _subtract_8(clip, here, there, stride, out, at)
    elif block == 32:
        _subtract_32(clip, here, there, stride, out, at)
    else:
        _subtract_4(clip, here, there, stride, out, at)
