"""Shrinking by exact area averaging, for the frames that nearly all video files have.

Each pixel of the small picture covers a rectangle of the frame; its Y, U and V are the means over
it, of luma and of chroma samples where these lie, and RGB follows from these means by the frame's
own matrix. Sums are of whole numbers, so the result is the same on every processor.

The kernels sum rows first, in vector instructions along them. For the columns, tiles are transposed
in registers, so that vector instructions do the same again.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from math import gcd
from typing import Any, NamedTuple

import numpy as np
from av.video.frame import VideoFrame
from av.video.reformatter import ColorRange, Interpolation
from numba import njit, types
from numba.extending import intrinsic
from numpy.typing import NDArray

from preprocess.motion.kernels.candidate_key import JIT, KERNEL_SOURCE_HASH, PART
from preprocess.motion.kernels.llvm import load, pointers, row_start, shuffle, store

SUBSAMPLING = {
    f"yuv{full_range}{ratio}p": steps
    for full_range in ("", "j")
    for ratio, steps in (("420", (2, 2)), ("422", (1, 2)), ("444", (1, 1)))
}
"""Planar formats of 8 bits: luma rows and columns for each chroma sample."""

_BT601, _BT709, _BT2020 = (0.299, 0.114), (0.2126, 0.0722), (0.2627, 0.0593)

LUMA_WEIGHTS = {1: _BT709, 2: _BT601, 5: _BT601, 6: _BT601, 9: _BT2020}
"""Weights of red and blue in luma, by H.273 matrix coefficients (2: unspecified)."""

MAX_RATIO = 256
"""Largest ratio of sides; larger sums of samples would not fit the kernel's integers."""

TILE = 32
"""Sides of scratch arrays are multiples of this: a cache line of 16-bit numbers."""

# Rounding that is the same on every processor, so that a store can be verified on another; and
# colour for each pixel: without that, pairs have one colour, and all are two grey levels too dark.
EXACT = Interpolation.ACCURATE_RND | Interpolation.BITEXACT | Interpolation.FULL_CHR_H_INT
"""Flags of FFmpeg's scaler."""

_PART = 8
"""Side of the squares that are transposed together in 16 or 32 bits; 16 in 8 bits."""


@dataclass(frozen=True)
class FrameFormat:
    """Format of a frame: everything that shrinking depends on but the pixels.

    Attributes:
        width: pixels.
        height: pixels.
        format: FFmpeg's name of the pixel format.
        matrix: H.273 matrix coefficients.
        range: FFmpeg's number of the colour range.
    """

    width: int
    height: int
    format: str
    matrix: int
    range: int

    @classmethod
    def of(cls, frame: VideoFrame) -> FrameFormat:
        """Format of a frame."""
        matrix, span = int(frame.colorspace), int(frame.color_range)
        return cls(frame.width, frame.height, frame.format.name, matrix, span)


@dataclass(frozen=True)
class ResizeWindow:
    """Part of a scaled frame that is wanted, in scaled pixels.

    Attributes:
        scaled: height and width of the whole scaled frame.
        start: first row and column of the part.
        shape: rows and columns of the part.
    """

    scaled: tuple[int, int]
    start: tuple[int, int]
    shape: tuple[int, int]


def can_shrink(form: FrameFormat, window: ResizeWindow) -> bool:
    """Test whether such frames can be shrunk here: no plane may have to grow."""
    if form.format not in SUBSAMPLING or form.matrix not in LUMA_WEIGHTS:
        return False
    return all(
        scaled * step <= side <= MAX_RATIO * scaled
        for side, scaled, step in zip(
            (form.height, form.width), window.scaled, SUBSAMPLING[form.format], strict=True
        )
    )


