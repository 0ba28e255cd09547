"""A comparison before anything is trained: stores looked at, costs counted, runs planned."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from shared.console import Progress
from shared.errors import UserError
from shared.paths import location
from shared.reader import ClipReader, open_clips
from shared.schema import StoreAttributes
from train.compare.costs import SystemCost, system_cost
from train.compare.options import CompareOptions
from train.compare.plan import Run, choose_clips, plan_codecs, plan_spaces
from train.compare.systems import (
    CODEC,
    OURS,
    PAPERS,
    SPACES,
    SPLIT,
    StoreChoice,
    System,
    codecs,
    spaces,
)
from train.compare.work import Work
from train.splits import split_clips

_QUICK_GFLOP = 20
"""Clips that cost less than this to train on are sampled in no time, too."""


@dataclass(frozen=True)
class Comparison:
    """All that a comparison is, before anything is trained.

    Attributes:
        options: sizes, budgets, seeds.
        data: folder of the stores.
        readers: the stores, by the choice they were made by, of the same clips.
        costs: by system.
        runs: in the order they are begun.
        chosen: test clips that every run generates, positions among the valid clips.
        left_out: rows and runs that are missing, and why.
    """

    options: CompareOptions
    data: Path
    readers: dict[StoreChoice, ClipReader]
    costs: dict[str, SystemCost]
    runs: list[Run]
    chosen: tuple[int, ...]
    left_out: dict[str, str]

    @property
    def attributes(self) -> StoreAttributes:
        """Of the paper's store."""
        return self.readers[PAPERS].attributes

    def folder(self, choice: StoreChoice) -> Path:
        """Where a store lies."""
        return self.data.absolute() / choice.name

    def works(self, out: Path, device: str) -> list[Work]:
        """A worker's part of each run, in the order they are begun."""
        return [
            Work(run, out, self.folder(run.system.store), self.chosen, device) for run in self.runs
        ]

    def of_spaces(self) -> list[Run]:
        """The runs of the table of spaces: the papers', then what we would take."""
        papers = [run for run in self.runs if run.system.name in SPACES]
        return papers + [run for run in self.runs if run.system.name in OURS]

    def within_codec(self) -> list[Run]:
        """The runs of the table within the codec: the paper's codec, then ours."""
        first = [run for run in self.runs if run.recipe.seed < self.options.codec_seeds]
        paper = [run for run in first if run.system.name == CODEC and "flops" in run.budgets]
        return paper + [run for run in first if run.system.name not in SPACES]


def prepare(data: Path, options: CompareOptions) -> Comparison:
    """Look at the stores, count costs, plan.

    Raises:
        UserError: the paper's store is missing, a store is another than its name says or of other
            clips, or an option does not fit.
    """
    base = _open(data, PAPERS)
    rows, within = spaces(options, base.options), codecs(options, base.options)
    if not options.codec_seeds:
        within = []
    present = {PAPERS: base}
    left_out: dict[str, str] = {}
    for choice in {system.store: None for system in within}:
        if choice not in present and (data / choice.name).exists():
            present[choice] = _open(data, choice)
            _refuse_other_clips(base, present[choice], data / choice.name)
    for system in within:
        if system.store not in present:
            source, target = data / PAPERS.name, data / system.store.name
            command = system.store.command(str(source), str(target))
            left_out[system.title] = f"no store; {command} makes it"
    within = [system for system in within if system.title not in left_out]
    costs = _count([*rows, *within])
    _, test = split_clips(base, SPLIT)
    chosen = choose_clips(
        base.column("label").astype(np.int64),
        base.column("subject").astype(np.int64),
        test,
        options.clips_a_label,
    )
    runs = _runs(rows, within, options, costs)
    return Comparison(options, data, present, costs, runs, tuple(chosen.tolist()), left_out)


def _runs(
    rows: list[System],
    within: list[System],
    options: CompareOptions,
    costs: dict[str, SystemCost],
) -> list[Run]:
    """The first seed of both tables before the second of either, and what is quick before others.

    The order decides what can be looked at soon, not what comes out.
    """
    gflop = {name: cost.training for name, cost in costs.items()}
    runs: list[Run] = []
    ours = [system for system in within if system.name in OURS]
    for seed in range(max(options.seeds, options.codec_seeds)):
        if seed < options.seeds:
            runs += plan_spaces(rows, options, gflop, seed)
        runs += plan_codecs(within if seed < options.codec_seeds else ours, options, gflop, seed)
    return sorted(runs, key=lambda run: (run.recipe.seed, gflop[run.system.name] > _QUICK_GFLOP))


def _open(data: Path, choice: StoreChoice) -> ClipReader:
    path = data / choice.name
    if not path.exists():
        raise UserError(
            f"no store {path}: `make compare` makes the stores; or python -m preprocess run"
            f" gestures --reference {choice.reference} --motion-cost {choice.motion_cost:g}"
            f" --search-range {choice.search_range} --out {path}"
        )
    store = open_clips(location(str(path)))
    if not choice.fits(store.options):
        raise UserError(
            f"{path} was extracted with other options than its name says; delete it, then:"
            f" {choice.command(str(data / PAPERS.name), str(path))}"
        )
    return store


def _refuse_other_clips(base: ClipReader, other: ClipReader, path: Path) -> None:
    columns = ("video", "start_frame", "label", "subject", "split")
    same = len(base) == len(other) and all(
        np.array_equal(base.column(name), other.column(name)) for name in columns
    )
    if not same:
        raise UserError(
            f"{path} has other clips than {PAPERS.name} beside it; make it from that one with"
            " python -m preprocess reblock"
        )


def _count(systems: list[System]) -> dict[str, SystemCost]:
    with Progress().bar("counting", len(systems), "systems", patience_seconds=2) as bar:
        costs = {}
        for system in systems:
            costs[system.name] = system_cost(system.recipe)
            bar()
    return costs
