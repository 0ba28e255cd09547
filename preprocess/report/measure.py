"""What a sample of clips says of the whole: vectors, residuals, and the energy vectors leave."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from preprocess.motion.encode import restore_clip
from shared.report.pictures import evenly
from shared.schema import CodecOptions
from shared.store.store import Store

# MERGED: Which clips of a store the page measures and shows: drawn by a seed, whatever its size.


MOST_LABELS, CLIPS_OF_A_LABEL, CLIPS_IN_ALL = 48, 2, 16
NO_LABEL = "(no label)"


@dataclass(frozen=True)
class Sample:
    """Positions among the valid clips.

    Attributes:
        measured: for the statistics, int64, rising.
        shown: for the contact sheets, by label, in the store's order of labels.
        labels: how many labels have clips; more than `shown` has where there are many.
    """

    measured: NDArray[np.int64]
    shown: dict[str, NDArray[np.int64]]
    labels: int


def draw_sample(
    label: NDArray[np.int16],
    subject: NDArray[np.int16],
    names: tuple[str, ...],
    count: int,
    seed: int,
) -> Sample:
    """Clips at random, each label's of different subjects where it has them.

    Args:
        label: index of each valid clip's label, -1 where it has none, shape (N,).
        subject: likewise, of its subject.
        names: of the labels.
        count: clips to measure at most.
        seed: the same seed draws the same clips.
    """
    rng = np.random.default_rng(seed)
    measured = rng.permutation(len(label))[:count]
    present = np.unique(label)
    chosen = present[evenly(len(present), MOST_LABELS)]
    each = max(CLIPS_OF_A_LABEL, CLIPS_IN_ALL // max(1, len(present)))
    order = rng.permutation(len(label))
    shown = {
        NO_LABEL if index < 0 else names[index]: _of_many_subjects(
            order[label[order] == index], subject, each
        )
        for index in sorted(chosen.tolist(), key=lambda index: (index < 0, index))
    }
    return Sample(np.sort(measured), shown, len(present))


def _of_many_subjects(
    candidates: NDArray[np.int64], subject: NDArray[np.int16], count: int
) -> NDArray[np.int64]:
    """The first of each subject, then whatever comes."""
    first = np.sort(np.unique(subject[candidates], return_index=True)[1])
    rest = np.setdiff1d(np.arange(len(candidates)), first)
    return candidates[np.concatenate([first, rest])[:count]]


Counts = NDArray[np.int64]
Energy = NDArray[np.float64]

_VECTORS, _RESIDUALS = 128, 255
_SHARES = 24
"""Bins of `block_shares`; the last one also takes what is above it."""
SHARE_EDGES = np.linspace(0, 1.2, _SHARES + 1)
_STILL = 1.0
"""Mean squared difference, grey levels squared, below which a block counts as not changing."""


@dataclass(frozen=True)
class Clip:
    """One clip as it is stored, and its frames."""

    frames: NDArray[np.uint8]
    motion: NDArray[np.int8]
    residual: NDArray[np.int16]


@dataclass
class Measured:
    """Sums over clips.

    Attributes:
        options: of the store.
        clips: how many were added.
        vectors: how often each component occurs, x and y, from -128 to 127, in vector units.
        moving: blocks whose vector is not zero.
        from_first: blocks that chose frame 0, where blocks choose their reference.
        residuals: how often each difference occurs, from -255 to 255.
        before, after: squared difference to the reference frame, and what the vectors leave of it,
            by block of the grid: shape (h, w).
        frame_before, frame_after: the same by frame 1...T-1, shape (T-1,).
        block_shares: blocks that change and have a vector other than zero, or chose frame 0, by
            the share of their energy that is left.
        unmoved: blocks that change under a zero vector, which leaves all of it.
        still: blocks that do not change.
    """

    options: CodecOptions
    clips: int = 0
    vectors: Counts = field(default_factory=lambda: np.zeros((2, 2 * _VECTORS), np.int64))
    moving: int = 0
    from_first: int = 0
    residuals: Counts = field(default_factory=lambda: np.zeros(2 * _RESIDUALS + 1, np.int64))
    before: Energy = field(init=False)
    after: Energy = field(init=False)
    frame_before: Energy = field(init=False)
    frame_after: Energy = field(init=False)
    block_shares: Counts = field(default_factory=lambda: np.zeros(_SHARES, np.int64))
    unmoved: int = 0
    still: int = 0

    def __post_init__(self) -> None:
        self.before, self.after = np.zeros((2, *self.options.grid))
        self.frame_before, self.frame_after = np.zeros((2, self.options.frames - 1))

    @property
    def blocks(self) -> int:
        """Vectors that were looked at."""
        return self.clips * (self.options.frames - 1) * int(np.prod(self.options.grid))

    @property
    def pixels(self) -> int:
        """Of one frame of all clips."""
        return self.clips * self.options.size**2

    def add(self, clip: Clip) -> None:
        """Count one clip."""
        self.clips += 1
        for axis in range(2):
            shifted = clip.motion[:, axis].astype(np.int64).ravel() + _VECTORS
            self.vectors[axis] += np.bincount(shifted, minlength=2 * _VECTORS)
        self.moving += int(np.count_nonzero(clip.motion[:, :2].any(axis=1)))
        self.from_first += int(np.count_nonzero(clip.motion[:, 2:]))
        values = clip.residual.astype(np.int64).ravel() + _RESIDUALS
        self.residuals += np.bincount(values, minlength=2 * _RESIDUALS + 1)
        change = clip.frames[1:].astype(np.int32) - reference_frames(clip.frames, self.options)
        before, after = (block_energy(v, self.options.block) for v in (change, clip.residual))
        self._add_energy(before, after, np.any(clip.motion, axis=1))

    def _add_energy(self, before: Energy, after: Energy, moved: NDArray[np.bool_]) -> None:
        self.before += before.sum(axis=0)
        self.after += after.sum(axis=0)
        self.frame_before += before.sum(axis=(1, 2))
        self.frame_after += after.sum(axis=(1, 2))
        size = (1, 3, self.options.size, self.options.size)
        changing = before > _STILL * block_energy(np.ones(size), self.options.block)
        self.still += int(np.count_nonzero(~changing))
        self.unmoved += int(np.count_nonzero(changing & ~moved))
        both = changing & moved
        shares = (after[both] / before[both]).clip(0, SHARE_EDGES[-1])
        self.block_shares += np.histogram(shares, SHARE_EDGES)[0]


def read_clip(store: Store, index: int) -> Clip:
    """One valid clip with its frames."""
    options = store.options
    motion, residual = store.clip("motion", index), store.clip("residual", index)
    frames = restore_clip(
        store.clip("first_frame", index),
        motion,
        residual,
        options.codec,
    )
    return Clip(frames, motion, residual)


def reference_frames(frames: NDArray[np.uint8], options: CodecOptions) -> NDArray[np.uint8]:
    """For frames 1...T-1 the frame that a zero vector would repeat."""
    return frames[:1] if options.reference == "first" else frames[:-1]


def block_energy(values: NDArray[Any], block: int) -> Energy:
    """Sums of squares over blocks and channels.

    Args:
        values: shape (T-1, 3, H, W); blocks over the edge are cut.
        block: block size, pixels.

    Returns:
        Shape (T-1, ceil(H/b), ceil(W/b)).
    """
    squares = np.square(values, dtype=np.float64).sum(axis=1)
    for axis in (1, 2):
        squares = np.add.reduceat(squares, np.arange(0, squares.shape[axis], block), axis=axis)
    return squares
