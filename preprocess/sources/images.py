"""Folders of images as videos: one frame a file, in the order of the numbers in their names."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Iterator
from itertools import pairwise
from pathlib import Path, PurePosixPath

import numpy as np
from numpy.typing import NDArray

from preprocess.frames.geometry import MAX_PIXELS, Geometry, fit_picture, refusal
from preprocess.records import DecodeError, Found, Probe, Reject, Times, printable
from preprocess.sources.independent_decode import fit_independently
from shared.picture_files import PictureError, picture_size, read_picture
from shared.store.paths import Location

SUFFIXES = (".jpg", ".jpeg", ".png", ".bmp", ".ppm", ".tif", ".tiff", ".webp")
"""Endings of the files that are frames."""

_REGULAR = 0.8
"""Part of the steps from number to number that must be equal, for another one to be a gap."""

_UNNUMBERED = (
    "some frames have no number in their names, and come by the alphabet; move away what is none"
)
_JUMPS = "numbers of frames jump, as if some were missing; clips take what is there for neighbours"


def find(root: Path, files: Iterable[str]) -> Iterator[Found | Reject]:
    """Take every folder that holds some of the files for a video."""
    for folder in sorted({PurePosixPath(name).parent.as_posix() for name in files}):
        try:
            statuses = [path.stat() for path in frame_files(root / folder)]
        except OSError as error:
            yield Reject(printable(folder), f"a frame cannot be read: {error.strerror}", "discover")
            continue
        newest = max((status.st_mtime_ns for status in statuses), default=0)
        yield Found(folder, sum(status.st_size for status in statuses), newest)


def frame_files(folder: Location) -> list[Location]:
    """Frames of a folder in order; `2.jpg` comes before `10.jpg`."""
    frames = (
        path
        for path in folder.iterdir()
        if path.suffix.lower() in SUFFIXES and not path.name.startswith(".")
    )
    return sorted(frames, key=lambda path: _natural(path.name))


def probe(path: Location, geometry: Geometry) -> Probe | str:
    """Count the frames and read the size of the first one."""
    try:
        files = frame_files(path)
        if not files:
            return "no images in the folder"
        width, height = picture_size(files[0], max_pixels=MAX_PIXELS)
    except (OSError, PictureError) as error:
        return f"its first frame cannot be opened: {error}"
    numbers = [_numbers(file.name) for file in files]
    unfit = _twins(files, numbers) or refusal(width, height, geometry)
    return unfit or Probe(len(files), width, height, remarks=_remarks(numbers))


def times(path: Location) -> Times | str:
    """Refuse: images do not state when they are shown."""
    return "a folder of images does not say when its frames are shown"


def decode(
    path: Location, wanted: Iterable[int], geometry: Geometry, *, to_end: bool = False
) -> Iterator[tuple[int, NDArray[np.uint8]]]:
    """Read the wanted frames of a folder, leaving out those that are damaged.

    Raises:
        DecodeError: after the last frame, if any was damaged or missing.
    """
    files = frame_files(path)
    damage: dict[int, str] = {}
    for index in wanted:
        if index >= len(files):
            raise DecodeError(f"the folder holds {len(files)} frames", len(files))
        try:
            rgb = _read(files[index], geometry)
        except PictureError as error:
            damage[index] = str(error)
        else:
            yield index, fit_picture(rgb, geometry)
    # Once there is damage, usable frames are counted in the whole video.
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
    """Damage of each frame that cannot be used, by index."""
    damage: dict[int, str] = {}
    for index, file in enumerate(files):
        try:
            _read(file, geometry)
        except PictureError as error:
            damage[index] = str(error)
    return damage


def decode_independently(
    path: Location, geometry: Geometry
) -> Iterator[tuple[int, NDArray[np.uint8]]]:
    """Read every frame of a folder, cut to the crop box before it is scaled."""
    for index, file in enumerate(frame_files(path) if path.is_dir() else []):
        try:
            yield index, fit_independently(_read(file, geometry), geometry)
        except PictureError:
            # Extraction reports damage; the clips around it must still agree.
            continue


def _read(file: Location, geometry: Geometry) -> NDArray[np.uint8]:
    """Read an image as upright RGB, shape (H, W, 3); raises PictureError if it does not fit."""
    rgb = read_picture(file, max_pixels=MAX_PIXELS)
    reason = refusal(rgb.shape[1], rgb.shape[0], geometry)
    if reason:
        raise PictureError(reason)
    return rgb


def _numbers(name: str) -> tuple[int, ...]:
    """Numbers in a file's name."""
    return tuple(int(part) for part in re.findall(r"[0-9]+", name.rpartition(".")[0]))


def _twins(files: list[Location], numbers: list[tuple[int, ...]]) -> str:
    """Two frames of one number, in words: pictures and masks, or two cameras; empty if none are."""
    known: dict[tuple[int, ...], str] = {}
    for file, number in zip(files, numbers, strict=True):
        twin = known.setdefault(number, file.name)
        if number and twin != file.name:
            pair = f"{printable(twin)} and {printable(file.name)}"
            return f"{pair} have the same number; give pictures of each kind a folder of their own"
    return ""


def _remarks(numbers: list[tuple[int, ...]]) -> tuple[str, ...]:
    remarks = [_JUMPS] if _jumps(numbers) else []
    if any(numbers) and not all(numbers):
        remarks.append(_UNNUMBERED)
    return tuple(remarks)


def _jumps(numbers: list[tuple[int, ...]]) -> bool:
    """Test whether frames that are numbered in equal steps lack some of them."""
    steps = Counter(
        tuple(b - a for a, b in zip(one, other, strict=False))
        for one, other in pairwise(filter(None, numbers))
    )
    usual, times = steps.most_common(1)[0] if steps else ((), 0)
    # Some names are times, which have no step of their own.
    return len(steps) > 1 and any(usual) and times >= _REGULAR * steps.total()


def _natural(name: str) -> tuple[list[tuple[int, str]], str]:
    """Sort key that compares numbers in names as numbers."""
    parts = re.findall(r"\d+|\D+", name)
    return [(int(part), "") if part.isdecimal() else (-1, part) for part in parts], name
