"""Geometry and timing: which pixels of which frames make a clip."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class Fit:
    """How a frame is scaled, and where the square is cut out of it; all in scaled pixels."""

    width: int
    height: int
    left: int
    top: int
    shrinks: bool
    """Whether scaling loses pixels: area averaging then, bicubic interpolation otherwise."""


def fit(width: int, height: int, size: int) -> Fit:
    """Scale the shorter side to `size`, then cut the middle out of the longer one.

    Args:
        width: of the coded frame, pixels.
        height: of the coded frame, pixels.
        size: height and width of the square, pixels.
    """
    shorter = min(width, height)
    scaled_width, scaled_height = (
        max(size, (2 * side * size + shorter) // (2 * shorter)) for side in (width, height)
    )
    left, top = (scaled_width - size) // 2, (scaled_height - size) // 2
    return Fit(scaled_width, scaled_height, left, top, shorter > size)


def frame_indices(start: int, frames: int, stride: int) -> range:
    """Indices of a clip's frames among the decoded frames of its video."""
    return range(start, start + span(frames, stride), stride)


def span(frames: int, stride: int) -> int:
    """Decoded frames from a clip's first to its last, both included."""
    return (frames - 1) * stride + 1


def assemble(
    decoded: Iterable[tuple[int, NDArray[np.uint8]]],
    starts: Iterable[int],
    frames: int,
    stride: int,
) -> Iterator[tuple[int, NDArray[np.uint8]]]:
    """Gather clips from a stream of frames, holding only those that are under way.

    Args:
        decoded: index and frame, uint8 (3, H, W), in ascending order.
        starts: first frame's index of every clip; clips may overlap.
        frames: T.
        stride: every how many decoded frames one is taken.

    Yields:
        A clip's start and its frames, uint8, shape (T, 3, H, W), as soon as the last is there.
        A clip of which a frame is missing is left out.
    """
    wanted: dict[int, list[int]] = {}
    for start in starts:
        for index in frame_indices(start, frames, stride):
            wanted.setdefault(index, []).append(start)
    under_way: dict[int, list[NDArray[np.uint8]]] = {}
    for index, frame in decoded:
        for start in wanted.get(index, ()):
            gathered = under_way.setdefault(start, [])
            gathered.append(frame)
            if len(gathered) == frames:
                yield start, np.stack(under_way.pop(start))
        _forget_broken(under_way, index, stride)


def _forget_broken(under_way: dict[int, list[NDArray[np.uint8]]], index: int, stride: int) -> None:
    """Drop clips that missed a frame up to this one, so that their frames are not held."""
    for start, gathered in list(under_way.items()):
        if start + len(gathered) * stride <= index:
            del under_way[start]
