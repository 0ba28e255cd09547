"""Records of videos: found, probed, timed, rejected; and the list of rejects in every store."""

from __future__ import annotations

import json
import os
from bisect import bisect_right
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from fractions import Fraction
from typing import Any, Literal

from shared.errors import StoreError
from shared.store.paths import Location, write_whole
from shared.store.store import REJECTED

Stage = Literal["discover", "probe", "plan", "extract", "select"]


@dataclass(frozen=True)
class Segment:
    """Stretch of a video's decoded frames, half-open: start <= frame < stop."""

    start: int
    stop: int


@dataclass(frozen=True)
class Found:
    """A video as it lies on disk: a file, a folder of images, a strip, or a record in a file.

    Attributes:
        path: relative to the root, `/` between folders.
        size_bytes: of the file, or of all images.
        mtime_ns: newest modification time, nanoseconds.
    """

    path: str
    size_bytes: int
    mtime_ns: int


@dataclass(frozen=True)
class Video:
    """A video with the label and subject that its name states.

    Attributes:
        path: relative to the root, `/` between folders.
        label: text of its content, or None.
        subject: person in it, or None.
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
class Performance:
    """A whole video, or one segment of it: the unit that a split never divides.

    Attributes:
        video: path relative to the root.
        segment: its number within the video, from 0.
        subject: person in it, or None.
    """

    video: str
    segment: int
    subject: str | None


@dataclass(frozen=True)
class Probe:
    """Facts about a video's frames that are known without decoding.

    Attributes:
        frames: number that a decoder should show; for some codecs a few more than it does.
        width: pixels.
        height: pixels.
        damage: broken or missing parts that show without decoding; empty if there are none.
        times: of the frames; None if they were not asked for.
        remarks: what its clips may show that nobody wants, and the remedy; alike for all videos
            of the kind.
    """

    frames: int
    width: int
    height: int
    damage: str = ""
    times: Times | None = None
    remarks: tuple[str, ...] = ()


@dataclass(frozen=True)
class Times:
    """Times at which a video's frames are shown, in units of `unit` seconds.

    Attributes:
        shown: start of every frame, ascending.
        end: of the last frame.
        unit: seconds.
    """

    shown: tuple[int, ...]
    end: int
    unit: Fraction

    def sample(self, segment: Segment, fps: float) -> tuple[int, ...]:
        """Frames shown at 0, 1/fps, 2/fps... seconds after a segment's first.

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
        # A tick within the slack of the end would show a frame after the segment.
        while (tick := len(frames) * step) < end - start - slack:
            frames.append(bisect_right(self.shown, start + tick + slack, hi=stop) - 1)
        return tuple(frames)


@dataclass(frozen=True)
class Reject:
    """A file that gave fewer clips than planned, or is damaged, and the reason.

    A file has one record of damage at most, and one for each other reason to leave clips out.

    Attributes:
        file: relative to the root.
        reason: in words.
        stage: at which it was rejected; `select` for clips left out as the options ask for it.
        clips_planned: clips that the file would give if it were whole.
        clips_made: clips that were not lost for this reason.
        frames_recovered: usable frames of a damaged video, in clips or not.
    """

    file: str
    reason: str
    stage: Stage
    clips_planned: int = 0
    clips_made: int = 0
    frames_recovered: int = 0

    def record(self) -> dict[str, Any]:
        """One line of `rejected.jsonl`, as plain data."""
        return asdict(self)


class DecodeError(Exception):
    """Frames of a video are damaged or missing.

    Attributes:
        frames: number of frames that are not.
        restarts: index of the first frame after each gap; no clip may hold frames of both sides.
        breaks: one more than the index of the last frame before each gap.
        trusted: frames that were given before are right; else none may be used.
    """

    def __init__(
        self,
        reason: str,
        frames: int,
        restarts: Sequence[int] = (),
        breaks: Sequence[int] = (),
        *,
        trusted: bool = True,
    ) -> None:
        super().__init__(reason)
        self.frames = frames
        self.restarts = tuple(restarts)
        self.breaks = tuple(breaks)
        self.trusted = trusted


def write_rejects(store: Location, rejects: Iterable[Reject]) -> None:
    """Write the rejects into a store, one JSON object a line."""
    lines = [json.dumps(reject.record(), ensure_ascii=False) + "\n" for reject in rejects]
    write_whole(store / REJECTED, "".join(lines).encode())


def read_rejects(store: Location) -> list[Reject]:
    """Read the rejects of a store; there are none before it is finalised.

    Raises:
        StoreError: the list is damaged.
    """
    path = store / REJECTED
    if not path.exists():
        return []
    # Not splitlines(): names may hold characters that it takes for the end of a line.
    try:
        lines = path.read_text(encoding="utf-8").split("\n")
        return [Reject(**json.loads(line)) for line in lines if line]
    except (ValueError, TypeError) as error:
        raise StoreError(
            f"{path} is damaged ({error}); restore it, or give the `run` command again"
        ) from None


def printable(path: str) -> str:
    """Escape the bytes of a path that are no UTF-8."""
    return os.fsencode(path).decode("utf-8", "backslashreplace")
