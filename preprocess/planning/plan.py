"""Which clips a store will hold, in which order, in which partitions. Pure."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from preprocess.planning.clips import Frames, choose_clips, span
from preprocess.records import Probe, Reject, Segment, Take, Video
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
        segment: number of the segment it is from, 0 where the video has none.
        frames: index of every frame among the decoded frames, ascending.
        label: text of what it shows, or None.
        subject: who it shows, or None.
        sides: train, test or neither by each split protocol.
        damaged: whether something of its video is known to be broken or missing.
    """

    video: str
    segment: int
    frames: Frames
    label: str | None
    subject: str | None
    sides: tuple[int, ...] = ()
    damaged: bool = False


@dataclass(frozen=True)
class Plan:
    """The clips in their order, cut into partitions of whole shards.

    Attributes:
        clips: ordered by path, then by start.
        shard_clips: clips in a partition; the last may have fewer.
        rejects: videos that give no clip.
        hash: of the clips, their sides, and every used video's path, size and modification time.
    """

    clips: tuple[Clip, ...]
    shard_clips: int
    rejects: tuple[Reject, ...]
    hash: str

    def partition(self, index: int) -> tuple[Clip, ...]:
        """Clips of one partition."""
        return self.clips[index * self.shard_clips : (index + 1) * self.shard_clips]


def make_plan(
    videos: Sequence[Video],
    probes: Mapping[str, Probe],
    options: CodecOptions,
    divide: Callable[[Sequence[Take]], Sequence[tuple[int, ...]]] = lambda takes: [()] * len(takes),
) -> Plan:
    """Lay out clips over every video, or over every segment of it.

    Args:
        videos: sorted by path.
        probes: by path.
        options: the policy, its numbers, and size are used here.
        divide: gives the sides of all takes that clips are made of; see `preprocess.planning.splits`.
    """
    takes: list[tuple[Take, Video, list[Frames]]] = []
    rejects: list[Reject] = []
    for video in videos:
        probe = probes[video.path]
        of_video = video_clips(video, probe, options)
        takes += [
            (Take(video.path, number, video.subject), video, found)
            for number, found in enumerate(of_video)
            if found
        ]
        reason = too_short(of_video, probe, video, options)
        if reason:
            reason = f"{probe.damage}; {reason}" if probe.damage else reason
            rejects.append(Reject(video.path, reason, "plan"))
    sides = divide([take for take, _, _ in takes])
    clips = [
        Clip(
            video.path,
            take.segment,
            frames,
            video.label,
            video.subject,
            side,
            bool(probes[video.path].damage),
        )
        for (take, video, found), side in zip(takes, sides, strict=True)
        for frames in found
    ]
    used = {take.video for take, _, _ in takes}
    return Plan(
        clips=tuple(clips),
        shard_clips=shard_clips(options),
        rejects=tuple(rejects),
        hash=_hash(clips, [video for video in videos if video.path in used]),
    )


def video_clips(video: Video, probe: Probe, options: CodecOptions) -> list[list[Frames]]:
    """Frames of a video's clips, by segment; a video without segments counts as one."""
    segments = video.segments or (Segment(0, probe.frames),)
    return [
        choose_clips(_sampled(segment, probe, options), options, f"{video.path}#{number}")
        for number, segment in enumerate(segments)
    ]


def _sampled(segment: Segment, probe: Probe, options: CodecOptions) -> Frames:
    """Frames that a segment's clips are chosen from: all, or those that time picks."""
    if options.fps is not None and probe.times is not None:
        return probe.times.sample(segment, options.fps)
    return range(segment.start, max(segment.start, min(segment.stop, probe.frames)))


def shard_clips(options: CodecOptions) -> int:
    """Clips in a shard; depends on the options alone, never on how many workers there are."""
    clip_bytes = options.frames * 3 * options.size**2
    return min(MAX_SHARD_CLIPS, max(1, SHARD_RGB_BYTES // clip_bytes))


def too_short(
    of_video: Sequence[Sequence[Frames]], probe: Probe, video: Video, options: CodecOptions
) -> str:
    """Why a video, or some segments of it, give no clip; empty where all do."""
    short = sum(not found for found in of_video)
    if not short:
        return ""
    rate = "" if options.fps is None else f" at {options.fps:g} frames a second"
    stride = f" at stride {options.stride}" if options.clips == "windows" else ""
    needed = f"one clip{stride} needs {span(options)}"
    if video.segments:
        return f"{short} of {len(of_video)} segments are too short{rate}; {needed}"
    frames = len(_sampled(Segment(0, probe.frames), probe, options))
    return f"{frames} {'frame' if frames == 1 else 'frames'}{rate}; {needed}"


def _hash(clips: Sequence[Clip], videos: Sequence[Video]) -> str:
    digest = hashlib.sha256()
    for clip in clips:
        told = [clip.video, clip.segment, _told(clip.frames), clip.label, clip.subject, clip.sides]
        digest.update(json.dumps(told).encode())
    for video in videos:
        digest.update(json.dumps([video.path, video.size_bytes, video.mtime_ns]).encode())
    return digest.hexdigest()[:16]


def _told(frames: Frames) -> list[int]:
    """Enough to tell frames from others; a clip of even steps is three numbers."""
    if isinstance(frames, range):
        return [frames.start, frames.stop, frames.step]
    return list(frames)
