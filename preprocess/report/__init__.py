"""A page on a store, made from the store alone."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from preprocess.options import codec_options
from preprocess.report.measure import Statistics, draw_sample, longest_vectors, read_clip
from preprocess.report.page import MOTION_CLIPS, Findings, draw_motion, draw_sheets, render_page
from preprocess.summary import describe
from shared.console import Progress, shell_command
from shared.errors import UserError
from shared.manifest import load_manifest
from shared.report.pages import prepare_page, write_page
from shared.schema import REMOVED_OPTIONS, StoreAttributes
from shared.store.paths import Location
from shared.store.store import Store


@dataclass(frozen=True)
class Written:
    """A written page, for the summary: clips measured of all valid `clips`, labels left out."""

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
        count: largest number of clips to measure.
        seed: of the choice of clips.
        progress: shows the state.

    Raises:
        StoreError: the store is missing, not sealed, or has lost files.
        UserError: the file cannot be written.
    """
    store = Store(path)
    prepare_page(out)
    options, labels = store.options, store.attributes.labels
    sample = draw_sample(store.column("label"), store.column("subject"), labels, count, seed)
    statistics = Statistics(options)
    with progress.bar("Measuring", len(sample.measured), "clips") as bar:
        for index in sample.measured.tolist():
            statistics.add(read_clip(store, index))
            bar()
    with progress.bar("Drawing", sum(map(len, sample.shown.values())), "clips") as bar:
        sheets = draw_sheets(store, sample, bar)
    videos, starts = store.column("video").tolist(), store.column("start_frame")
    moving = longest_vectors(statistics.lengths_px, sample.measured, videos, MOTION_CLIPS)
    command, remark = command_of(store.attributes, str(path))
    page = render_page(
        Findings(
            facts=describe(path),
            attributes=store.attributes,
            videos=len(set(videos)),
            statistics=statistics,
            seed=seed,
            sheets=sheets,
            motion=[
                (f"{videos[i]}, from frame {starts[i]}", draw_motion(read_clip(store, i), options))
                for i in moving
            ],
            command=command,
            remark=remark,
        )
    )
    write_page(out, page)
    return Written(out, statistics.clips, len(store), sheets.left_out, len(page.encode()))


def command_of(attributes: StoreAttributes, store: str) -> tuple[str, str]:
    """The `run` command whose options are those of a store, and a remark on its limits.

    Args:
        attributes: of the store.
        store: its path.

    Returns:
        The command, with the options that differ from the data set's own; and the remark.
    """
    dataset = attributes.dataset
    try:
        usual = codec_options(load_manifest(dataset), {}).model_dump()
    except UserError:  # described by a manifest of the user's own
        dataset, usual = f"{dataset}.yaml", {}
    options = attributes.options.model_dump(exclude=set(REMOVED_OPTIONS))
    given = {name: value for name, value in options.items() if value != usual.get(name, ...)}
    flags = [part for name, value in given.items() for part in _flag(name, value)]
    command = ["dvdm-preprocess", "run", dataset, "--root", "DIR"]
    remark = (
        "Derived from the options that the store records. The store does not record the folder of"
        " its videos (DIR), a --limit, or whether it came from reblock, which makes the same bytes."
    )
    if lost := [name for name, value in given.items() if not _flag(name, value)]:
        remark += f" No flag sets {', '.join(lost)} to none, as in this store."
    if removed := attributes.options.removed_options:
        listed = ", ".join(f"{name} {value}" for name, value in removed.items())
        remark += f" This version cannot make its vectors again: it has no {listed}."
    return shell_command(*command, "--out", store, *flags), remark


def _flag(name: str, value: Any) -> list[str]:
    flag = f"--{name.replace('_', '-')}"
    if name == "crop":
        return [flag, "{}:{},{}:{}".format(*value) if value else "none"]
    if value is None:
        return []
    return [flag, f"{value:g}" if isinstance(value, float) else str(value)]
