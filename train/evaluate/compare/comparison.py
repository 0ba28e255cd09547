"""A comparison before anything is trained: stores looked at, costs counted, runs planned."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from shared.console import Progress
from shared.errors import UserError
from shared.schema import StoreAttributes
from shared.store.export import ClipReader, open_clips
from shared.store.paths import location
from train.data.clips import split_clips
from train.evaluate.compare.plan import Run, choose_clips, plan_codecs, plan_spaces
from train.evaluate.compare.systems import (
    CODEC,
    OURS,
    PAPERS,
    SPACES,
    SPLIT,
    CompareOptions,
    StoreChoice,
    System,
    SystemCost,
    codecs,
    spaces,
    system_cost,
)
from train.evaluate.compare.work import Work
from train.trainer.monitor import processor

# MERGED: How a comparison was made, in sentences: stands beside every one of its numbers.


def protocol(comparison: Comparison) -> list[str]:
    """Data, budget, what all systems have in common, judges, hardware."""
    options, store = comparison.options, comparison.attributes
    clips, recipe = store.options, comparison.runs[0].recipe
    training = recipe.diffusion_training
    size = f"{clips.frames} frames of {clips.size}x{clips.size}"
    return [
        f"Data: {store.dataset}, {store.clips} clips of {size}, {len(store.labels)} labels,"
        f" {len(store.subjects)} subjects; split {SPLIT}: nobody in a test clip was trained on."
        " One generated video for each of"
        f" {len(comparison.chosen)} test clips, {options.clips_a_label} a label, subjects taking"
        " turns, from its first frame and its label.",
        f"Equal FLOPs: {options.budget_tflop:g} TFLOP of training a run, forward and backward"
        " passes of the denoiser, two operations a multiply-accumulate. Autoencoders and cached"
        " latents are not in it, and stand beside. Equal steps: as many as rgb has at equal FLOPs.",
        "The same in every space: about as many parameters (stated), a learned"
        f" embedding of the label, {recipe.noise.prediction}-prediction, {recipe.noise.schedule}"
        f" schedule, {training.optimiser}, learning rate {training.learning_rate:g} falling along"
        f" half a cosine, batch {training.batch}, averaged weights, {recipe.sampler.name} with"
        f" {recipe.sampler.steps} steps, guidance {recipe.sampler.guidance:g}; the seed decides"
        " weights, data order and noise.",
        "Additions of ours, none of them in the papers: the block-wise autoencoder from the optimal"
        " linear code, which latent and codec both have; in the table within the codec the vector"
        " cost, the closed loop, the references first and per block, and the filter.",
        "Scores are this project's own, none is FVD. Gestures and persons are read by networks"
        f" trained on real training clips ({options.judge_steps} steps), Fréchet distances are"
        " between their features of generated and of all real test clips; the row of real clips"
        " says how well they do. Frame 0 is given and does not count; 100 dB stands for equal."
        " Warping error: what a search for motion in the generated clip itself cannot explain;"
        " flicker: change where the real clip stands still; both in grey levels. PSNR"
        " restored: real test clips through the space and back, the most it can show.",
        f"Seeds 0-{options.seeds - 1} for the spaces, {options.codec_seeds} within the codec; ±"
        " is the standard deviation over seeds. CPU seconds are of all threads of a process of one"
        f" thread, on {processor()}, which other work may have shared.",
    ]


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
