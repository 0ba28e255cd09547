"""A second road from video file to RGB frames, for `verify`.

It shares with `preprocess.decode` the decoder and scaler underneath, but neither its packet loop,
its threading and its scaler's life time, nor its cropping and turning. (FFmpeg's own scale filter
would be further away still, but it does not see where a frame's chroma samples lie.)
"""

from __future__ import annotations

from collections.abc import Iterator
from fractions import Fraction
from math import floor

import av
import numpy as np
from av.error import FFmpegError
from av.video.frame import VideoFrame
from av.video.reformatter import Interpolation
from av.video.stream import VideoStream
from numpy.typing import NDArray
from PIL import Image

from preprocess.geometry import Geometry
from shared.paths import Location, openable

HALF = Fraction(1, 2)


def recheck_frames(path: Location, geometry: Geometry) -> Iterator[tuple[int, NDArray[np.uint8]]]:
    """All frames of a video until the first that fails, with their indices.

    Yields:
        Index and frame, uint8 RGB, shape (3, size, size).
    """
    with av.open(openable(path), "r", metadata_errors="replace") as container:
        stream = container.streams.best("video")
        if not isinstance(stream, VideoStream):
            return
        stream.thread_type = "AUTO"
        try:
            for index, frame in enumerate(container.decode(stream)):
                if geometry.box:
                    upright = _upright(_scaled(frame, frame.width, frame.height), frame.rotation)
                    yield index, recheck_picture(upright, geometry)
                else:
                    square = _upright(_square(frame, geometry), frame.rotation)
                    yield index, square.transpose(2, 0, 1)
        except FFmpegError:
            # Damage is for extraction to name; clips from before it must still agree.
            return


def recheck_picture(rgb: NDArray[np.uint8], geometry: Geometry) -> NDArray[np.uint8]:
    """A picture cut to the crop box first, then scaled: (H, W, 3) to (3, size, size)."""
    picture = Image.fromarray(np.ascontiguousarray(rgb))
    if box := geometry.box:
        picture = picture.crop((box.left, box.top, box.right, box.bottom))
    width, height = _scaled_size(picture.width, picture.height, geometry)
    grows = width > picture.width or height > picture.height or picture.size == (width, height)
    scaled = picture.resize(
        (width, height), Image.Resampling.BICUBIC if grows else Image.Resampling.BOX
    )
    return _middle(np.asarray(scaled), geometry.size).transpose(2, 0, 1)


def _square(frame: VideoFrame, geometry: Geometry) -> NDArray[np.uint8]:
    """The middle of a scaled frame, shape (size, size, 3)."""
    width, height = _scaled_size(frame.width, frame.height, geometry)
    return _middle(_scaled(frame, width, height), geometry.size)


def _scaled_size(width: int, height: int, geometry: Geometry) -> tuple[int, int]:
    if geometry.fit == "stretch":
        return geometry.size, geometry.size
    ratio = Fraction(geometry.size, {"crop": min, "pad": max}[geometry.fit](width, height))
    return max(1, floor(width * ratio + HALF)), max(1, floor(height * ratio + HALF))


def _scaled(frame: VideoFrame, width: int, height: int) -> NDArray[np.uint8]:
    grows = width > frame.width or height > frame.height
    same = (width, height) == (frame.width, frame.height)
    scaled = frame.reformat(
        format="rgb24",
        width=width,
        height=height,
        interpolation=(Interpolation.BICUBIC if grows or same else Interpolation.AREA)
        | Interpolation.BITEXACT
        | Interpolation.ACCURATE_RND,
    )
    return np.asarray(scaled.to_ndarray(), np.uint8)


def _middle(pixels: NDArray[np.uint8], size: int) -> NDArray[np.uint8]:
    """Cut down to the middle square, or filled up to it with black."""
    height, width = pixels.shape[:2]
    rows, columns = max(0, size - height), max(0, size - width)
    # A frame that lacks one pixel more at one side has it at the end; one too many, too.
    around = ((-(-rows // 2), rows // 2), (-(-columns // 2), columns // 2), (0, 0))
    filled = np.pad(pixels, around)
    top, left = (filled.shape[0] - size) // 2, (filled.shape[1] - size) // 2
    return filled[top : top + size, left : left + size]


def _upright(pixels: NDArray[np.uint8], degrees: float) -> NDArray[np.uint8]:
    """Turn counter-clockwise; shape (height, width, 3)."""
    turned = {
        0: pixels,
        90: pixels.transpose(1, 0, 2)[::-1],
        180: pixels[::-1, ::-1],
        270: pixels.transpose(1, 0, 2)[:, ::-1],
    }
    return turned[round(degrees / 90) * 90 % 360]
