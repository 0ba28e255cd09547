"""Read a sample of a store's clips once, measure and draw them, and put the page together."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from preprocess.report.findings import Findings
from preprocess.report.measure import Measured, read_clip
from preprocess.report.page import render_page
from preprocess.report.sample import Sample, draw_sample
from preprocess.report.sheets import (
    MOTION_CLIPS,
    draw_motion,
    draw_sheets,
    mean_length_px,
    most_moving,
)
from preprocess.summary import describe
from shared.console import Progress
from shared.html import write_page
from shared.paths import Location
from shared.store import Store


@dataclass(frozen=True)
class Written:
    """What was made: for the summary."""

    page: Location
    measured: int
    clips: int
    labels_left_out: int
    bytes: int


def build_report(
    path: Location, out: Location, count: int, seed: int, progress: Progress
) -> Written:
    """Write one self-contained page on a store.

    Args:
        path: a sealed store.
        out: the HTML file.
        count: clips to measure; all where the store has fewer.
        seed: of the clips that are drawn.
        progress: shows how far it is.

    Raises:
        StoreError: the store is not there, not sealed, or has lost files.
    """
    store = Store(path)
    options = store.options
    label, subject = store.column("label"), store.column("subject")
    sample = draw_sample(label, subject, store.attributes.labels, count, seed)
    measured, lengths = _measure(store, sample, progress)
    videos, starts = store.column("video").tolist(), store.column("start_frame")
    moving = most_moving(lengths, sample.measured, videos, MOTION_CLIPS)
    with progress.bar("Drawing", sum(map(len, sample.shown.values())), "clips") as bar:
        sheets = draw_sheets(store, sample, bar)
    page = render_page(
        Findings(
            facts=describe(path),
            attributes=store.attributes,
            videos=len(set(videos)),
            measured=measured,
            seed=seed,
            sheets=sheets,
            motion=[
                (f"{videos[i]}, from frame {starts[i]}", draw_motion(read_clip(store, i), options))
                for i in moving.tolist()
            ],
        )
    )
    write_page(out, page)
    return Written(out, measured.clips, len(store), sheets.left_out, len(page.encode()))


def _measure(
    store: Store, sample: Sample, progress: Progress
) -> tuple[Measured, NDArray[np.float64]]:
    """Statistics of the sample, and the mean vector length of each of its clips, pixels."""
    measured, lengths = Measured(store.options), []
    with progress.bar("Measuring", len(sample.measured), "clips") as bar:
        for index in sample.measured.tolist():
            clip = read_clip(store, index)
            measured.add(clip)
            lengths.append(mean_length_px(clip.motion, store.options.vector_unit))
            bar()
    return measured, np.array(lengths)
