"""Clips of a store by label, subject and split, page by page; pictures and figures of one clip.

Opening a store reads its columns of whole numbers, a few bytes a clip; a page reads the first
frames of the clips on it, and only a chosen clip is decoded.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from preprocess.records import Reject, read_rejects
from preprocess.report.measure import NO_LABEL, Statistics, read_clip
from preprocess.summary import Rejected, by_reason
from shared.conventions import NO_INDEX
from shared.errors import StoreError, UserError
from shared.report.pages import Cell, Html, render, table
from shared.report.pictures import (
    ARROWS_PX,
    FRAME_PX,
    Picture,
    animation,
    evenly_spaced,
    fitted,
    grey_residual,
    vector_film,
)
from shared.schema import NEITHER, TEST, TRAIN
from shared.store.store import Store

ALL = -2
"""Choice of every label, subject, side or reason."""

PAGE_CLIPS, PAGE_FILES = 24, 100
"""Clips and rejected files on a page."""

MAX_FRAMES = 64
"""Frames of a clip that are shown at most, evenly spaced."""

MAX_REASONS = 100
"""Reasons offered as a choice at most, the most frequent ones."""

_DAMAGED_GREY = 128
_SIDES = {"train": TRAIN, "test": TEST, "neither": NEITHER}

Choices = list[tuple[str, int]]
"""Texts to choose from, with the number of clips or files of each, and their values."""


@dataclass(frozen=True)
class Tile:
    """A clip on a page: its index, its first frame, and a caption."""

    index: int
    picture: Picture
    caption: str


@dataclass(frozen=True)
class ClipReport:
    """A chosen clip.

    Attributes:
        facts: names and values.
        films: looping pictures as WebP, by caption.
    """

    facts: list[tuple[str, Cell]]
    films: list[tuple[str, bytes]]

    @property
    def html(self) -> Html:
        """Facts and films for a page."""
        return Html(render("preprocess/view/clip.html", **vars(self)))


class Browser:
    """A sealed store, open for browsing.

    Raises:
        StoreError: it is missing, not sealed, or damaged.
    """

    def __init__(self, store: Store) -> None:
        self.store = store
        self.label, self.subject = store.column("label"), store.column("subject")
        self.split = store.column("split")  # (N, protocols)
        self.rejects = read_rejects(store.path)

    @property
    def labels(self) -> Choices:
        """Labels that have clips, by index; -1 for none."""
        return _counted(self.label, self.store.attributes.labels, NO_LABEL)

    @property
    def subjects(self) -> Choices:
        """Subjects that have clips, by index; -1 for none."""
        return _counted(self.subject, self.store.attributes.subjects, "(no subject)")

    @property
    def sides(self) -> Choices:
        """Sides of all split protocols that have clips, by their position in the schema's order."""
        return [
            (f"{protocol}: {side} ({count:,})", position)
            for position, (protocol, side, _, _) in enumerate(self._sides)
            if (count := np.count_nonzero(self._on_side(position)))
        ]

    @property
    def reasons(self) -> Choices:
        """The most frequent reasons of rejects, by position."""
        return [
            (f"{row.reason} ({row.files:,})", position)
            for position, row in enumerate(self._by_reason[:MAX_REASONS])
        ]

    def matching(self, label: int = ALL, subject: int = ALL, side: int = ALL) -> NDArray[np.int64]:
        """Indices of the clips that match a choice, rising."""
        chosen = np.ones(len(self.store), bool)
        if label != ALL:
            chosen &= self.label == label
        if subject != ALL:
            chosen &= self.subject == subject
        if side != ALL:
            chosen &= self._on_side(side)
        return np.flatnonzero(chosen)

    def tiles(self, indices: Sequence[int]) -> list[Tile]:
        """First frames of clips; those of damaged clips are grey, and their captions say so."""
        return [self._tile(int(index)) for index in indices]

    def clip(self, number: float) -> ClipReport:
        """Decode one clip, by its index among the valid ones.

        Raises:
            UserError: there is no such clip.
            StoreError: it is damaged.
        """
        if not 0 <= number < len(self.store):
            raise UserError(f"clip {number:g}: give 0 to {len(self.store) - 1}")
        index = int(number)
        options, clip = self.store.options, read_clip(self.store, index)
        statistics = Statistics(options)
        statistics.add(clip)
        later = evenly_spaced(options.frames - 1, MAX_FRAMES)
        frames = clip.frames[evenly_spaced(options.frames, MAX_FRAMES)]
        vectors = vector_film(clip.frames, clip.motion, options, MAX_FRAMES)
        films = {
            "frames": frames,
            "vectors, from each block's predictor to the block": vectors,
            "residual around grey, contrast doubled": grey_residual(clip.residual[later]),
        }
        return ClipReport(
            [*self._origin(index), *_figures(statistics)],
            [
                (caption, animation(fitted(film, ARROWS_PX), lossless=False))
                for caption, film in films.items()
            ],
        )

    def files(self, reason: int = ALL) -> list[Reject]:
        """Rejected files, all or those of one reason."""
        if reason == ALL:
            return self.rejects
        return list(self._by_reason[reason].rejects)

    @cached_property
    def _by_reason(self) -> list[Rejected]:
        return by_reason(self.rejects)

    @cached_property
    def _sides(self) -> list[tuple[str, str, int, int]]:
        """Protocol, side, position of the protocol and value of the side."""
        return [
            (protocol, side, position, value)
            for position, protocol in enumerate(self.store.attributes.splits)
            for side, value in _SIDES.items()
        ]

    def _on_side(self, side: int) -> NDArray[np.bool_]:
        *_, protocol, value = self._sides[side]
        on_side: NDArray[np.bool_] = self.split[:, protocol] == value
        return on_side

    def _tile(self, index: int) -> Tile:
        state = ""
        try:
            frame = self.store.clip("first_frame", index)
        except StoreError:
            state = " damaged"
            frame = np.full((3, *self.store.options.size), _DAMAGED_GREY, np.uint8)
        caption = ", ".join((f"{index}{state}", *(name for name in self._names(index) if name)))
        return Tile(index, fitted(frame[None], FRAME_PX)[0].transpose(1, 2, 0), caption)

    def _names(self, index: int) -> tuple[str | None, str | None]:
        """Label and subject of a clip."""
        attributes, label, subject = self.store.attributes, self.label[index], self.subject[index]
        return (
            None if label == NO_INDEX else attributes.labels[label],
            None if subject == NO_INDEX else attributes.subjects[subject],
        )

    def _origin(self, index: int) -> list[tuple[str, Cell]]:
        label, subject = self._names(index)
        frames = self.store.entry("frame_index", index)
        sides = [
            (f"split {protocol}", side)
            for protocol, side, position, value in self._sides
            if self.split[index, position] == value
        ]
        return [
            ("clip", str(index)),
            ("label", label),
            ("subject", subject),
            ("video", str(self.store.entry("video", index))),
            ("frames", f"{len(frames)}, from {frames[0]} to {frames[-1]} of the video"),
            *sides,
        ]


