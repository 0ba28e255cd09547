"""A folder of images is a video: one frame a file, in the order of the numbers in their names."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from pathlib import Path, PurePosixPath

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps, UnidentifiedImageError

from preprocess.frames.geometry import Geometry, refusal, square_rgb, upright_size
from preprocess.records import Found, Probe, Reject, Times, printable
from preprocess.sources.decode import DecodeError
from preprocess.sources.independent_decode import recheck_picture
from shared.store.paths import Location

SUFFIXES = (".jpg", ".jpeg", ".png", ".bmp", ".ppm", ".tif", ".tiff", ".webp")
"""Files that are frames; others in the folder are none."""

_UNREADABLE = (OSError, SyntaxError, ValueError, Image.DecompressionBombError)
"""What Pillow raises for files that it cannot read."""

_ORIENTATION, _TURNED = 0x0112, (5, 6, 7, 8)
"""EXIF's tag for how a picture is to be turned, and its values that swap width and height."""


def find(root: Path, files: Iterable[str]) -> Iterator[Found | Reject]:
    """One video for every folder that holds some of the files."""
    for folder in sorted({PurePosixPath(name).parent.as_posix() for name in files}):
        try:
            statuses = [path.stat() for path in frame_files(root / folder)]
        except OSError as error:
            yield Reject(printable(folder), f"a frame cannot be read: {error.strerror}", "discover")
            continue
        newest = max((status.st_mtime_ns for status in statuses), default=0)
        yield Found(folder, sum(status.st_size for status in statuses), newest)


def frame_files(folder: Location) -> list[Location]:
    """The frames of a folder; `2.jpg` comes before `10.jpg`."""
    frames = (path for path in folder.iterdir() if path.suffix.lower() in SUFFIXES)
    return sorted(frames, key=lambda path: _natural(path.name))


def probe(path: Location, geometry: Geometry) -> Probe | str:
    """Count the frames and look at the first one's size."""
    try:
        files = frame_files(path)
        if not files:
            return "no images in the folder"
        with _opened(files[0]) as image:
            turned = image.getexif().get(_ORIENTATION) in _TURNED
            width, height = upright_size(*image.size, 90 if turned else 0)
    except Exception as error:  # one folder's failure, of any kind, must not end the others
        return f"its first frame cannot be opened: {_message(error)}"
    return refusal(width, height, geometry) or Probe(len(files), width, height)


def times(path: Location) -> Times | str:
    """Files carry no times."""
    return "a folder of images does not say when its frames are shown"


def decode(
    path: Location, wanted: Iterable[int], geometry: Geometry, *, to_end: bool = False
) -> Iterator[tuple[int, NDArray[np.uint8]]]:
    """The wanted frames of a folder, leaving out those that are damaged.

    Raises:
        DecodeError: after the last frame, where any was damaged or missing.
    """
    files = frame_files(path)
    damage: dict[int, str] = {}
    for index in wanted:
        if index >= len(files):
            raise DecodeError(f"the folder holds {len(files)} frames", len(files))
        try:
            rgb = _read(files[index], geometry)
        except _UNREADABLE as error:
            damage[index] = _message(error)
        else:
            yield index, square_rgb(rgb, geometry)
    # Once there is damage, what can be saved is counted in the whole of the video.
    if damage or to_end:
        damage |= _damage(files, geometry)
    if damage:
        raise _error(files, damage)


def _error(files: list[Location], damage: dict[int, str]) -> DecodeError:
    first = min(damage)
    more = f", and {len(damage) - 1} more" if len(damage) > 1 else ""
    reason = f"frame {first}, {files[first].name}: {damage[first]}{more}"
    restarts = sorted(index + 1 for index in damage if index + 1 not in damage)
    return DecodeError(reason, len(files) - len(damage), restarts)


def _damage(files: list[Location], geometry: Geometry) -> dict[int, str]:
    """What is wrong with each frame that cannot be used, by index."""
    damage: dict[int, str] = {}
    for index, file in enumerate(files):
        try:
            _read(file, geometry)
        except _UNREADABLE as error:
            damage[index] = _message(error)
    return damage


def recheck(path: Location, geometry: Geometry) -> Iterator[tuple[int, NDArray[np.uint8]]]:
    """The same images, cut before they are scaled."""
    for index, file in enumerate(frame_files(path) if path.is_dir() else []):
        try:
            yield index, recheck_picture(_read(file, geometry), geometry)
        except _UNREADABLE:
            # Damage is for extraction to name; the clips around it must still agree.
            continue


def _read(file: Location, geometry: Geometry) -> NDArray[np.uint8]:
    """Upright RGB, shape (H, W, 3), of which the square can be made."""
    with _opened(file) as image:
        rgb = np.asarray(ImageOps.exif_transpose(image).convert("RGB"))
    reason = refusal(rgb.shape[1], rgb.shape[0], geometry)
    if reason:
        raise ValueError(reason)
    return rgb


def _opened(file: Location) -> Image.Image:
    image = Image.open(str(file))
    reason = refusal(*image.size, Geometry(1, "stretch"))
    if reason:
        image.close()
        raise ValueError(reason)
    return image


def _natural(name: str) -> tuple[list[tuple[int, str]], str]:
    """Sort key in which numbers count as numbers."""
    parts = re.findall(r"\d+|\D+", name)
    return [(int(part), "") if part.isdecimal() else (-1, part) for part in parts], name


def _message(error: Exception) -> str:
    if isinstance(error, UnidentifiedImageError):
        return "not an image"
    return str(getattr(error, "strerror", None) or error or type(error).__name__)
