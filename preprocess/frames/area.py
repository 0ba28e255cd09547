"""Shrinking by exact area averaging, for the frames that nearly all video files have.

Each pixel of the small picture covers a rectangle of the frame; its Y, U and V are the means over
it, of luma and of chroma samples where these lie, and RGB follows from these means by the frame's
own matrix. Sums are of whole numbers, so the result is the same on every processor.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import gcd
from typing import NamedTuple

import numpy as np
from av.video.frame import VideoFrame
from av.video.reformatter import ColorRange
from numpy.typing import NDArray

from preprocess.frames.area_kernel import TILE, shrink, to_rgb

SUBSAMPLING = {
    f"yuv{full_range}{ratio}p": steps
    for full_range in ("", "j")
    for ratio, steps in (("420", (2, 2)), ("422", (1, 2)), ("444", (1, 1)))
}
"""Planar formats of 8 bits: luma rows and columns for each chroma sample."""

_BT601, _BT709, _BT2020 = (0.299, 0.114), (0.2126, 0.0722), (0.2627, 0.0593)

LUMA_WEIGHTS = {1: _BT709, 2: _BT601, 5: _BT601, 6: _BT601, 9: _BT2020}
"""Weights of red and blue in luma, by H.273 matrix coefficients (`AVColorSpace`); 2: none named."""

MAX_RATIO = 256
"""Larger sums of samples would not fit the kernel's integers."""


@dataclass(frozen=True)
class Look:
    """What decides how a frame is shrunk, but for its pixels."""

    width: int
    height: int
    format: str
    matrix: int
    range: int

    @classmethod
    def of(cls, frame: VideoFrame) -> Look:
        """A frame's."""
        matrix, span = int(frame.colorspace), int(frame.color_range)
        return cls(frame.width, frame.height, frame.format.name, matrix, span)


@dataclass(frozen=True)
class Window:
    """The part of a scaled frame that is wanted; all in scaled pixels.

    Attributes:
        scaled: height and width of the whole.
        start: its first row and column.
        shape: its rows and columns.
    """

    scaled: tuple[int, int]
    start: tuple[int, int]
    shape: tuple[int, int]


def can_shrink(look: Look, window: Window) -> bool:
    """Whether such frames can be shrunk here: no plane of theirs may have to grow."""
    if look.format not in SUBSAMPLING or look.matrix not in LUMA_WEIGHTS:
        return False
    return all(
        scaled * step <= side <= MAX_RATIO * scaled
        for side, scaled, step in zip(
            (look.height, look.width), window.scaled, SUBSAMPLING[look.format], strict=True
        )
    )


def taps(
    side: int, scaled: int, start: int, count: int, *, step: int = 1, early: bool = False
) -> tuple[NDArray[np.int32], int, int]:
    """Which samples lie under each pixel of a scaled side, and with which weights.

    Args:
        side: luma samples.
        scaled: pixels of the whole side; at most `side / step`.
        start: the first pixel that is wanted.
        count: of pixels that are wanted.
        step: luma samples for each sample of this plane.
        early: a sample lies on the first of its luma samples, not in the middle of them.

    Returns:
        int32, shape (count, 4): first and last sample, and their weights; the weight of a sample
        in between; and the sum of a pixel's weights.
    """
    # In units of half a luma sample, divided by `scaled`.
    unit, total = 2 * scaled * step, 2 * side
    shift = scaled * (step - 1) if early else 0
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


def rgb_matrix(look: Look) -> NDArray[np.float32]:
    """RGB of full range = matrix[:, :3] (Y, U, V) + matrix[:, 3]; ITU-T H.273, 8.3."""
    red, blue = LUMA_WEIGHTS[look.matrix]
    full = look.range == ColorRange.JPEG or look.format.startswith("yuvj")
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


def chroma_early(frame: VideoFrame) -> tuple[bool, bool]:
    """Whether chroma samples lie on the first of their luma rows, and of their luma columns.

    Otherwise they lie in the middle of them. PyAV does not say, but the scaler knows: it is asked
    for chroma at one luma sample of a ramp, in a small frame with the properties of this one.
    """
    name, steps = frame.format.name, SUBSAMPLING[frame.format.name]
    height = 32 if frame.height != 32 else 34  # one of the same size would be the same
    ramp = frame.reformat(width=32, height=height, format=name)
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
    """Shrinks frames that look alike; keeps its scratch memory from one to the next."""

    def __init__(self, frame: VideoFrame, window: Window) -> None:
        """For frames that look like this one, where `can_shrink` says so."""
        look = Look.of(frame)
        self._shape = window.shape
        height, width = (-(-side // TILE) * TILE for side in window.shape)
        luma = _plan(look, window, (1, 1), (False, False))
        chroma = _plan(look, window, SUBSAMPLING[look.format], chroma_early(frame))
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
        self._matrix = rgb_matrix(look)
        self._turned_rgb = np.zeros((width, height), np.uint8)

    def __call__(self, frame: VideoFrame) -> NDArray[np.uint8]:
        """The window, uint8 RGB, shape (3, *window.shape)."""
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
        Shrinker(frame, Window((31, 31), (0, 0), (31, 31)))(frame)


class _Plan(NamedTuple):
    """What the kernel takes for a plane."""

    rows: NDArray[np.int32]
    columns: NDArray[np.int32]
    units: tuple[int, int]
    scale: float

    @property
    def row_weight(self) -> int:
        """Sum of the weights of a pixel's rows."""
        first, last, low, high = map(int, self.rows[0])
        return low + max(0, last - first - 1) * self.units[0] + high


def _plan(look: Look, window: Window, steps: tuple[int, int], early: tuple[bool, bool]) -> _Plan:
    (rows, row_unit, row_total), (columns, column_unit, column_total) = (
        taps(side, scaled, start, count, step=step, early=sited)
        for side, scaled, start, count, step, sited in zip(
            (look.height, look.width),
            window.scaled,
            window.start,
            window.shape,
            steps,
            early,
            strict=True,
        )
    )
    return _Plan(rows, columns, (row_unit, column_unit), 1 / (row_total * column_total))
