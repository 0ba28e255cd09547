"""Evaluate the runs of a comparison by the same networks, and gather the scores in tables."""

from __future__ import annotations

import json
import statistics
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import cache, partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from shared.store.paths import write_whole
from shared.store.reader import open_path
from train.data.clips import Clips, split_clips
from train.evaluate.clip_metrics import RealClips, real_clip_metrics
from train.evaluate.compare.jobs import GENERATED, RunJob, Setup, cpu_seconds, generated_clips
from train.evaluate.compare.plan import SystemCost, stage_tflop
from train.evaluate.compare.systems import TableName
from train.evaluate.make_clips import load_run, reconstruct
from train.evaluate.metrics.evaluation_networks import (
    EvaluationNetworkOptions,
    EvaluationNetworks,
    train_evaluation_networks,
)
from train.evaluate.metrics.frames import nearest_psnr, psnr
from train.evaluate.summary import summarise_clips

BOUNDS, SCORES = "bounds.json", "scores.json"

_BATCH = 8
_FIRST_FRAMES = 3
"""Generated frames that count as the first ones."""


@cache
def _evaluation(setup: Setup) -> tuple[Clips, EvaluationNetworks, RealClips]:
    """Load the real clips and their metrics, once a process; train the networks if need be."""
    clips, device = Clips(open_path(setup.store), setup.split), torch.device(setup.device)
    options = EvaluationNetworkOptions.of(setup.judge_steps)
    networks = train_evaluation_networks(clips, setup.out / "judges", device, options)
    return clips, networks, real_clip_metrics(clips, networks, device)


def score_bounds(setup: Setup) -> None:
    """Score the real test clips and their first frames repeated, the ceiling and the floor."""
    clips, networks, _ = _evaluation(setup)
    real = clips.frames(clips.batch(np.array(setup.chosen), torch.device("cpu")))
    bounds = {"real": real, "still": real[:, :1].expand_as(real)}
    scores = {name: _scores(setup, frames) for name, frames in bounds.items()}
    # Not the chosen clips from all test clips, which hold them: all of them from training clips.
    scores["real"]["motion_vectors"] = scores["real"]["motion_vectors_real"]
    _write(setup.out / BOUNDS, {"judges": networks.identity, **scores})


def score_run(job: RunJob) -> None:
    """Score the clips of a run, and what its target space can represent at most."""
    setup, device = job.setup, torch.device(job.setup.device)
    _, networks, _ = _evaluation(setup)
    scores = _scores(setup, generated_clips(job.folder))
    # Through the space of this run's own store, with the refining network where there is one.
    space, own = load_run(job.folder, device).space, Clips(open_path(job.run.store), setup.split)
    reconstructed: list[Tensor] = []
    for start in range(0, len(setup.chosen), _BATCH):
        indices = np.array(setup.chosen[start : start + _BATCH])
        decoded = reconstruct(space, own, indices, device).frames
        reconstructed.append(psnr(decoded[:, 1:], own.frames(own.batch(indices, device))[:, 1:]))
    content = {"scores": scores, "psnr_restored": float(torch.cat(reconstructed).mean())}
    _write(job.folder / SCORES, {"judges": networks.identity, **content})


def _scores(setup: Setup, frames: Tensor) -> dict[str, Any]:
    """Means over clips, of all that are chosen or sample after sample, by name; see `Summary`."""
    clips, networks, real = _evaluation(setup)
    starts, device = np.resize(setup.chosen, len(frames)), torch.device(setup.device)
    summary = summarise_clips(frames, starts, clips, networks, real, device)
    if setup.samples == 1:
        return asdict(summary)
    truth = clips.frames(clips.batch(np.array(setup.chosen), torch.device("cpu")))
    return {**asdict(summary), "psnr_nearest": nearest_psnr(frames, truth)}


