"""Sources of frames: video files (by PyAV or ffmpeg), image folders, strips, records of BAIR.

Discovery, probing, extraction and verification use a source through the protocol `Source` only.
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
from preprocess.sources import bair, ffmpeg, images, strips, video
from shared.schema import CodecOptions, SourceKind
from shared.store.paths import Location, location


@dataclass(frozen=True)
class ProbeTask:
    """Videos that a worker is to probe: names and numbers, never pixels.

    Attributes:
        source: kind of the videos.
        root: folder of the data set.
        paths: of the videos, relative to the root.
        geometry: of the stored frames.
        timed: read the times of the frames too.
    """

    source: SourceKind
    root: str
    paths: tuple[str, ...]
    geometry: Geometry
    timed: bool


class Source(Protocol):
    """Kind of videos. Paths are the root joined with a video's name."""

    def find(self, root: Path, files: Iterable[str]) -> Iterator[Found | Reject]:
        """Find the videos in files that match the manifest's glob, given relative to the root."""

    def probe(self, path: Location, geometry: Geometry) -> Probe | str:
        """Count and measure the frames of a video; a text is the reason why it cannot be used."""

    def times(self, path: Location) -> Times | str:
        """Times at which frames are shown; a text is the reason why they are unknown."""

    def decode(
        self, path: Location, wanted: list[int], geometry: Geometry, *, to_end: bool = False
    ) -> Iterator[tuple[int, NDArray[np.uint8]]]:
        """Decode wanted frames with their indices, uint8, shape (3, H, W).

        Frames that damage may touch are left out. Raises DecodeError after the last one if damage
        was found; with `to_end` it is looked for beyond the last wanted frame too.
        """

    def decode_independently(
        self, path: Location, geometry: Geometry
    ) -> Iterator[tuple[int, NDArray[np.uint8]]]:
        """Decode every frame with its index, by other code than `decode`, for `verify`.

        Skips frames that are damaged; a video that is missing has none.
        """


SOURCES: dict[SourceKind, Source] = {
    "video": video,
    "images": images,
    "strips": strips,
    "bair": bair,
}
"""Sources by the name that manifests use."""


def source_of(kind: SourceKind, options: CodecOptions) -> Source:
    """Source of a store's frames: video files may be decoded by an ffmpeg program."""
    return ffmpeg if options.decoder == "ffmpeg" else SOURCES[kind]


def probe_many(task: ProbeTask) -> list[Probe | str]:
    """Probe videos; a text is the reason why one cannot be used."""
    return [_probe(location(task.root) / path, task) for path in task.paths]


def _probe(path: Location, task: ProbeTask) -> Probe | str:
    source = SOURCES[task.source]
    found = source.probe(path, task.geometry)
    if isinstance(found, str) or not task.timed:
        return found
    times = source.times(path)
    return times if isinstance(times, str) else replace(found, times=times)
