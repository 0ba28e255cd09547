"""The page's pictures: contact sheets of labels, vectors and residuals drawn over frames."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from preprocess.report.measure import Clip, Measured, Sample, read_clip
from shared.report.pictures import (
    contact_sheet,
    draw_vectors,
    enlarge,
    evenly,
    grey_residual,
    shrink,
    webp,
)
from shared.schema import CodecOptions, StoreAttributes
from shared.store.store import Store

# MERGED: What the page is made from.


@dataclass(frozen=True)
class Findings:
    """Everything the page says.

    Attributes:
        facts: from `preprocess.summary.describe`.
        attributes: of the store.
        videos: that gave clips.
        measured: statistics of a sample of clips.
        seed: of that sample.
        sheets: pictures of labels.
        motion: pictures of vectors and residuals, with where each clip is from.
    """

    facts: dict[str, Any]
    attributes: StoreAttributes
    videos: int
    measured: Measured
    seed: int
    sheets: Sheets
    motion: list[tuple[str, bytes]]


SHEET_COLUMNS, MOTION_COLUMNS, MOTION_CLIPS = 6, 4, 3
FRAME_PX, ARROWS_PX = 128, 320
"""Frames are shown with so many pixels a side at most; those with arrows with about so many."""

SHEETS_BYTES = 8_000_000
"""Contact sheets end where all of them together would be larger: a page has to stay small."""


@dataclass
class Sheets:
    """One contact sheet a label, in WebP; of so many `labels` that have clips."""

    labels: int
    by_label: dict[str, bytes] = field(default_factory=dict)

    @property
    def left_out(self) -> int:
        """Labels that have no sheet, because the page would be too large."""
        return self.labels - len(self.by_label)


def draw_sheets(store: Store, sample: Sample, on_clip: Callable[[], object]) -> Sheets:
    """A row a clip, a column a frame, for as many labels as fit.

    Args:
        store: sealed.
        sample: which clips.
        on_clip: called after each clip, drawn or left out.
    """
    sheets, used = Sheets(sample.labels), 0
    picked = evenly(store.options.frames, SHEET_COLUMNS)
    for label, clips in sample.shown.items():
        if used <= SHEETS_BYTES:
            films = [shrink(read_clip(store, int(i)).frames[picked], FRAME_PX) for i in clips]
            sheets.by_label[label] = webp(contact_sheet(films))
            used += len(sheets.by_label[label])
        for _ in clips:
            on_clip()
    return sheets


def draw_motion(clip: Clip, options: CodecOptions) -> bytes:
    """A row of frames with their vectors, and below it what the vectors leave, around grey."""
    picked = evenly(options.frames - 1, MOTION_COLUMNS)
    frames = np.concatenate([clip.frames[:1], clip.frames[1:][picked]])
    factor = max(1, ARROWS_PX // options.size)
    drawn = draw_vectors(
        frames,
        clip.motion[picked],
        block=options.block,
        vector_unit=options.vector_unit,
        factor=factor,
    )
    rest = enlarge(grey_residual(clip.residual[picked]), factor)
    return webp(contact_sheet([shrink(film, ARROWS_PX) for film in (drawn, rest)]))


def most_moving(
    motion: NDArray[np.float64], measured: NDArray[np.int64], videos: Sequence[str], count: int
) -> NDArray[np.int64]:
    """Of the measured clips those with the longest vectors on average, one a video.

    Args:
        motion: mean vector length of each, shape (N,).
        measured: their positions, shape (N,).
        videos: where each valid clip is from.
        count: how many.
    """
    ordered = measured[np.argsort(-motion, kind="stable")].tolist()
    longest = {videos[index]: index for index in reversed(ordered)}
    chosen = set(longest.values())
    return np.array([index for index in ordered if index in chosen][:count], np.int64)


def mean_length_px(motion: NDArray[np.int8], vector_unit: int) -> float:
    """Mean length of a clip's vectors, shape (T-1, 2 or 3, h, w), pixels."""
    lengths = np.hypot(*np.moveaxis(motion[:, :2].astype(np.float64), 1, 0))
    return float(lengths.mean()) / vector_unit