def files_table(rejects: Sequence[Reject]) -> Html:
    """Rejected files as a table."""
    rows = [
        (
            repr(reject.file), reject.reason, reject.stage,
            by_reason([reject])[0].kept, reject.frames_recovered or None,
        )
        for reject in rejects
    ]  # fmt: skip
    return Html(table(rows, ("file", "reason", "stage", "clips kept", "usable frames")))


def reasons_table(rejects: Sequence[Reject]) -> Html:
    """Counts of rejects by reason as a table, the most frequent first."""
    rows = [(row.files, row.kept, row.reason) for row in by_reason(rejects)[:MAX_REASONS]]
    return Html(table(rows, ("files", "clips kept", "reason")))


def page_of(total: int, page: float, size: int) -> tuple[int, slice, str]:
    """The page nearest to a wanted one, counted from 1; positions on it; a line that names them."""
    pages = max(1, -(-total // size))
    nearest = int(max(1, min(page, pages)))
    start = (nearest - 1) * size
    stop = min(start + size, total)
    shown = f"{start + 1:,} to {stop:,} of {total:,}" if total else "none"
    return nearest, slice(start, stop), f"{shown}, page {nearest:,} of {pages:,}"


def _counted(column: NDArray[np.int16], names: Sequence[str], none: str) -> Choices:
    values, counts = np.unique(column, return_counts=True)
    return [
        (f"{none if value == NO_INDEX else names[value]} ({count:,})", value)
        for value, count in zip(values.tolist(), counts.tolist(), strict=True)
    ]


def _figures(statistics: Statistics) -> list[tuple[str, Cell]]:
    """Figures of a clip's vectors and residual, as the report has them of many."""
    left, (repeated_db, vectors_db) = statistics.energy_left, statistics.psnr_db
    repeated = "frame 0" if statistics.options.reference == "first" else "the frame before"
    return [
        ("mean vector", f"{statistics.lengths_px[0]:.2f} pixels"),
        ("blocks that move", f"{100 * statistics.moving / statistics.blocks:.1f}%"),
        ("energy left by vectors", None if left is None else f"{100 * left:.1f}% of the change's"),
        ("PSNR of vectors alone", _decibels(vectors_db)),
        (f"PSNR of {repeated} repeated", _decibels(repeated_db)),
    ]


def _decibels(value: float) -> str:
    return "exact" if np.isnan(value) else f"{value:.2f} dB"
