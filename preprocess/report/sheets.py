"""Pictures of the page: contact sheets of labels, and clips with their vectors and residuals."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from preprocess.report.measure import Clip, Sample, read_clip
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
from shared.schema import CodecOptions
from shared.store.store import Store

SHEET_COLUMNS, MOTION_COLUMNS, MOTION_CLIPS = 6, 4, 3
SHEETS_BYTES = 8_000_000
"""Size of all contact sheets beyond which no more are drawn: a page has to stay small."""


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
