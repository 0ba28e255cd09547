"""Timing: which frames of a video make its clips, and gathering them from a stream."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from shared.schema import ClipPolicy, CodecOptions

Frames = Sequence[int]
"""Ascending indices among a video's decoded frames; taken by time, some may repeat."""


def choose_clips(sampled: Frames, options: CodecOptions, name: str) -> list[Frames]:
    """Lay clips over a video, or over one segment of it.

    Args:
        sampled: the frames there are to choose from.
        options: clips, frames, stride, hop and seed are used here.
        name: of the video and segment; decides, with the seed, what `random_sorted` draws.

    Returns:
        Frames of each clip; none where there are too few to choose from.
    """
    if len(sampled) < span(options):
        return []
    return _POLICIES[options.clips](sampled, options, name)


def span(options: CodecOptions) -> int:
    """Sampled frames that a clip needs: from its first to its last, both included."""
    return (options.frames - 1) * options.stride + 1


def _windows(sampled: Frames, options: CodecOptions, name: str) -> list[Frames]:
    """Consecutive clips; one begins `hop` frames after the one before."""
    length, hop = span(options), options.hop or options.frames * options.stride
    return [
        sampled[start : start + length : options.stride]
        for start in range(0, len(sampled) - length + 1, hop)
    ]


def _span(sampled: Frames, options: CodecOptions, name: str) -> list[Frames]:
    """One clip from the first frame to the last, the others as evenly between as rounding lets."""
    last, gaps = len(sampled) - 1, options.frames - 1
    return [tuple(sampled[(2 * n * last + gaps) // (2 * gaps)] for n in range(options.frames))]


def _random_sorted(sampled: Frames, options: CodecOptions, name: str) -> list[Frames]:
    """One clip of frames drawn without repetition, every set of them as likely as any other."""
    digest = hashlib.sha256(f"{options.seed}\n{name}".encode()).digest()
    # Raw numbers, because numpy promises that these stay the same in later versions.
    keys = np.random.PCG64(int.from_bytes(digest[:16], "little")).random_raw(len(sampled))
    drawn = np.argsort(keys, kind="stable")[: options.frames]
    return [tuple(sampled[n] for n in sorted(drawn.tolist()))]


_POLICIES: dict[ClipPolicy, Callable[[Frames, CodecOptions, str], list[Frames]]] = {
    "windows": _windows,
    "span": _span,
    "random_sorted": _random_sorted,
}


def assemble(
    decoded: Iterable[tuple[int, NDArray[np.uint8]]], clips: Sequence[Frames]
) -> Iterator[tuple[int, NDArray[np.uint8]]]:
    """Gather clips from a stream of frames, holding only those that are under way.

    Args:
        decoded: index and frame, uint8 (3, H, W), in ascending order; indices may be missing.
        clips: frames of each clip; clips may overlap.

    Yields:
        A clip's position in `clips` and its frames, uint8, shape (T, 3, H, W), as soon as the
        last is there. A clip of which a frame is missing is left out.
    """
    wanted: dict[int, list[int]] = {}
    for position, frames in enumerate(clips):
        for index in frames:
            wanted.setdefault(index, []).append(position)
    under_way: dict[int, list[NDArray[np.uint8]]] = {}
    for index, frame in decoded:
        for position in wanted.get(index, ()):
            under_way.setdefault(position, []).append(frame)
        for position, gathered in list(under_way.items()):
            if len(gathered) == len(clips[position]):
                yield position, np.stack(under_way.pop(position))
            elif clips[position][len(gathered)] <= index:
                # It missed a frame: those that it has need not be held until its end.
                del under_way[position]