def taps(
    side: int, scaled: int, start: int, count: int, *, step: int = 1, cosited: bool = False
) -> tuple[NDArray[np.int32], int, int]:
    """Samples under each pixel of a scaled side, and their weights.

    Args:
        side: luma samples.
        scaled: pixels of the whole side; at most `side / step`.
        start: first pixel that is wanted.
        count: number of pixels that are wanted.
        step: luma samples for each sample of this plane.
        cosited: a sample lies on the first of its luma samples, not in the middle of them.

    Returns:
        int32, shape (count, 4): first and last sample, and their weights; the weight of a sample
        in between; and the sum of a pixel's weights.
    """
    # In units of half a luma sample, divided by `scaled`.
    unit, total = 2 * scaled * step, 2 * side
    shift = scaled * (step - 1) if cosited else 0
    common = gcd(unit, total, shift)
    low = 2 * side * np.arange(start, start + count, dtype=np.int64) + shift
    high = low + total
    most = -(-side // step) - 1
    first, last = low // unit, np.minimum((high - 1) // unit, most)
    alone = first == last
    low_weight = np.where(alone, total, (first + 1) * unit - low)
    high_weight = np.where(alone, 0, high - last * unit)
    columns = first, last, low_weight // common, high_weight // common
    return np.stack(columns, axis=1).astype(np.int32), unit // common, total // common


def rgb_matrix(form: FrameFormat) -> NDArray[np.float32]:
    """Matrix from YUV to full-range RGB = m[:, :3] (Y, U, V) + m[:, 3]; ITU-T H.273, 8.3."""
    red, blue = LUMA_WEIGHTS[form.matrix]
    full = form.range == ColorRange.JPEG or form.format.startswith("yuvj")
    of_luma, of_chroma, black = (1.0, 1.0, 0) if full else (255 / 219, 255 / 224, 16)
    v_red, u_blue = 2 * (1 - red) * of_chroma, 2 * (1 - blue) * of_chroma
    green = 1 - red - blue
    weights = np.array(
        [
            [of_luma, 0, v_red],
            [of_luma, -blue * u_blue / green, -red * v_red / green],
            [of_luma, u_blue, 0],
        ]
    )
    offsets = -weights @ [black, 128, 128]
    return np.column_stack([weights, offsets]).astype(np.float32)


def chroma_cosited(frame: VideoFrame) -> tuple[bool, bool]:
    """Test whether chroma is co-sited with the first of its luma rows, and of its luma columns.

    Otherwise it lies in the middle of them. PyAV does not say, but the scaler knows: it is asked
    for chroma at one luma sample of a ramp, in a small frame with the properties of this one.
    """
    name, steps = frame.format.name, SUBSAMPLING[frame.format.name]
    height = 32 if frame.height != 32 else 34  # one of the same size would be the same
    # Its pixels do not matter, and filters for a large frame would cost milliseconds.
    ramp = frame.reformat(width=32, height=height, format=name, interpolation=Interpolation.POINT)
    for axis, plane in enumerate(ramp.planes[1:]):
        places = np.indices((plane.height, plane.line_size), np.uint8)[axis]
        plane.update((places.clip(0, 31) * np.uint8(8)).tobytes())
    whole = ramp.reformat(format=name.replace("420", "444").replace("422", "444"))
    found = [bytes(plane)[8 * plane.line_size + 8] for plane in whole.planes[1:]]
    rows, columns = (
        step > 1 and value == 8 * 8 // step for step, value in zip(steps, found, strict=True)
    )
    return rows, columns


class Shrinker:
    """Shrinks frames of one format; keeps its scratch memory from one to the next."""

    def __init__(self, frame: VideoFrame, window: ResizeWindow) -> None:
        """Prepare for frames of the format of this one, which `can_shrink` must allow."""
        form = FrameFormat.of(frame)
        self._shape = window.shape
        height, width = (-(-side // TILE) * TILE for side in window.shape)
        luma = _plan(form, window, (1, 1), (False, False))
        chroma = _plan(form, window, SUBSAMPLING[form.format], chroma_cosited(frame))
        self._plans = luma, chroma, chroma
        used = max(int(plan.columns[-1, 1] - plan.columns[0, 0]) + 1 for plan in self._plans)
        used = -(-used // TILE) * TILE
        fits = all(255 * plan.row_weight < 1 << 16 for plan in self._plans)
        integer = np.uint16 if fits else np.uint32
        self._scratch = (
            np.zeros(used, np.uint16),
            np.zeros(TILE * used, integer),
            np.zeros(TILE * used, integer),
            np.zeros(TILE, np.uint32),
        )
        self._yuv = np.zeros((3, width, height), np.float32)
        self._matrix = rgb_matrix(form)
        self._turned_rgb = np.zeros((width, height), np.uint8)

    def __call__(self, frame: VideoFrame) -> NDArray[np.uint8]:
        """Shrink a frame: the window, uint8 RGB, shape (3, *window.shape)."""
        for plane, plan, means in zip(frame.planes, self._plans, self._yuv, strict=True):
            shrink(
                np.frombuffer(memoryview(plane), np.uint8),
                plane.line_size,
                *plan,
                *self._scratch,
                means,
            )
        rgb = np.empty((3, *self._turned_rgb.T.shape), np.uint8)
        to_rgb(self._yuv, self._matrix, self._turned_rgb, rgb)
        height, width = self._shape
        return np.ascontiguousarray(rgb[:, :height, :width])


def warm_up() -> None:
    """Compile the kernels, for sums of 16 and of 32 bits, and keep them on disk."""
    for height in (64, 331):
        frame = VideoFrame(64, height, "yuv420p")
        for plane in frame.planes:
            plane.update(bytes(plane.buffer_size))
        Shrinker(frame, ResizeWindow((31, 31), (0, 0), (31, 31)))(frame)


class _Plan(NamedTuple):
    """Arguments of the kernel for a plane; see `shrink`."""

    rows: NDArray[np.int32]
    columns: NDArray[np.int32]
    units: tuple[int, int]
    scale: float

    @property
    def row_weight(self) -> int:
        """Sum of the weights of a pixel's rows."""
        first, last, low, high = map(int, self.rows[0])
        return low + max(0, last - first - 1) * self.units[0] + high


def _plan(
    form: FrameFormat, window: ResizeWindow, steps: tuple[int, int], cosited: tuple[bool, bool]
) -> _Plan:
    (rows, row_unit, row_total), (columns, column_unit, column_total) = (
        taps(side, scaled, start, count, step=step, cosited=sited)
        for side, scaled, start, count, step, sited in zip(
            (form.height, form.width),
            window.scaled,
            window.start,
            window.shape,
            steps,
            cosited,
            strict=True,
        )
    )
    return _Plan(rows, columns, (row_unit, column_unit), 1 / (row_total * column_total))


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
        columns: the same of its columns, shape (w, 4) and `units[1]`.
        units: weights of whole samples.
        scale: 1 / the sum of all weights of a pixel.
        sums: scratch, one for each column that is used, rounded up to a TILE.
        lines: scratch, unsigned, TILE times as many, flat; holds 255 times a row's weights.
        turned: scratch of the same type and size.
        totals: scratch, a TILE.
        means: receives the means, transposed; float32, shape (w, h), rounded up to a TILE.
        sources: cache key; leave at its default.
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
# taken, and tests each signed index for being negative.


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
    # A number of rounds known to the compiler would be unrolled into single steps.
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
            # Whole numbers below 2^53: exact in any order.
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
    """Convert a picture from YUV to RGB.

    Args:
        yuv: transposed, float32, shape (3, w, h), sides that are multiples of a TILE.
        matrix: float32, shape (3, 4): colour = matrix[:, :3] yuv + matrix[:, 3], rounded.
        turned: scratch, uint8, shape (w, h).
        rgb: receives the picture, uint8, shape (3, h, w).
        sources: cache key; leave at its default.
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
