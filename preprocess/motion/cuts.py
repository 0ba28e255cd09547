"""Find scene cuts, fades and dissolves within a clip.

Frames are compared as thumbnails, by the motion search and its residual. Frame b does not follow
from frame a where predicting it from a by motion costs more than coding it alone, block by block
(the choice by which x264 places key frames at scene cuts), and where the colours differ, too: noise
that no vector predicts leaves the histogram as it is.

- A cut lies before frame n if none of the frames after it follows from one before it. Looking a few
  frames to both sides, a flash is no cut.
- A fade or dissolve passes from a to b, which does not follow from a, through their average.
"""

from __future__ import annotations

from typing import Literal

import numpy as np
from numba import njit
from numpy.typing import NDArray

from preprocess.motion.encode import clip_residual, find_motion
from preprocess.motion.kernels.candidate_key import JIT
from shared.motion_statistics import SEARCH
from shared.schema import CodecOptions

Transition = Literal["scene cut", "fade or dissolve"]

THUMBNAIL_PX = 64
"""Shorter side of a thumbnail at least; frames that are smaller are their own thumbnails."""

FLASH_FRAMES = 3
"""Longest interruption after which the scene goes on without a cut."""

HISTOGRAM_SHIFT = 3.0
"""Least shift of a histogram between two scenes, grey levels."""

MIXED_FRAMES = (4, 8)
"""Distances of the two frames whose average is looked for between them; the longest, too."""

MIX_ERROR = 0.25
"""Largest difference from the average, of the difference between the two frames.

On real clips fades and dissolves leave 0.04 to 0.08, and motion 0.49 or more.
"""

_SEARCH = CodecOptions(**SEARCH)


def find_transition(clip: NDArray[np.uint8]) -> Transition | None:
    """First kind of transition between scenes that a clip spans, or None.

    Args:
        clip: uint8 RGB, shape (T, 3, H, W).
    """
    frames = thumbnails(clip)
    if any(_cut_before(frames, n) for n in range(1, len(frames))):
        return "scene cut"
    if any(not follows(frames[a], frames[b]) for a, b in mixed_pairs(frames)):
        return "fade or dissolve"
    return None


def _cut_before(frames: NDArray[np.uint8], n: int) -> bool:
    """Test whether frame n and those after it do not follow from those before it."""
    if follows(frames[n - 1], frames[n]):
        return False
    before = range(max(0, n - 1 - FLASH_FRAMES), n)
    after = range(n, min(len(frames), n + 1 + FLASH_FRAMES))
    return not any(follows(frames[a], frames[b]) for a in before for b in after)


def mixed_pairs(frames: NDArray[np.uint8]) -> list[tuple[int, int]]:
    """Pairs of frames (a, b) with their average midway between them, by every fourth pixel.

    Args:
        frames: uint8, shape (T, 3, h, w).
    """
    pixels = frames[:, :, ::4, ::4].reshape(len(frames), -1).astype(np.int16)  # (T, P)
    found = []
    for distance in sorted({*MIXED_FRAMES, (len(frames) - 1) // 2 * 2} - {0, 2}):
        first, last = pixels[:-distance], pixels[distance:]
        middle = pixels[distance // 2 :][: len(last)]
        error = np.abs(2 * middle - first - last).sum(axis=1, dtype=np.int64) / 2
        change = np.abs(last - first).sum(axis=1, dtype=np.int64)
        starts = np.flatnonzero((change > 0) & (error <= MIX_ERROR * change))
        found += [(a, a + distance) for a in starts.tolist()]
    return found


def follows(first: NDArray[np.uint8], second: NDArray[np.uint8]) -> bool:
    """Test whether a frame can be predicted from another one, or has the same histogram.

    Args:
        first: uint8 RGB thumbnail, shape (3, h, w).
        second: likewise.
    """
    # A histogram shifts by no more than the mean difference, which is the cheaper one to compute.
    difference = np.abs(second.astype(np.int16) - first).sum(dtype=np.int64)
    if difference < HISTOGRAM_SHIFT * first.size:
        return True
    if histogram_shift(first, second) < HISTOGRAM_SHIFT:
        return True
    return prediction_error(first, second) < deviation_in_blocks(second) + 1


def histogram_shift(first: NDArray[np.uint8], second: NDArray[np.uint8]) -> float:
    """1-Wasserstein distance of two frames' histograms, mean of the channels, grey levels."""
    counts = [[np.bincount(plane.ravel(), minlength=256) for plane in f] for f in (first, second)]
    rises = np.cumsum(counts, axis=-1)  # (2, 3, 256)
    return float(np.abs(rises[1] - rises[0]).sum() / second.size)


def prediction_error(first: NDArray[np.uint8], second: NDArray[np.uint8]) -> float:
    """Mean absolute residual of a frame that is predicted from another one, grey levels."""
    pair = np.stack([first, second])
    motion = find_motion(pair, _SEARCH, _SEARCH.method)
    return float(np.abs(clip_residual(pair, motion, _SEARCH.codec)).mean())


def deviation_in_blocks(frame: NDArray[np.uint8]) -> float:
    """Mean absolute deviation of a frame's pixels from the means of their blocks, grey levels."""
    edges = [np.arange(0, side, _SEARCH.block) for side in frame.shape[1:]]
    sums = frame.astype(np.float64)
    for axis, (starts, side) in enumerate(zip(edges, frame.shape[1:], strict=True), start=1):
        lengths = np.diff(starts, append=side)
        means = np.add.reduceat(sums, starts, axis) / np.expand_dims(lengths, (0, 3 - axis))
        sums = np.repeat(means, lengths, axis)
    return float(np.abs(frame - sums).mean())


def thumbnails(clip: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Shrink frames by the largest whole factor that leaves `THUMBNAIL_PX`; means are rounded.

    Args:
        clip: uint8, shape (T, 3, H, W).

    Returns:
        uint8, shape (T, 3, H // k, W // k); rows and columns that are left over are cut off.
    """
    frames, channels, height, width = clip.shape
    factor = max(1, min(height, width) // THUMBNAIL_PX)
    if factor == 1:
        return np.ascontiguousarray(clip)
    small = np.empty((frames, channels, height // factor, width // factor), np.uint8)
    _shrink_into(np.ascontiguousarray(clip).reshape(-1, height, width), factor, small)
    return small


@njit(cache=True, **JIT)
def _shrink_into(planes: NDArray[np.uint8], factor: int, small: NDArray[np.uint8]) -> None:
    """Average squares of factor x factor pixels.

    Args:
        planes: uint8, shape (P, H, W).
        factor: k.
        small: receives the means, uint8, P H/k W/k values in C order.
    """
    height, width = planes.shape[1] // factor, planes.shape[2] // factor
    flat, count = small.reshape(-1, height, width), factor * factor
    sums = np.empty(width * factor, np.uint32)
    for n in range(planes.shape[0]):
        for y in range(height):
            # Down first: whole rows are added by vector instructions.
            sums[:] = 0
            for j in range(y * factor, (y + 1) * factor):
                for i in range(width * factor):
                    sums[i] += planes[n, j, i]
            for x in range(width):
                total = np.uint32(count // 2)
                for i in range(x * factor, (x + 1) * factor):
                    total += sums[i]
                flat[n, y, x] = total // count
