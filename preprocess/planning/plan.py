"""Plan of a store: its clips, their frames, their order and its partitions. Pure."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from preprocess.records import Performance, Probe, Reject, Segment, Video
from shared.schema import ClipPolicy, CodecOptions

Frames = Sequence[int]
"""Ascending indices among a video's decoded frames; taken by time, some may repeat."""

SHARD_RGB_BYTES = 48 * 2**20
"""Raw bytes of a shard's clips: large enough for object stores, small enough for memory."""

MAX_SHARD_CLIPS = 64
"""Clips in a shard at most, so that small frames still make enough tasks for all workers."""


@dataclass(frozen=True)
class Clip:
    """Clip to make.

    Attributes:
        video: path relative to the root.
        segment: number of its segment, 0 if the video has none.
        frames: index of every frame among the decoded frames, ascending.
        label: text of its content, or None.
        subject: person in it, or None.
        sides: train, test or neither, by each split protocol.
        damaged: parts of its video are known to be broken or missing.
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
    """Clips in their order, cut into partitions of whole shards.

    Attributes:
        clips: ordered by path, then by segment, then by start or draw.
        shard_clips: clips in a partition; the last may have fewer.
        rejects: videos that give no clip.
        hash: of the clips, their sides, and every used video's path, size and modification time.
    """

    clips: tuple[Clip, ...]
    shard_clips: int
    rejects: tuple[Reject, ...]
    hash: str

    def partition(self, index: int) -> tuple[Clip, ...]:
        """Clips of a partition."""
        return self.clips[index * self.shard_clips : (index + 1) * self.shard_clips]


def make_plan(
    videos: Sequence[Video],
    probes: Mapping[str, Probe],
    options: CodecOptions,
    divide: Callable[[Sequence[Performance]], Sequence[tuple[int, ...]]] = lambda of: (
        [()] * len(of)
    ),
) -> Plan:
    """Lay clips over every video, or over every segment of it.

    Args:
        videos: sorted by path.
        probes: by path.
        options: the clip policy, its numbers, and size are used here.
        divide: gives the sides of all performances with clips; see `preprocess.planning.splits`.
    """
    performances: list[tuple[Performance, Video, list[Frames]]] = []
    rejects: list[Reject] = []
    for video in videos:
        probe = probes[video.path]
        by_segment = video_clips(video, probe, options)
        performances += [
            (Performance(video.path, number, video.subject), video, found)
            for number, found in enumerate(by_segment)
            if found
        ]
        reason = too_short(by_segment, probe, video, options)
        if reason:
            reason = f"{probe.damage}; {reason}" if probe.damage else reason
            rejects.append(Reject(video.path, reason, "plan"))
    sides = divide([performance for performance, _, _ in performances])
    clips = [
        Clip(
            video.path,
            performance.segment,
            frames,
            video.label,
            video.subject,
            side,
            bool(probes[video.path].damage),
        )
        for (performance, video, found), side in zip(performances, sides, strict=True)
        for frames in found
    ]
    used = {performance.video for performance, _, _ in performances}
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
    """Frames that a segment's clips are chosen from: all, or those sampled by time."""
    if options.fps is not None and probe.times is not None:
        return probe.times.sample(segment, options.fps)
    return range(segment.start, max(segment.start, min(segment.stop, probe.frames)))


