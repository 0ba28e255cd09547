"""The page on a store: its tables, charts and pictures, for the template `store.html`."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from preprocess.records import Reject
from preprocess.report.measure import (
    NO_LABEL,
    RATIO_EDGES,
    Clip,
    Sample,
    Statistics,
    psnr,
    read_clip,
)
from preprocess.summary import by_reason
from shared.console import byte_count
from shared.report.charts import Curve, curves, heat_map, histogram
from shared.report.pages import Cell, Html, render
from shared.report.pictures import (
    ARROWS_PX,
    FRAME_PX,
    evenly_spaced,
    fitted,
    grey_residual,
    sheet,
    shrink,
    vector_film,
)
from shared.schema import ARRAYS, LARGE, CodecOptions, StoreAttributes
from shared.store.store import Store

SHEET_COLUMNS, MOTION_COLUMNS, MOTION_CLIPS = 6, 4, 3
SHEETS_BYTES = 8_000_000
"""Size of all contact sheets beyond which no more are drawn: a page has to stay small."""

_MAX_NAMES = 40


@dataclass(frozen=True)
class Findings:
    """Content of the page.

    Attributes:
        facts: from `preprocess.summary.describe`.
        attributes: of the store.
        videos: number of videos that gave clips.
        statistics: of a sample of clips.
        seed: of that sample.
        sheets: pictures of labels.
        motion: the origin and a picture of clips with long vectors.
        command: that would make the store.
        remark: on that command.
    """

    facts: dict[str, Any]
    attributes: StoreAttributes
    videos: int
    statistics: Statistics
    seed: int
    sheets: Sheets
    motion: list[tuple[str, bytes]]
    command: str
    remark: str


def render_page(found: Findings) -> str:
    """The page as HTML."""
    facts, options, statistics = found.facts, found.attributes.options, found.statistics
    pixels = facts["valid_clips"] * options.frames * options.size.pixels
    repeated_db, vectors_db = statistics.psnr_db
    return render(
        "preprocess/report/store.html",
        **vars(found),
        options=options,
        no_label=NO_LABEL,
        frame_px=FRAME_PX,
        zeros=int(statistics.residuals[len(statistics.residuals) // 2]),
        energy_left=statistics.energy_left,
        repeated_db=repeated_db,
        vectors_db=vectors_db,
        motion_charts=_motion_charts(statistics) if statistics.clips else [],
        energy_charts=_energy_charts(statistics) if statistics.energy_left is not None else [],
        bytes_rows=_bytes_rows(found),
        bits=8 * facts["bytes"] / max(1, pixels),
        splits=[
            (name, *(sides[side] for side in ("train", "test", "neither")), _protocol(found, name))
            for name, sides in facts["clips_by_split"].items()
        ],
        rejected_files=len({record["file"] for record in facts["rejects"]}),
        reasons=[
            (row.reason, row.files, row.kept, row.usable_frames or None, row.examples)
            for row in by_reason([Reject(**record) for record in facts["rejects"]])
        ],
    )


def _motion_charts(statistics: Statistics) -> list[Html]:
    """Histograms of vector components and of residual values."""
    vectors, lowest = _trim(statistics.vectors)
    unit = statistics.options.vector_unit
    residuals, darkest = _trim(statistics.residuals[None])
    return [
        histogram(
            (np.arange(vectors.shape[1] + 1) + lowest - 0.5) / unit,
            {"x, to the right": vectors[0], "y, down": vectors[1]},
            title="Vectors",
            x="component, pixels",
            y="blocks",
            log=True,
        ),
        histogram(
            np.arange(residuals.shape[1] + 1) + darkest - 0.5,
            {"": residuals[0]},
            title="Residuals",
            x="grey levels",
            y="values",
            log=True,
        ),
    ]


def _energy_charts(statistics: Statistics) -> list[Html]:
    """Energy that vectors leave by block of the grid and of all blocks, and PSNR by frame."""
    before, after = statistics.before, statistics.after
    left = np.where(before > 0, after / np.where(before > 0, before, 1), np.nan)
    frames = np.arange(1, statistics.options.frames)
    by_frame = [
        Curve(name, frames, psnr(energy / statistics.frame_values))
        for name, energy in (
            ("vectors alone", statistics.frame_after),
            ("reference repeated", statistics.frame_before),
        )
    ]
    return [
        heat_map(100 * left, title="Energy left, by block", label="% of the change's energy"),
        histogram(
            100 * RATIO_EDGES,
            {"": statistics.block_ratios},
            title="Energy left in blocks that moved",
            x="% of the change's energy",
            y="blocks",
        ),
        curves(by_frame, title="Prediction, by frame", x="frame", y="PSNR, dB"),
    ]


def _trim(counts: NDArray[np.int64]) -> tuple[NDArray[np.int64], int]:
    """Histograms around 0 without the empty bins at both ends, and the value of the first bin."""
    zero = counts.shape[1] // 2
    used = np.flatnonzero(counts.any(axis=0)) - zero
    reach = int(abs(used).max()) if used.size else 0
    reach = min(max(reach, 1), counts.shape[1] - 1 - zero)
    return counts[:, zero - reach : zero + reach + 1], -reach


def _bytes_rows(found: Findings) -> list[list[Cell]]:
    """Size of each large array and of all else on disk, and of the array uncompressed."""
    attributes, facts = found.attributes, found.facts
    valid, total, by_array = facts["valid_clips"], facts["bytes"], facts["bytes_by_array"]

    def row(name: str, stored: int, raw: int | None) -> list[Cell]:
        return [
            name,
            byte_count(stored),
            f"{100 * stored / total:.1f}%",
            None if raw is None else byte_count(raw),
            None if raw is None else raw / stored,
            round(stored / valid) if valid else None,
        ]

    sizes = {
        spec.name: int(np.prod(spec.shape(attributes))) * np.dtype(spec.dtype).itemsize
        for spec in ARRAYS
        if spec.name in LARGE
    }
    rows = [row(name, by_array[name], attributes.clips * sizes[name]) for name in LARGE]
    return [*rows, row("all others", total - sum(by_array[name] for name in LARGE), None)]


def _protocol(found: Findings, name: str) -> str:
    """Fields of a split protocol in one line; long lists are cut."""
    fields = []
    for key, value in found.attributes.splits[name].items():
        if isinstance(value, list | tuple):
            more = f", … ({len(value)})" if len(value) > _MAX_NAMES else ""
            value = ", ".join(map(str, value[:_MAX_NAMES])) + more
        fields.append(f"{key}: {value}")
    return "; ".join(fields)


@dataclass
class Sheets:
    """One contact sheet a label, as WebP; `labels` counts those that have clips."""

    labels: int
    by_label: dict[str, bytes] = field(default_factory=dict)

    @property
    def left_out(self) -> int:
        """Number of labels without a sheet."""
        return self.labels - len(self.by_label)


def draw_sheets(store: Store, sample: Sample, on_clip: Callable[[], object]) -> Sheets:
    """Draw a row a clip and a column a frame for as many labels as fit on the page.

    Args:
        store: sealed.
        sample: the clips.
        on_clip: called after each clip, drawn or left out.
    """
    sheets, used = Sheets(sample.labels), 0
    picked = evenly_spaced(store.options.frames, SHEET_COLUMNS)
    for label, clips in sample.shown.items():
        if used <= SHEETS_BYTES:
            # Shrunk one by one: frames of many large clips would take much memory.
            films = [shrink(read_clip(store, int(i)).frames[picked], FRAME_PX) for i in clips]
            sheets.by_label[label] = sheet(films)
            used += len(sheets.by_label[label])
        for _ in clips:
            on_clip()
    return sheets


def draw_motion(clip: Clip, options: CodecOptions) -> bytes:
    """A row of frames with their vectors above a row of their residuals around grey, as WebP."""
    vectors = vector_film(clip.frames, clip.motion, options, MOTION_COLUMNS)
    picked = evenly_spaced(options.frames - 1, MOTION_COLUMNS)
    return sheet([vectors, fitted(grey_residual(clip.residual[picked]), ARROWS_PX)], ARROWS_PX)
