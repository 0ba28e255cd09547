"""What is known of a video file before it is decoded, and why one was turned down."""

from __future__ import annotations

import json
import os
from bisect import bisect_right
from collections.abc import Iterable
from dataclasses import dataclass
from fractions import Fraction
from typing import Any, Literal

from shared.store.paths import Location, write_whole
from shared.store.store import REJECTED

# MERGED: The list of rejects that lies in every store: one JSON object a line, sorted by file.


def write_rejects(store: Location, rejects: Iterable[Reject]) -> None:
    """One JSON object a line, sorted by file."""
    lines = [json.dumps(reject.record(), ensure_ascii=False) + "\n" for reject in rejects]
    write_whole(store / REJECTED, "".join(lines).encode())


def read_rejects(store: Location) -> list[Reject]:
    """What `write_rejects` wrote; empty before a store is finalised."""
    path = store / REJECTED
    if not path.exists():
        return []
    # Not splitlines(): names may hold characters that it takes for the end of a line.
    lines = path.read_text(encoding="utf-8").split("\n")
    return [Reject(**json.loads(line)) for line in lines if line]


Stage = Literal["discover", "probe", "plan", "extract"]


@dataclass(frozen=True)
class Segment:
    """A stretch of a video's decoded frames, half-open: start <= frame < stop."""

    start: int
    stop: int


@dataclass(frozen=True)
class Found:
    """A video as it lies on disk: a file, a folder of images, or a record in a file.

    Attributes:
        path: relative to the root, `/` between folders.
        size_bytes: of what holds its frames.
        mtime_ns: newest modification time, nanoseconds.
    """

    path: str
    size_bytes: int
    mtime_ns: int


@dataclass(frozen=True)
class Video:
    """Something that may be a video, with what its name says of it.

    Attributes:
        path: relative to the root, `/` between folders.
        label: text of what it shows, or None.
        subject: who it shows, or None.
        size_bytes: size of the file.
        mtime_ns: modification time, nanoseconds.
        segments: repetitions inside the file; empty means the whole file.
    """

    path: str
    label: str | None
    subject: str | None
    size_bytes: int
    mtime_ns: int
    segments: tuple[Segment, ...] = ()


@dataclass(frozen=True)
class Take:
    """One performance: a whole video, or one segment of it. What is never divided by a split.

    Attributes:
        video: path relative to the root.
        segment: its number within the video, from 0.
        subject: who it shows, or None.
    """

    video: str
    segment: int
    subject: str | None


@dataclass(frozen=True)
class Probe:
    """What is known of a video's frames before they are decoded.

    Attributes:
        frames: as many as a decoder is to show; a few more than it gives, for some codecs.
        width: pixels.
        height: pixels.
        damage: what is broken or missing, as far as shows without decoding; empty: nothing.
        times: when they are shown; None where that was not asked for.
    """

    frames: int
    width: int
    height: int
    damage: str = ""
    times: Times | None = None


@dataclass(frozen=True)
class Times:
    """When a video's frames are shown, in units of `unit` seconds.

    Attributes:
        shown: start of every frame, ascending.
        end: of the last one.
        unit: seconds.
    """

    shown: tuple[int, ...]
    end: int
    unit: Fraction

    def sample(self, segment: Segment, fps: float) -> tuple[int, ...]:
        """The frames shown at 0, 1/fps, 2/fps... seconds after a segment's first.

        Containers round times: half a unit is allowed for that, or half a millisecond where units
        are coarse, as they are then as long as a frame and exact.
        """
        stop = min(segment.stop, len(self.shown))
        if segment.start >= stop:
            return ()
        start = self.shown[segment.start]
        end = self.shown[stop] if stop < len(self.shown) else self.end
        step = 1 / (Fraction(str(fps)) * self.unit)
        slack = min(Fraction(1, 2), Fraction(1, 2000) / self.unit)
        frames: list[int] = []
        # A tick within the slack of the end would show what comes after the segment.
        while (tick := len(frames) * step) < end - start - slack:
            frames.append(bisect_right(self.shown, start + tick + slack, hi=stop) - 1)
        return tuple(frames)


@dataclass(frozen=True)
class Reject:
    """A file that gave fewer clips than it should have, or is damaged, and why.

    Attributes:
        file: relative to the root.
        reason: what is wrong with it.
        stage: that found it out.
        clips_planned: as if it were whole, as far as it is there.
        clips_made: those without damage.
        frames_recovered: usable frames of a damaged video, in clips or not.
    """

    file: str
    reason: str
    stage: Stage
    clips_planned: int = 0
    clips_made: int = 0
    frames_recovered: int = 0

    def record(self) -> dict[str, Any]:
        """As one line of `rejected.jsonl`."""
        return {
            "file": self.file,
            "reason": self.reason,
            "stage": self.stage,
            "clips_planned": self.clips_planned,
            "clips_made": self.clips_made,
            "frames_recovered": self.frames_recovered,
        }


def printable(path: str) -> str:
    """A path that can be written as UTF-8, whatever bytes the file's name is made of."""
    return os.fsencode(path).decode("utf-8", "backslashreplace")