def shard_clips(options: CodecOptions) -> int:
    """Clips in a shard; depends on the options only, never on the number of workers."""
    clip_bytes = options.frames * 3 * options.size.pixels
    return min(MAX_SHARD_CLIPS, max(1, SHARD_RGB_BYTES // clip_bytes))


def too_short(
    by_segment: Sequence[Sequence[Frames]], probe: Probe, video: Video, options: CodecOptions
) -> str:
    """Reason why a video, or some of its segments, give no clip; empty if all do."""
    short = sum(not found for found in by_segment)
    if not short:
        return ""
    rate = "" if options.fps is None else f" at {options.fps:g} frames a second"
    stride = f" at stride {options.stride}" if options.clips == "windows" else ""
    needed = f"one clip{stride} needs {span(options)}"
    if video.segments:
        return f"{short} of {len(by_segment)} segments are too short{rate}; {needed}"
    frames = len(_sampled(Segment(0, probe.frames), probe, options))
    return f"{frames} {'frame' if frames == 1 else 'frames'}{rate}; {needed}"


def _hash(clips: Sequence[Clip], videos: Sequence[Video]) -> str:
    digest = hashlib.sha256()
    for clip in clips:
        # A range stands for its three numbers: most clips are one.
        frames = (
            [clip.frames.start, clip.frames.stop, clip.frames.step]
            if isinstance(clip.frames, range)
            else list(clip.frames)
        )
        facts = [clip.video, clip.segment, frames, clip.label, clip.subject, clip.sides]
        digest.update(json.dumps(facts).encode())
    for video in videos:
        digest.update(json.dumps([video.path, video.size_bytes, video.mtime_ns]).encode())
    return digest.hexdigest()[:16]


def choose_clips(sampled: Frames, options: CodecOptions, name: str) -> list[Frames]:
    """Lay clips over a video, or over one segment of it.

    Args:
        sampled: frames to choose from.
        options: clips, frames, stride, hop, seed and draws are used here.
        name: of the video and segment; with the seed and the draw's number, it decides what the
            random policies draw.

    Returns:
        Frames of each clip; no clip where there are too few frames.
    """
    if len(sampled) < span(options):
        return []
    return _POLICIES[options.clips](sampled, options, name)


def span(options: CodecOptions) -> int:
    """Fewest sampled frames that a clip spans, from its first to its last, both included."""
    stride = 1 if options.clips == "random_stride" else options.stride
    return (options.frames - 1) * stride + 1


def _windows(sampled: Frames, options: CodecOptions, name: str) -> list[Frames]:
    """Consecutive clips, whose starts are `hop` frames apart."""
    length, hop = span(options), options.hop or options.frames * options.stride
    return [
        sampled[start : start + length : options.stride]
        for start in range(0, len(sampled) - length + 1, hop)
    ]


def _span(sampled: Frames, options: CodecOptions, name: str) -> list[Frames]:
    """One clip from the first frame to the last, with evenly spaced frames between, rounded."""
    return [tuple(sampled[n] for n in _even_grid(len(sampled), options.frames))]


def _even_grid(count: int, frames: int) -> list[int]:
    """Evenly spaced integers, the first 0, the last count - 1; halves are rounded up."""
    last, gaps = count - 1, frames - 1
    return [(2 * n * last + gaps) // (2 * gaps) for n in range(frames)]


def _random_sorted(sampled: Frames, options: CodecOptions, name: str) -> list[Frames]:
    """Clips of frames drawn without repetition, all sets being equally likely."""
    clips: list[Frames] = []
    for draw in range(options.draws):
        keys = _random_words(options.seed, name, draw, len(sampled))
        drawn = np.argsort(keys, kind="stable")[: options.frames]
        clips.append(tuple(sampled[n] for n in sorted(drawn.tolist())))
    return clips


def _jittered(sampled: Frames, options: CodecOptions, name: str) -> list[Frames]:
    """Clips of the frames of `span`, moved at random and sorted, as LFDM's code does for MHAD.

    Each frame but the first and last moves to any place strictly between its two neighbours on the
    even grid, all being equally likely; neighbours that move to one place give a frame twice.
    """
    grid = _even_grid(len(sampled), options.frames)
    clips: list[Frames] = []
    for draw in range(options.draws):
        words = _random_words(options.seed, name, draw, options.frames).tolist()
        moved = [
            before + 1 + (word * (after - before - 1) >> 64)
            for before, after, word in zip(grid[:-2], grid[2:], words[1:-1], strict=True)
        ]
        clips.append(tuple(sampled[n] for n in sorted([grid[0], *moved, grid[-1]])))
    return clips


def _random_stride(sampled: Frames, options: CodecOptions, name: str) -> list[Frames]:
    """Clips of every n-th frame: n is drawn among those up to `stride` that fit, then the place.

    It is what MoVideo (Liang et al., ECCV 2024) does with a random frame rate.
    """
    gaps = options.frames - 1
    clips: list[Frames] = []
    for draw in range(options.draws):
        words = _random_words(options.seed, name, draw, 2).tolist()
        stride = 1 + (words[0] * min(options.stride, (len(sampled) - 1) // gaps) >> 64)
        start = words[1] * (len(sampled) - gaps * stride) >> 64
        clips.append(sampled[start : start + gaps * stride + 1 : stride])
    return clips


def _random_words(seed: int, name: str, draw: int, count: int) -> NDArray[np.uint64]:
    """Random 64-bit numbers that seed, name and draw alone decide, shape (count,)."""
    text = f"{seed}\n{name}" + (f"\n{draw}" if draw else "")
    digest = hashlib.sha256(text.encode()).digest()
    # Raw numbers, because numpy promises that these stay the same in later versions.
    return np.random.PCG64(int.from_bytes(digest[:16], "little")).random_raw(count)


_POLICIES: dict[ClipPolicy, Callable[[Frames, CodecOptions, str], list[Frames]]] = {
    "windows": _windows,
    "span": _span,
    "random_sorted": _random_sorted,
    "jittered": _jittered,
    "random_stride": _random_stride,
}


def assemble(
    decoded: Iterable[tuple[int, NDArray[np.uint8]]], clips: Sequence[Frames]
) -> Iterator[tuple[int, NDArray[np.uint8]]]:
    """Gather clips from a stream of frames, holding only clips that have begun.

    Args:
        decoded: index and frame, uint8 (3, H, W), in ascending order; indices may be missing.
        clips: frames of each clip; clips may overlap.

    Yields:
        A clip's position in `clips` and its frames, uint8, shape (T, 3, H, W), as soon as it is
        complete. A clip with a missing frame is left out.
    """
    wanted: dict[int, list[int]] = {}
    for position, frames in enumerate(clips):
        for index in frames:
            wanted.setdefault(index, []).append(position)
    begun: dict[int, list[NDArray[np.uint8]]] = {}
    for index, frame in decoded:
        for position in wanted.get(index, ()):
            begun.setdefault(position, []).append(frame)
        for position, gathered in list(begun.items()):
            if len(gathered) == len(clips[position]):
                yield position, np.stack(begun.pop(position))
            elif clips[position][len(gathered)] <= index:
                # A frame is missing: the others need not be held any longer.
                del begun[position]
