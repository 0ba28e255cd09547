"""The numbers of a comparison as rows: means over seeds, with their spread."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from train.compare.costs import SystemCost
from train.compare.parts import took
from train.compare.plan import Budget, Run
from train.compare.score import BOUNDS, SCORES, read_scores
from train.compare.work import GENERATED, run_folder

_FIRST_FRAMES = 3
"""So many predicted frames are "the first" ones."""


@dataclass(frozen=True)
class Spread:
    """A figure over seeds.

    Attributes:
        mean: of those runs that have it.
        deviation: of a sample; None with a single run.
        runs: how many.
    """

    mean: float
    deviation: float | None
    runs: int


Figures = dict[str, Spread | None]
"""By column; None where no run has the figure."""


@dataclass(frozen=True)
class Row:
    """A system at one budget.

    Attributes:
        title: of the system.
        steps: of the denoiser's training; 0 for bounds.
        figures: by column.
    """

    title: str
    steps: int
    figures: Figures


@dataclass(frozen=True)
class Table:
    """A table as all outputs show it: a name for JSON, a title for people."""

    name: str
    title: str
    rows: list[Row]


Score = Callable[[dict[str, Any]], Any]

SCORE_COLUMNS: dict[str, Score] = {
    "gestures read as asked, %": lambda s: _percent(s["gesture_accuracy"]),
    "person kept, %": lambda s: _percent(s["subject_accuracy"]),
    "Fréchet, gesture features": lambda s: s["frechet_gesture_features"],
    "Fréchet, subject features": lambda s: s["frechet_subject_features"],
    "PSNR of frames 1-3, dB": lambda s: _first(s["psnr_by_frame"]),
    "PSNR of the last frame, dB": lambda s: s["psnr_by_frame"][-1],
    "PSNR of all, dB": lambda s: s["psnr"],
    "SSIM": lambda s: s["ssim"],
    "warping error": lambda s: s["warping_error"],
    "flicker": lambda s: s["flicker"],
    "motion, generated / real": lambda s: s["motion_ratio"],
}
"""Titles of columns, and how a run's scores give them."""

RESTORED = "PSNR restored, dB"


def budget_rows(out: Path, runs: Sequence[Run], budget: Budget) -> list[Row]:
    """A row for every system that has runs at the budget, in their order.

    Args:
        out: the comparison's folder; its runs are scored.
        runs: of one table.
        budget: which of the two.
    """
    rows = []
    for name in dict.fromkeys(run.system.name for run in runs):
        own = [run for run in runs if run.system.name == name and budget in run.budgets]
        if not own:
            continue
        contents = [read_scores(run_folder(out, run.name) / SCORES) for run in own]
        figures = {
            column: spread([score(content["scores"]) for content in contents])
            for column, score in SCORE_COLUMNS.items()
        }
        figures[RESTORED] = spread([content["psnr_restored"] for content in contents])
        rows.append(Row(own[0].system.title, own[0].steps, figures))
    return rows


def bound_rows(out: Path) -> list[Row]:
    """The real test clips, and the first frame repeated."""
    content = read_scores(out / BOUNDS)
    titles = {"real test clips": content["real"], "first frame repeated": content["still"]}
    return [
        Row(title, 0, {column: spread([score(s)]) for column, score in SCORE_COLUMNS.items()})
        for title, s in titles.items()
    ]


def cost_rows(
    out: Path, runs: Sequence[Run], costs: dict[str, SystemCost], clips: int
) -> list[Row]:
    """What the runs at equal FLOPs cost, counted and measured: the paper's Table 4 with times.

    Args:
        out: the comparison's folder.
        runs: of one table.
        costs: by system.
        clips: that each run generated.
    """
    rows = []
    for name in dict.fromkeys(run.system.name for run in runs):
        own = [run for run in runs if run.system.name == name and "flops" in run.budgets]
        if not own:
            continue
        cost, seen = costs[name], own[0].steps * own[0].recipe.diffusion_training.batch
        trained = [run for run in own if run.system.base is None]
        training = spread([_seconds(out, run, "diffusion") for run in trained])
        sampling = spread([_seconds(out, run, GENERATED) for run in own])
        figures: Figures = {
            "parameters, M": spread([cost.parameters / 1e6]),
            "training, GFLOP a clip": spread([cost.training]),
            "clips trained on": spread([seen]),
            "training, CPU s": training,
            "training, CPU ms a clip": _scaled(training, 1000 / seen),
            "autoencoder and latents, CPU s": spread([_first_stages(out, run) for run in own]),
            "refining network, CPU s": spread([_refining(out, run) for run in own]),
            "sampling, GFLOP a video": spread([cost.sampling]),
            "sampling, CPU s a video": _scaled(sampling, 1 / clips),
        }
        rows.append(Row(own[0].system.title, own[0].steps, figures))
    return rows


def spread(values: Sequence[Any]) -> Spread | None:
    """Mean and deviation of the values that are numbers; a string says why there is none."""
    numbers = [float(value) for value in values if isinstance(value, (int, float))]
    if not numbers:
        return None
    deviation = statistics.stdev(numbers) if len(numbers) > 1 else None
    return Spread(statistics.fmean(numbers), deviation, len(numbers))


def _seconds(out: Path, run: Run, part: str) -> float | None:
    """CPU seconds of a part that nothing interrupted."""
    found = took(run_folder(out, run.name), part)
    return found.cpu_seconds if found is not None and found.attempts == 1 else None


def _first_stages(out: Path, run: Run) -> float | None:
    """None where the space has no autoencoder, or another run trained it."""
    if run.recipe.autoencoder is None or run.takes:
        return None
    parts = [_seconds(out, run, part) for part in ("vae", "encode")]
    return None if None in parts else sum(part for part in parts if part is not None)


def _refining(out: Path, run: Run) -> float | None:
    return _seconds(out, run, "refiner") if run.recipe.refiner is not None else None


def _scaled(figure: Spread | None, factor: float) -> Spread | None:
    if figure is None:
        return None
    deviation = None if figure.deviation is None else figure.deviation * factor
    return Spread(figure.mean * factor, deviation, figure.runs)


def _percent(share: Any) -> Any:
    return 100 * share if isinstance(share, float) else share


def _first(psnr: list[float]) -> float:
    return statistics.fmean(psnr[:_FIRST_FRAMES])
