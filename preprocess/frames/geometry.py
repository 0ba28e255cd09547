"""From a frame to the one that is stored: upright, of square pixels, cropped, scaled."""

from __future__ import annotations

from dataclasses import dataclass, replace
from fractions import Fraction
from typing import Any

import numpy as np
from av.error import FFmpegError
from av.filter import Graph
from av.sidedata.sidedata import Type
from av.video.frame import VideoFrame
from av.video.reformatter import ColorRange, Interpolation, VideoReformatter
from numpy.typing import NDArray
from PIL import Image
from pydantic.dataclasses import dataclass as checked_dataclass

from preprocess.frames.area import EXACT, FrameFormat, ResizeWindow, Shrinker, can_shrink
from preprocess.frames.hdr import HdrMapper, describe_hdr
from preprocess.frames.transparency import over_black
from shared.conventions import FrameSize
from shared.schema import CodecOptions, DeinterlaceName, FitName, HdrName

MAX_PIXELS = 8192 * 8192
"""Largest frame; others are refused before a decoder or scaler allocates memory for them."""

_SIDE_DATA_KINDS = 64
"""More kinds of side data than FFmpeg has."""


@dataclass(frozen=True)
class Box:
    """A part of a frame, in pixels, half-open."""

    top: int
    bottom: int
    left: int
    right: int

    @property
    def width(self) -> int:
        """Columns."""
        return self.right - self.left

    @property
    def height(self) -> int:
        """Rows."""
        return self.bottom - self.top


@checked_dataclass(frozen=True)
class Geometry:
    """Geometry that gives a frame the size of the stored ones.

    Attributes:
        size: of the stored frames.
        fit: a frame of another aspect is cut at both ends of the side that is too long (`crop`),
            gets black bars at the side that is too short (`pad`), or is distorted (`stretch`).
        box: part of the upright frame to use, in square pixels; None uses all of it.
        as_shown: show frames as players do: mirrored where the file asks for it, stretched to
            square pixels, HDR mapped to SDR, transparency over black. Stores made before that have
            it false: turned only.
        hdr: map frames of high dynamic range or wide gamut to SDR, or refuse them.
        deinterlace: FFmpeg's filter for interlaced frames, or off.
        filter: chain of filters of an ffmpeg program, for its decoder; empty for none.
        hwaccel: its kind of hardware decoder; empty for none.
    """

    size: FrameSize
    fit: FitName = "crop"
    box: Box | None = None
    as_shown: bool = True
    hdr: HdrName = "tonemap"
    deinterlace: DeinterlaceName = "off"
    filter: str = ""
    hwaccel: str = ""

    @classmethod
    def of(cls, options: CodecOptions) -> Geometry:
        """Geometry of a store's options."""
        box = Box(*options.crop) if options.crop else None
        as_shown = options.display == "shown"
        return cls(
            options.size,
            options.fit,
            box,
            as_shown,
            options.hdr,
            options.deinterlace,
            options.filter or "",
            options.hwaccel or "",
        )


@dataclass(frozen=True)
class Fit:
    """Size of a scaled frame and place of the stored one on it, in scaled pixels."""

    width: int
    height: int
    left: int
    top: int
    """The stored frame's corner on the scaled one; negative where there are bars."""
    shrinks: bool
    """True if scaling loses pixels: by area averaging then, else by bicubic interpolation."""


