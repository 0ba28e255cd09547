"""Which clips a store will hold, in which order, in which partitions. Pure."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from preprocess.clip import span
from preprocess.videos import Probe, Reject, Segment, Video
from shared.schema import CodecOptions

SHARD_RGB_BYTES = 48 * 2**20
"""Raw bytes of the clips in a shard: large enough for object stores, small enough for memory."""

MAX_SHARD_CLIPS = 64
"""Keeps small frames from gathering into so few tasks that workers idle and nothing moves."""


@dataclass(frozen=True)
class Clip:
    """A clip that is to be made.

    Attributes:
        video: path relative to the root.
        start_frame: index of frame 0 among the decoded frames.
        label: text of what it shows, or None.
        subject: who it shows, or None.
        damaged: whether something of its video is known to be broken or missing.
    """

    video: str
    start_frame: int
    label: str | None
    subject: str | None
    damaged: bool = False


@dataclass(frozen=True)
class Plan:
    """The clips in their order, cut into partitions of whole shards.

    Attributes:
        clips: ordered by path, then by start.
        shard_clips: clips in a partition; the last may have fewer.
        rejects: videos that give no clip.
        hash: of the clips and of every used video's path, size and modification time.
    """

    clips: tuple[Clip, ...]
    shard_clips: int
    rejects: tuple[Reject, ...]
    hash: str

    def partition(self, index: int) -> tuple[Clip, ...]:
        """Clips of one partition."""
        return self.clips[index * self.shard_clips : (index + 1) * self.shard_clips]


def make_plan(videos: Sequence[Video], probes: Mapping[str, Probe], options: CodecOptions) -> Plan:
    """Lay out consecutive clips over every video, or over every segment of it.

    Args:
        videos: sorted by path.
        probes: by path.
        options: frames, stride and size are used here.
    """
    clips: list[Clip] = []
    rejects: list[Reject] = []
    for video in videos:
        frames, damage = probes[video.path].frames, probes[video.path].damage
        starts = video_starts(video.segments, frames, options)
        clips += [
            Clip(video.path, start, video.label, video.subject, bool(damage)) for start in starts
        ]
        reason = too_short(frames, video, options)
        if reason:
            reason = f"{damage}; {reason}" if damage else reason
            rejects.append(Reject(video.path, reason, "plan"))
    used = {clip.video for clip in clips}
    return Plan(
        clips=tuple(clips),
        shard_clips=shard_clips(options),
        rejects=tuple(rejects),
        hash=_hash(clips, [video for video in videos if video.path in used]),
    )


def video_starts(segments: Sequence[Segment], frames: int, options: CodecOptions) -> list[int]:
    """First frames of a video's clips: one after another without overlap in each segment.

    Args:
        segments: stretches to stay within; none means the whole video.
        frames: decoded frames in the video.
        options: frames and stride are used.
    """
    length, hop = span(options.frames, options.stride), options.frames * options.stride
    return [
        start
        for segment in segments or (Segment(0, frames),)
        for start in range(segment.start, min(segment.stop, frames) - length + 1, hop)
    ]


def shard_clips(options: CodecOptions) -> int:
    """Clips in a shard; depends on the options alone, never on how many workers there are."""
    clip_bytes = options.frames * 3 * options.size**2
    return min(MAX_SHARD_CLIPS, max(1, SHARD_RGB_BYTES // clip_bytes))


def too_short(frames: int, video: Video, options: CodecOptions) -> str:
    """Why a video, or some segments of it, give no clip; empty where all do."""
    needed = f"one clip at stride {options.stride} needs {span(options.frames, options.stride)}"
    if not video.segments:
        plural = "frame" if frames == 1 else "frames"
        return "" if video_starts((), frames, options) else f"{frames} {plural}; {needed}"
    short = sum(not video_starts((segment,), frames, options) for segment in video.segments)
    return f"{short} of {len(video.segments)} segments are too short; {needed}" if short else ""


def _hash(clips: Sequence[Clip], videos: Sequence[Video]) -> str:
    digest = hashlib.sha256()
    for clip in clips:
        digest.update(json.dumps([clip.video, clip.start_frame, clip.label, clip.subject]).encode())
    for video in videos:
        digest.update(json.dumps([video.path, video.size_bytes, video.mtime_ns]).encode())
    return digest.hexdigest()[:16]
