"""What is known of a video file before it is decoded, and why one was turned down."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

Stage = Literal["discover", "probe", "plan", "extract"]


@dataclass(frozen=True)
class Segment:
    """A stretch of a video's decoded frames, half-open: start <= frame < stop."""

    start: int
    stop: int


@dataclass(frozen=True)
class Video:
    """A file that may be a video.

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
class Probe:
    """What a container says of its video stream.

    Attributes:
        frames: packets that a decoder is to show; a few more than it gives, for some codecs.
        width: pixels.
        height: pixels.
        damage: what is broken or missing, as far as shows without decoding; empty: nothing.
    """

    frames: int
    width: int
    height: int
    damage: str = ""


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