def fit(width: int, height: int, geometry: Geometry) -> Fit:
    """Place the stored frame on a frame, or on the part inside the crop box.

    Args:
        width: pixels.
        height: pixels.
        geometry: `size` and `fit` are used here.
    """
    size, by = geometry.size, geometry.fit
    if by == "stretch":
        scaled_height, scaled_width = size
    else:
        # The side that is scaled exactly: with `crop` the one that needs the larger scale.
        across = (size.width * height >= size.height * width) == (by == "crop")
        to, side = (size.width, width) if across else (size.height, height)
        scaled_width, scaled_height = (
            max(1, (2 * length * to + side) // (2 * side)) for length in (width, height)
        )
    shrinks = scaled_width <= width and scaled_height <= height
    shrinks &= (scaled_width, scaled_height) != (width, height)
    left, top = (scaled_width - size.width) // 2, (scaled_height - size.height) // 2
    return Fit(scaled_width, scaled_height, left, top, shrinks)


def refusal(width: int, height: int, geometry: Geometry) -> str:
    """Reason why frames of an upright size cannot be used; empty if they can."""
    if width <= 0 or height <= 0:
        return "its header states no frame size that can be decoded"
    if width * height > MAX_PIXELS:
        return f"frames of {width}x{height}; at most {MAX_PIXELS} pixels are decoded"
    box = geometry.box or Box(0, height, 0, width)
    if box.bottom > height or box.right > width:
        place = f"{box.top}:{box.bottom},{box.left}:{box.right}"
        return f"frames of {width}x{height} do not hold the crop box {place}"
    scaled = fit(box.width, box.height, geometry)
    if scaled.width * scaled.height > MAX_PIXELS:
        return f"frames of {width}x{height} are too narrow to scale to {geometry.size} and crop"
    return ""


def upright_size(width: int, height: int, degrees: float) -> tuple[int, int]:
    """Displayed width and height of a frame that is turned by a multiple of 90 degrees."""
    return (height, width) if round(degrees / 90) % 2 else (width, height)


def displayed_width(width: int, pixel_aspect: Fraction) -> int:
    """Width of a frame in square pixels, rounded; its height stays."""
    return max(1, int(width * pixel_aspect + Fraction(1, 2)))


Matrix = tuple[tuple[int, int], tuple[int, int]]


def display_matrix(frame: VideoFrame) -> Matrix:
    """Matrix ((a, c), (b, d)): a pixel at (x, y) is shown at (a x + c y, b x + d y).

    Of any scale; the identity where the file states none.
    """
    known: Any  # PyAV's annotation of it is not that of a mapping
    try:
        known = frame.side_data
    except ValueError:  # PyAV knows not every kind of side data, and then gives none
        known = _without_unknown_side_data(frame).side_data
    if Type.DISPLAYMATRIX not in known:
        return (1, 0), (0, 1)
    a, b, _, c, d = np.frombuffer(bytes(known[Type.DISPLAYMATRIX]), np.int32)[:5].tolist()
    return (a, c), (b, d)


def _without_unknown_side_data(frame: VideoFrame) -> VideoFrame:
    """Pass a frame through a filter that removes the side data that PyAV does not know."""
    graph = Graph()
    last = graph.add_buffer(
        width=frame.width,
        height=frame.height,
        format=frame.format,
        time_base=frame.time_base or Fraction(1),
    )
    kinds = set(range(_SIDE_DATA_KINDS)) - {kind.value for kind in Type}
    filters = [graph.add("sidedata", f"mode=delete:type={kind}") for kind in sorted(kinds)]
    for following in (*filters, graph.add("buffersink")):
        last.link_to(following)
        last = following
    graph.configure()
    graph.push(frame)
    pulled = graph.pull()
    assert isinstance(pulled, VideoFrame)
    return pulled


@dataclass(frozen=True)
class Orientation:
    """Reflections that make a coded frame upright, in this order.

    Attributes:
        transposed: rows become columns.
        flips_rows: the last row becomes the first.
        flips_columns: the last column becomes the first.
    """

    transposed: bool
    flips_rows: bool
    flips_columns: bool

    @classmethod
    def of(cls, frame: VideoFrame, *, mirrors: bool) -> Orientation:
        """Orientation that a frame's display matrix asks for, to the nearest quarter turn.

        Args:
            frame: of the video.
            mirrors: heed mirrors; without them a frame is only turned.
        """
        if not mirrors:
            turns = round(frame.rotation / 90) % 4
            return cls(turns % 2 == 1, turns in (1, 2), turns in (2, 3))
        (a, c), (b, d) = display_matrix(frame)
        if abs(a) + abs(d) >= abs(b) + abs(c):
            return cls(False, d < 0, a < 0)
        return cls(True, b < 0, c < 0)

    def coded(self, upright: FrameSize) -> FrameSize:
        """Size of a frame before it is made upright."""
        return FrameSize(upright.width, upright.height) if self.transposed else upright

    def apply(self, pixels: NDArray[Any], axes: tuple[int, int] = (0, 1)) -> NDArray[Any]:
        """Turn and mirror pixels whose rows and columns lie on these axes."""
        if self.transposed:
            pixels = pixels.swapaxes(*axes)
        flips = self.flips_rows, self.flips_columns
        flipped = tuple(axis for axis, by in zip(axes, flips, strict=True) if by)
        return np.flip(pixels, flipped) if flipped else pixels


class FrameFitter:
    """Scales, crops, turns and converts decoded frames, with one scaler for a whole video."""

    def __init__(self, geometry: Geometry) -> None:
        self._geometry = geometry
        self._reformatter, self._transparency = VideoReformatter(), VideoReformatter()
        self._prepared: tuple[Any, ...] | None = None

    def __call__(
        self,
        frame: VideoFrame,
        pixel_aspect: Fraction = Fraction(1),
        orientation: Orientation | None = None,
    ) -> NDArray[np.uint8]:
        """Make a stored frame: uint8 RGB, shape (3, H, W); frames may change their format.

        Args:
            frame: as decoded.
            pixel_aspect: width of its pixels divided by their height.
            orientation: of the frame; None for what it states itself.

        Raises:
            ValueError: the frame cannot be used; the message says why.
        """
        shown = self._geometry.as_shown
        orientation = orientation or Orientation.of(frame, mirrors=shown)
        aspect = pixel_aspect if shown else Fraction(1)
        if shown:
            frame = over_black(frame, self._transparency)
        colours = frame.color_trc, frame.color_primaries
        form = FrameFormat.of(frame), orientation, aspect, colours
        if form != self._prepared:
            self._prepare(frame, orientation, aspect)
            self._prepared = form
        if self._geometry.box:
            by = Interpolation.AREA if self._width < frame.width else Interpolation.BICUBIC
            rgb = self._rgb(frame, self._width, frame.height, by)
            return fit_picture(orientation.apply(rgb), self._geometry)
        fitted = self._shrunk(frame) if self._shrinker else self._scaled(frame)
        return np.ascontiguousarray(orientation.apply(fitted, (1, 2)))

    def _prepare(self, frame: VideoFrame, orientation: Orientation, aspect: Fraction) -> None:
        """Compute everything that is the same for all frames of one format."""
        self._width = displayed_width(frame.width, aspect)
        quarter = 90 if orientation.transposed else 0
        reason = refusal(*upright_size(self._width, frame.height, quarter), self._geometry)
        hdr = describe_hdr(frame) if self._geometry.as_shown else ""
        if hdr and self._geometry.hdr == "refuse":
            reason = reason or f"{hdr}, and --hdr refuse was given"
        if reason:
            raise ValueError(reason)
        self._mapper = HdrMapper(frame) if hdr else None
        # Frames are turned last, when they are small.
        self._size = size = orientation.coded(self._geometry.size)
        placed = fit(self._width, frame.height, replace(self._geometry, size=size))
        shrinks = placed.width <= frame.width and placed.height <= frame.height
        same = (placed.width, placed.height) == (frame.width, frame.height)
        self._fit = replace(placed, shrinks=shrinks and not same)
        window = ResizeWindow(
            (placed.height, placed.width),
            (max(0, placed.top), max(0, placed.left)),
            (min(size.height, placed.height), min(size.width, placed.width)),
        )
        can = not self._geometry.box and not hdr and can_shrink(FrameFormat.of(frame), window)
        can &= all(plane.line_size > 0 for plane in frame.planes)  # some lie upside down
        self._shrinker = Shrinker(frame, window) if can else None

    def _shrunk(self, frame: VideoFrame) -> NDArray[np.uint8]:
        """Stored frame before it is turned, by exact area averaging."""
        assert self._shrinker
        shown = self._shrinker(frame)
        if shown.shape[1:] == self._size:
            return shown
        fitted = np.zeros((3, *self._size), np.uint8)
        top, left = max(0, -self._fit.top), max(0, -self._fit.left)
        fitted[:, top : top + shown.shape[1], left : left + shown.shape[2]] = shown
        return fitted

    def _scaled(self, frame: VideoFrame) -> NDArray[np.uint8]:
        """The same by libswscale: frames that grow, and formats that video files seldom have."""
        by = Interpolation.AREA if self._fit.shrinks else Interpolation.BICUBIC
        rgb = self._rgb(frame, self._fit.width, self._fit.height, by)
        return planes(_place(rgb, self._fit, self._size))

    def _rgb(
        self, frame: VideoFrame, width: int, height: int, interpolation: Interpolation
    ) -> NDArray[np.uint8]:
        """Convert to RGB and scale, shape (height, width, 3)."""
        try:
            converted = self._reformatter.reformat(
                frame,
                width=width,
                height=height,
                format="rgb48le" if self._mapper else "rgb24",
                # Matrix and range of the source are the frame's own; BT.601 where it names none.
                dst_color_range=ColorRange.JPEG,
                interpolation=interpolation | EXACT,
                threads=1,
            )
        except FFmpegError as error:
            raise ValueError(
                f"FFmpeg cannot convert its colours to RGB: {frame.format.name} by the matrix"
                f" {int(frame.colorspace)} of ITU-T H.273 ({error.strerror})"
            ) from None
        pixels = converted.to_ndarray()
        if self._mapper:
            return self._mapper(np.asarray(pixels, np.uint16))
        return np.asarray(pixels, np.uint8)


def fit_picture(rgb: NDArray[np.uint8], geometry: Geometry) -> NDArray[np.uint8]:
    """Crop and scale a picture.

    Args:
        rgb: uint8, upright, shape (H, W, 3).
        geometry: of the stored frame.

    Returns:
        uint8, shape (3, height, width) of the geometry's size.
    """
    if box := geometry.box:
        rgb = rgb[box.top : box.bottom, box.left : box.right]
    scaled = fit(rgb.shape[1], rgb.shape[0], geometry)
    by = Image.Resampling.BOX if scaled.shrinks else Image.Resampling.BICUBIC
    pixels = Image.fromarray(np.ascontiguousarray(rgb)).resize((scaled.width, scaled.height), by)
    return planes(_place(np.asarray(pixels), scaled, geometry.size))


def planes(rgb: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Move the colour axis first: (H, W, 3) -> (3, H, W), contiguous."""
    return np.ascontiguousarray(rgb.transpose(2, 0, 1))


def _place(scaled: NDArray[np.uint8], placed: Fit, size: FrameSize) -> NDArray[np.uint8]:
    """Cut the stored frame from a scaled one, black where it reaches over the edge."""
    top, left = placed.top, placed.left
    if left >= 0 and top >= 0:
        return scaled[top : top + size.height, left : left + size.width]
    fitted = np.zeros((*size, 3), np.uint8)
    fitted[-top : placed.height - top, -left : placed.width - left] = scaled
    return fitted