def unscored(setup: Setup, jobs: Sequence[RunJob]) -> list[RunJob]:
    """Find the runs without scores by the networks of the bounds; all where there are no bounds."""
    bounds = _read(setup.out / BOUNDS).get("judges")
    return [job for job in jobs if not bounds or _read(job.folder / SCORES).get("judges") != bounds]


def _read(path: Path) -> dict[str, Any]:
    return json.loads(path.read_bytes()) if path.exists() else {}


def _write(path: Path, content: dict[str, Any]) -> None:
    write_whole(path, json.dumps(content, indent=1).encode())


@dataclass(frozen=True)
class MeanStd:
    """A figure over seeds.

    Attributes:
        mean: of the runs that have it.
        deviation: standard deviation of a sample; None for a single run.
        runs: how many have it.
    """

    mean: float
    deviation: float | None
    runs: int


@dataclass(frozen=True)
class Row:
    """A system in a table.

    Attributes:
        title: of the system.
        steps: of the denoiser's training; 0 for bounds.
        figures: by column; None where no run has one.
    """

    title: str
    steps: int
    figures: dict[str, MeanStd | None]


@dataclass(frozen=True)
class Table:
    """Rows under a name for JSON and a title for people."""

    name: str
    title: str
    rows: list[Row]


def _motion_figure(name: str, scores: dict[str, Any]) -> Any:
    """Divergence of motion vectors; scores of earlier versions have none."""
    return scores.get("motion_vectors", {}).get(name)


SCORE_COLUMNS: dict[str, Callable[[dict[str, Any]], Any]] = {
    "gestures read as asked, %": lambda s: _percent(s["gesture_accuracy"]),
    "person kept, %": lambda s: _percent(s["subject_accuracy"]),
    "Fréchet, gesture features": lambda s: s["frechet_gesture_features"],
    "Fréchet, subject features": lambda s: s["frechet_subject_features"],
    f"PSNR of frames 1-{_FIRST_FRAMES}, dB": lambda s: statistics.fmean(
        s["psnr_by_frame"][:_FIRST_FRAMES]
    ),
    "PSNR of the last frame, dB": lambda s: s["psnr_by_frame"][-1],
    "PSNR of all, dB": lambda s: s["psnr"],
    "PSNR of the nearest sample, dB": lambda s: s.get("psnr_nearest"),
    "SSIM": lambda s: s["ssim"],
    "warping error": lambda s: s["warping_error"],
    "flicker": lambda s: s["flicker"],
    "motion, generated / real": lambda s: s["motion_ratio"],
    **{
        column: partial(_motion_figure, name)
        for column, name in {
            "vector length, Wasserstein": "length_wasserstein",
            "vector entropy, Wasserstein": "entropy_wasserstein",
            "vector direction, JS": "direction_js",
            "vector place, JS": "place_js",
        }.items()
    },
}
"""Columns of scores, as functions of a run's summary."""


def score_rows(jobs: Sequence[RunJob], titles: Mapping[str, str], table: TableName) -> list[Row]:
    """Average the scores of a table's runs over seeds, in the order of `titles`."""
    rows = []
    for title, own in _by_system(jobs, titles, table):
        contents = [_read(job.folder / SCORES) for job in own]
        figures = {
            column: mean_std([score(content["scores"]) for content in contents])
            for column, score in SCORE_COLUMNS.items()
        }
        figures["PSNR restored, dB"] = mean_std([c["psnr_restored"] for c in contents])
        rows.append(Row(title, own[0].run.steps, figures))
    return rows


def bound_rows(out: Path) -> list[Row]:
    """Show the real test clips, and the first frame repeated."""
    content = _read(out / BOUNDS)
    titles = {"real test clips": content["real"], "first frame repeated": content["still"]}
    return [
        Row(title, 0, {name: mean_std([score(s)]) for name, score in SCORE_COLUMNS.items()})
        for title, s in titles.items()
    ]


