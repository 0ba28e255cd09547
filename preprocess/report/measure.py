"""Statistics of a sample of a store's clips: vectors, residuals, and the energy of both."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from preprocess.motion.encode import restore_clip
from shared.report.pictures import evenly_spaced
from shared.schema import CodecOptions
from shared.store.store import Store

MAX_LABELS, CLIPS_PER_LABEL, CLIPS_IN_ALL = 48, 2, 16
"""Labels shown at most; clips of each, more if so few labels have clips that fewer are shown."""

NO_LABEL = "(no label)"


@dataclass(frozen=True)
class Sample:
    """Positions among the valid clips.

    Attributes:
        measured: clips of the statistics, int64, rising.
        shown: clips of the contact sheets by label, in the store's order of labels.
        labels: number of labels that have clips; `shown` has at most `MAX_LABELS` of them.
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
    """Draw clips at random, those of a label from different subjects if possible.

    Args:
        label: index of each valid clip's label, -1 for none, shape (N,).
        subject: index of each valid clip's subject, -1 for none, shape (N,).
        names: of the labels.
        count: largest number of clips to measure.
        seed: the same seed draws the same clips.
    """
    rng = np.random.default_rng(seed)
    measured = rng.permutation(len(label))[:count]
    present = np.unique(label)
    chosen = present[evenly_spaced(len(present), MAX_LABELS)]
    each = max(CLIPS_PER_LABEL, CLIPS_IN_ALL // max(1, len(present)))
    order = rng.permutation(len(label))
    shown = {
        NO_LABEL if index < 0 else names[index]: _first_of_each_subject(
            order[label[order] == index], subject, each
        )
        for index in sorted(chosen.tolist(), key=lambda index: (index < 0, index))
    }
    return Sample(np.sort(measured), shown, len(present))


def _first_of_each_subject(
    candidates: NDArray[np.int64], subject: NDArray[np.int16], count: int
) -> NDArray[np.int64]:
    """The first candidate of each subject, then the others in order, `count` in all."""
    first = np.sort(np.unique(subject[candidates], return_index=True)[1])
    rest = np.setdiff1d(np.arange(len(candidates)), first)
    return candidates[np.concatenate([first, rest])[:count]]


Counts = NDArray[np.int64]
Energy = NDArray[np.float64]

_VECTOR_BOUND, _RESIDUAL_BOUND = 128, 255
RATIO_EDGES = np.linspace(0, 1.2, 25)
"""Bins of `block_ratios`; the last one also holds larger values."""
_STILL = 1.0
"""Mean squared difference up to which a block counts as unchanged, grey levels squared."""


@dataclass(frozen=True)
class Clip:
    """A stored clip and its frames: uint8 (T, 3, H, W), int8 and int16 as in the store."""

    frames: NDArray[np.uint8]
    motion: NDArray[np.int8]
    residual: NDArray[np.int16]


@dataclass
class Statistics:
    """Sums over clips.

    Attributes:
        options: of the store.
        clips: number of clips added.
        lengths_px: mean vector length of each clip, pixels.
        vectors: number of blocks by component, x and y, and value, -128 to 127 vector units.
        moving: number of blocks whose vector is not zero.
        from_first: number of blocks that chose frame 0, if blocks choose their reference.
        residuals: number of residual values by value, -255 to 255.
        before, after: squared difference to the reference frame, and squared residual, by block of
            the grid, shape (h, w).
        frame_before, frame_after: the same by frame 1...T-1, shape (T-1,).
        block_ratios: number of blocks by after / before, of those that change and have a vector
            other than zero or chose frame 0.
        unmoved: number of blocks that change and have a zero vector, which leaves all their energy.
        still: number of blocks that do not change.
    """

    options: CodecOptions
    clips: int = 0
    lengths_px: list[float] = field(default_factory=list)
    vectors: Counts = field(default_factory=lambda: np.zeros((2, 2 * _VECTOR_BOUND), np.int64))
    moving: int = 0
    from_first: int = 0
    residuals: Counts = field(default_factory=lambda: np.zeros(2 * _RESIDUAL_BOUND + 1, np.int64))
    before: Energy = field(init=False)
    after: Energy = field(init=False)
    frame_before: Energy = field(init=False)
    frame_after: Energy = field(init=False)
    block_ratios: Counts = field(default_factory=lambda: np.zeros(len(RATIO_EDGES) - 1, np.int64))
    unmoved: int = 0
    still: int = 0

    def __post_init__(self) -> None:
        self.before, self.after = np.zeros((2, *self.options.grid))
        self.frame_before, self.frame_after = np.zeros((2, self.options.frames - 1))

    @property
    def blocks(self) -> int:
        """Number of vectors in all clips."""
        return self.clips * (self.options.frames - 1) * int(np.prod(self.options.grid))

    @property
    def frame_values(self) -> int:
        """Number of values in one frame of all clips."""
        return self.clips * 3 * self.options.size.pixels

    @property
    def energy_left(self) -> float | None:
        """Share of the change's energy that vectors leave; None where nothing changes."""
        before, after = self.before.sum(), self.after.sum()
        return float(after / before) if before else None

    @property
    def psnr_db(self) -> tuple[float, float]:
        """PSNR of the reference repeated, and of vectors alone, dB; NaN where they are exact."""
        energy = np.array([self.before.sum(), self.after.sum()])
        repeated, vectors = psnr(energy / max(1, self.frame_values * (self.options.frames - 1)))
        return float(repeated), float(vectors)

    def add(self, clip: Clip) -> None:
        """Count one clip."""
        self.clips += 1
        self.lengths_px.append(mean_length_px(clip.motion, self.options.vector_unit))
        for axis in range(2):
            shifted = clip.motion[:, axis].astype(np.int64).ravel() + _VECTOR_BOUND
            self.vectors[axis] += np.bincount(shifted, minlength=2 * _VECTOR_BOUND)
        self.moving += int(np.count_nonzero(clip.motion[:, :2].any(axis=1)))
        self.from_first += int(np.count_nonzero(clip.motion[:, 2:]))
        values = clip.residual.astype(np.int64).ravel() + _RESIDUAL_BOUND
        self.residuals += np.bincount(values, minlength=2 * _RESIDUAL_BOUND + 1)
        self._add_energy(clip)

    def _add_energy(self, clip: Clip) -> None:
        block = self.options.block
        # The frame that a zero vector would repeat, for each of frames 1...T-1.
        reference = clip.frames[:1] if self.options.reference == "first" else clip.frames[:-1]
        before = block_energy(clip.frames[1:].astype(np.int32) - reference, block)
        after = block_energy(clip.residual, block)
        self.before += before.sum(axis=0)
        self.after += after.sum(axis=0)
        self.frame_before += before.sum(axis=(1, 2))
        self.frame_after += after.sum(axis=(1, 2))
        changing = before > _STILL * block_energy(np.ones((1, 3, *self.options.size)), block)
        self.still += int(np.count_nonzero(~changing))
        moved = np.any(clip.motion, axis=1)
        self.unmoved += int(np.count_nonzero(changing & ~moved))
        both = changing & moved
        ratios = (after[both] / before[both]).clip(0, RATIO_EDGES[-1])
        self.block_ratios += np.histogram(ratios, RATIO_EDGES)[0]


def read_clip(store: Store, index: int) -> Clip:
    """Read a valid clip and restore its frames."""
    motion, residual = store.clip("motion", index), store.clip("residual", index)
    frames = restore_clip(
        store.clip("first_frame", index),
        motion,
        residual,
        store.options.codec,
    )
    return Clip(frames, motion, residual)


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


def mean_length_px(motion: NDArray[np.int8], vector_unit: int) -> float:
    """Mean length of a clip's vectors, shape (T-1, 2 or 3, h, w), pixels."""
    lengths = np.hypot(*np.moveaxis(motion[:, :2].astype(np.float64), 1, 0))
    return float(lengths.mean()) / vector_unit


def psnr(error: NDArray[np.float64]) -> NDArray[np.float64]:
    """PSNR in dB of mean squared errors in grey levels; NaN for an error of 0."""
    positive = error > 0
    return np.where(positive, 10 * np.log10(255.0**2 / np.where(positive, error, 1)), np.nan)


def longest_vectors(
    lengths_px: Sequence[float], measured: NDArray[np.int64], videos: Sequence[str], count: int
) -> list[int]:
    """Positions of the measured clips with the longest vectors, one a video.

    Args:
        lengths_px: mean vector length of each measured clip, shape (N,).
        measured: their positions, shape (N,).
        videos: the video of each valid clip.
        count: largest number of clips.
    """
    ordered = measured[np.argsort(-np.asarray(lengths_px), kind="stable")].tolist()
    by_video = {videos[index]: index for index in reversed(ordered)}
    return [index for index in ordered if by_video[videos[index]] == index][:count]
