"""Pictures as videos: square frames side by side in one picture, or one below the other."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from preprocess.frames.geometry import MAX_PIXELS, Geometry, fit_picture, refusal
from preprocess.records import DecodeError, Probe, Times
from preprocess.sources.independent_decode import fit_independently
from preprocess.sources.video import find
from shared.picture_files import PictureError, picture_size, read_picture
from shared.store.paths import Location

__all__ = ["decode", "decode_independently", "find", "probe", "times"]


def probe(path: Location, geometry: Geometry) -> Probe | str:
    """Count the frames by the size of the picture, without reading pixels."""
    try:
        side, frames = _divide(*picture_size(path, max_pixels=MAX_PIXELS))
    except PictureError as error:
        return f"cannot be opened as a strip of frames: {error}"
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
        rgb = _read(path)  # (S, T S, 3), or (T S, S, 3)
        side, frames = _divide(rgb.shape[1], rgb.shape[0])
        if reason := refusal(side, side, geometry):
            raise PictureError(reason)
    except PictureError as error:
        raise DecodeError(f"the picture cannot be read: {error}", 0) from None
    row = rgb.reshape(side, -1, side, 3).swapaxes(0, 1)  # (T, S, S, 3)
    strip = row if rgb.shape[0] == side else rgb.reshape(-1, side, side, 3)
    for index in wanted:
        if index >= frames:
            raise DecodeError(f"the picture holds {frames} frames", frames)
        yield index, fit_picture(strip[index], geometry)


def decode_independently(
    path: Location, geometry: Geometry
) -> Iterator[tuple[int, NDArray[np.uint8]]]:
    """Cut every frame out of the picture by Pillow; none of a picture that cannot be read."""
    try:
        upright = Image.fromarray(_read(path))
        side, frames = _divide(*upright.size)
    except PictureError:
        return  # extraction reports damage
    right, down = (side, 0) if upright.width > side else (0, side)
    for n in range(frames):
        box = (n * right, n * down, n * right + side, n * down + side)
        yield n, fit_independently(np.asarray(upright.crop(box)), geometry)


def _read(path: Location) -> NDArray[np.uint8]:
    return read_picture(path, max_pixels=MAX_PIXELS)


def _divide(width: int, height: int) -> tuple[int, int]:
    """Side of a strip's frames, pixels, and their number; raises PictureError if it is no strip."""
    side = min(width, height)
    if max(width, height) % side:
        raise PictureError(f"{width}x{height} pixels are no row of squares")
    return side, max(width, height) // side