def ceilings(setup: Setup) -> str:
    """State in a sentence how well the networks read all real test clips."""
    real, networks = _read(setup.out / BOUNDS)["real"], list[str]()
    _, test = split_clips(open_path(setup.store), setup.split)
    if not isinstance(label := real["gesture_accuracy_real"], str):
        networks.append(f"the label is read right in {_percent(label):.1f}%")
    if not isinstance(person := real["subject_accuracy_real"], str):
        chance = _percent(real["subject_accuracy_chance"])
        networks.append(f"the person in {_percent(person):.1f}% (chance {chance:.1f}%)")
    found = " and ".join(networks) or "no network reads anything"
    return f"Of all {len(test)} real test clips {found}."


def missing_columns(out: Path) -> dict[str, str]:
    """Find the columns that no clips of these stores have, and say why."""
    real = _read(out / BOUNDS)["real"]
    scores = {name: score(real) for name, score in SCORE_COLUMNS.items()}
    return {name: score for name, score in scores.items() if isinstance(score, str)}


def cost_rows(
    jobs: Sequence[RunJob], titles: Mapping[str, str], costs: Mapping[str, SystemCost]
) -> list[Row]:
    """Gather what the runs at equal FLOPs cost: operations counted, CPU times measured."""
    rows = []
    for title, own in _by_system(jobs, titles, "flops"):
        run, recipe, clips = own[0].run, own[0].run.load_recipe(), len(own[0].setup.starts)
        cost, seen = costs[run.system], run.steps * recipe.diffusion_training.batch
        tflop = stage_tflop(recipe, cost)
        # A denoiser that was taken over cost this run nothing.
        training = None if run.takes_denoiser else _mean_seconds(own, "diffusion")
        first = recipe.autoencoder is not None and run.after is None
        figures = {
            "parameters, M": mean_std([cost.parameters / 1e6]),
            "training, GFLOP a clip": mean_std([cost.training]),
            "clips trained on": mean_std([seen]),
            "training, CPU s": training,
            "training, CPU ms a clip": _scaled(training, 1000 / seen),
            "autoencoder and latents, CPU s": _mean_seconds(own, "vae", "encode")
            if first
            else None,
            "refining network, CPU s": _mean_seconds(own, "refiner") if recipe.refiner else None,
            **{f"{stage}, TFLOP": mean_std([count or None]) for stage, count in tflop.items()},
            "all stages, TFLOP": mean_std([sum(tflop.values())]),
            "sampling, GFLOP a video": mean_std([cost.sampling]),
            "sampling, CPU s a video": _scaled(_mean_seconds(own, GENERATED), 1 / clips),
        }
        rows.append(Row(title, run.steps, figures))
    return rows


def mean_std(values: Sequence[Any]) -> MeanStd | None:
    """Average the values that are numbers; others say why there is none."""
    numbers = [float(value) for value in values if isinstance(value, (int, float))]
    if not numbers:
        return None
    deviation = statistics.stdev(numbers) if len(numbers) > 1 else None
    return MeanStd(statistics.fmean(numbers), deviation, len(numbers))


def _by_system(
    jobs: Sequence[RunJob], titles: Mapping[str, str], table: str
) -> Iterator[tuple[str, list[RunJob]]]:
    """Divide the runs of a table, or of a budget, by their systems' titles."""
    for name, title in titles.items():
        own = [job for job in jobs if job.run.system == name]
        if own := [job for job in own if table in (*job.run.tables, job.run.budget)]:
            yield title, own


def _mean_seconds(jobs: Sequence[RunJob], *parts: str) -> MeanStd | None:
    """CPU seconds of parts of the runs, of those that nothing interrupted."""
    times = [[cpu_seconds(job.folder, part) for part in parts] for job in jobs]
    return mean_std([None if None in own else sum(filter(None, own)) for own in times])


def _scaled(figure: MeanStd | None, factor: float) -> MeanStd | None:
    if figure is None:
        return None
    deviation = None if figure.deviation is None else figure.deviation * factor
    return MeanStd(figure.mean * factor, deviation, figure.runs)


def _percent(fraction: Any) -> Any:
    return 100 * fraction if isinstance(fraction, float) else fraction
