"""Pictures as videos: square frames side by side in one picture, or one below the other."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import numpy as np
from numpy.typing import NDArray
from PIL import ImageOps

from preprocess.frames.geometry import Geometry, refusal, square_rgb
from preprocess.records import DecodeError, Probe, Times
from preprocess.sources.images import UNREADABLE, describe, open_picture, read_picture
from preprocess.sources.independent_decode import square_independently
from preprocess.sources.video import find
from shared.store.paths import Location

__all__ = ["decode", "decode_independently", "find", "probe", "times"]


def probe(path: Location, geometry: Geometry) -> Probe | str:
    """Count the frames by the size of the picture, without reading pixels."""
    try:
        with open_picture(path) as picture:
            side, frames = _divide(*picture.size)
    except Exception as error:  # one file's failure, of any kind, must not end the others
        return f"cannot be opened as a strip of frames: {describe(error)}"
    return refusal(side, side, geometry) or Probe(frames, side, side)


def times(path: Location) -> Times | str:
    """Refuse: a picture does not state when its frames are shown."""
    return "a strip of frames does not say when they are shown"


def decode(
    path: Location, wanted: Iterable[int], geometry: Geometry, *, to_end: bool = False
) -> Iterator[tuple[int, NDArray[np.uint8]]]:
    """Read the wanted frames of a picture; raises DecodeError if it is damaged.

    It is read as a whole, so `to_end` changes nothing.
    """
    try:
        rgb = read_picture(path)  # (S, T S, 3), or (T S, S, 3)
        side, frames = _divide(rgb.shape[1], rgb.shape[0])
        if reason := refusal(side, side, geometry):
            raise ValueError(reason)
    except UNREADABLE as error:
        raise DecodeError(f"the picture cannot be read: {describe(error)}", 0) from None
    row = rgb.reshape(side, -1, side, 3).swapaxes(0, 1)  # (T, S, S, 3)
    strip = row if rgb.shape[0] == side else rgb.reshape(-1, side, side, 3)
    for index in wanted:
        if index >= frames:
            raise DecodeError(f"the picture holds {frames} frames", frames)
        yield index, square_rgb(strip[index], geometry)


def decode_independently(
    path: Location, geometry: Geometry
) -> Iterator[tuple[int, NDArray[np.uint8]]]:
    """Cut every frame out of the picture by Pillow; none of a picture that cannot be read."""
    try:
        with open_picture(path) as picture:
            upright = ImageOps.exif_transpose(picture).convert("RGB")
        side, frames = _divide(*upright.size)
    except UNREADABLE:
        return  # extraction reports damage
    right, down = (side, 0) if upright.width > side else (0, side)
    for n in range(frames):
        box = (n * right, n * down, n * right + side, n * down + side)
        yield n, square_independently(np.asarray(upright.crop(box)), geometry)


def _divide(width: int, height: int) -> tuple[int, int]:
    """Side of a strip's frames, pixels, and their number; raises ValueError if it is no strip."""
    side = min(width, height)
    if max(width, height) % side:
        raise ValueError(f"{width}x{height} pixels are no row of squares")
    return side, max(width, height) // side
