"""Where a video's frames come from: a file, a folder of images, a record; one module each.

Extraction, probing and verification ask a source the same four questions and know no more of it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from preprocess.frames.geometry import Geometry
from preprocess.records import Found, Probe, Reject, Times
from preprocess.sources import bair, images, video
from shared.schema import SourceKind
from shared.store.paths import Location, location


@dataclass(frozen=True)
class ProbeTask:
    """Videos for a worker to look into: names and numbers, never pixels.

    Attributes:
        source: what holds their frames.
        root: where the data set lies.
        paths: of the videos, relative to the root.
        geometry: how frames are to become squares.
        timed: whether the times of the frames are asked for.
    """

    source: SourceKind
    root: str
    paths: tuple[str, ...]
    geometry: Geometry
    timed: bool


class Source(Protocol):
    """One kind of source. Paths are the root and a video's name together."""

    def find(self, root: Path, files: Iterable[str]) -> Iterator[Found | Reject]:
        """The videos in files that match the manifest's glob, by paths relative to the root."""

    def probe(self, path: Location, geometry: Geometry) -> Probe | str:
        """How many frames a video has and how large they are, or why it cannot be used."""

    def times(self, path: Location) -> Times | str:
        """When each frame is shown, or why that is not known."""

    def decode(
        self, path: Location, wanted: list[int], geometry: Geometry, *, to_end: bool = False
    ) -> Iterator[tuple[int, NDArray[np.uint8]]]:
        """Wanted frames with their indices, uint8, shape (3, size, size).

        Those that damage may touch are left out. Raises DecodeError after the last, where damage
        was met; it is looked for beyond the last wanted frame too where `to_end` asks for that.
        """

    def recheck(
        self, path: Location, geometry: Geometry
    ) -> Iterator[tuple[int, NDArray[np.uint8]]]:
        """Every frame with its index, by another road than `decode`, for `verify`.

        Says nothing of frames that are damaged, or of a video that is not there.
        """


SOURCES: dict[SourceKind, Source] = {"video": video, "images": images, "bair": bair}
"""By the name that manifests use."""


def probe_many(task: ProbeTask) -> list[Probe | str]:
    """What each video holds, or why it cannot be used."""
    source = SOURCES[task.source]
    return [_probe(source, location(task.root) / path, task) for path in task.paths]


def _probe(source: Source, path: Location, task: ProbeTask) -> Probe | str:
    found = source.probe(path, task.geometry)
    if isinstance(found, str) or not task.timed:
        return found
    times = source.times(path)
    return times if isinstance(times, str) else replace(found, times=times)
