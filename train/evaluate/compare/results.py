"""The numbers of a comparison as rows: means over seeds, with their spread."""

from __future__ import annotations

import json
import statistics
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from shared.store.export import open_clips
from shared.store.paths import location, write_whole
from train.data.clips import Clips
from train.evaluate.clip_metrics import RealClips as Reference
from train.evaluate.clip_metrics import real_clip_metrics as measure_reference
from train.evaluate.compare.plan import Budget, Run
from train.evaluate.compare.systems import SPLIT, SystemCost
from train.evaluate.compare.work import GENERATED, Work, generated, run_folder, took
from train.evaluate.metrics.evaluation_networks import EvaluationNetworkOptions as JudgeOptions
from train.evaluate.metrics.evaluation_networks import EvaluationNetworks as Judges
from train.evaluate.metrics.evaluation_networks import train_evaluation_networks as train_judges
from train.evaluate.metrics.frames import psnr
from train.evaluate.summary import Summary as ClipScores
from train.evaluate.summary import summarise_clips as score_clips
from train.generate.generator import load_generator

# MERGED: What a comparison's clips are worth: every run judged by the same networks, trained once.


JUDGES, SCORES, BOUNDS = "judges", "scores.json", "bounds.json"

_AT_ONCE = 8
_CPU = torch.device("cpu")


@dataclass(frozen=True)
class Judging:
    """What a process that judges needs to know.

    Attributes:
        out: the comparison's folder.
        store: whose clips the judges learn from; all stores have the same.
        chosen: the test clips that were generated.
        judge_steps: of the classifier of gestures.
        works: the runs to score.
    """

    out: Path
    store: Path
    chosen: tuple[int, ...]
    judge_steps: int
    works: tuple[Work, ...] = ()

    def clips(self) -> Clips:
        """The store's, by the comparison's split."""
        return Clips(open_clips(location(str(self.store))), SPLIT)

    def judges(self, clips: Clips) -> Judges:
        """Trained, or loaded where they were."""
        options = JudgeOptions(
            gesture_steps=self.judge_steps, subject_steps=max(1, 4 * self.judge_steps // 3)
        )
        return train_judges(clips, self.out / JUDGES, _CPU, options)


def judge_bounds(judging: Judging) -> None:
    """Train the judges and score what no run can beat, and what each should: OUT/bounds.json.

    The real test clips themselves are the ceiling, their first frames repeated the floor.
    """
    torch.set_num_threads(1)
    clips = judging.clips()
    judges = judging.judges(clips)
    path = judging.out / BOUNDS
    if _is_scored(path, judges.identity):
        return
    reference = measure_reference(clips, judges, _CPU)
    indices = np.array(judging.chosen)
    real = torch.cat([
        clips.frames(clips.batch(piece, _CPU)) for piece in np.split(indices, len(indices))
    ])  # fmt: skip
    still = real[:, :1].expand_as(real)
    scores = {
        name: asdict(score_clips(frames, indices, clips, judges, reference, _CPU))
        for name, frames in {"real": real, "still": still}.items()
    }
    _write(path, {"judges": judges.identity, **scores})


def judge_runs(judging: Judging) -> None:
    """Score some runs, each into its own folder; those that are scored already are left."""
    torch.set_num_threads(1)
    clips = judging.clips()
    judges = judging.judges(clips)
    open_works = [
        work for work in judging.works if not _is_scored(work.folder / SCORES, judges.identity)
    ]
    if not open_works:
        return
    reference = measure_reference(clips, judges, _CPU)
    for work in open_works:
        scores = _scores(work, clips, judges, reference)
        restored = _restored(work)
        content = {"judges": judges.identity, "scores": asdict(scores), "psnr_restored": restored}
        _write(work.folder / SCORES, content)


def not_scored(judging: Judging, works: Sequence[Work]) -> list[Work]:
    """The runs without scores by the judges that the bounds were scored by; all where none were."""
    path = judging.out / BOUNDS
    if not path.exists():
        return list(works)
    identity = read_scores(path)["judges"]
    return [work for work in works if not _is_scored(work.folder / SCORES, identity)]


def share_scored(judging: Judging) -> float:
    """How many of the runs are scored, 0...1."""
    scored = sum((work.folder / SCORES).exists() for work in judging.works)
    return scored / max(1, len(judging.works))


def read_scores(path: Path) -> dict[str, Any]:
    """What was written of a run, or of the bounds."""
    return json.loads(path.read_text())


def _scores(work: Work, clips: Clips, judges: Judges, reference: Reference) -> ClipScores:
    frames = torch.from_numpy(generated(work.folder, len(work.chosen)))
    return score_clips(frames, np.array(work.chosen), clips, judges, reference, _CPU)


def _restored(work: Work) -> float:
    """PSNR of the real clips through the run's target space and back, dB: what it can represent."""
    generator = load_generator(work.folder, _CPU)
    clips = Clips(open_clips(location(str(work.store))), SPLIT)
    values: list[Tensor] = []
    for start in range(0, len(work.chosen), _AT_ONCE):
        batch = clips.batch(np.array(work.chosen[start : start + _AT_ONCE]), _CPU)
        with torch.no_grad():
            frames = generator.space.decode(generator.space.encode(batch), vars(batch)).frames
        values.append(psnr(frames[:, 1:], clips.frames(batch)[:, 1:]))
    return float(torch.cat(values).mean())


def _is_scored(path: Path, identity: str) -> bool:
    return path.exists() and read_scores(path)["judges"] == identity


def _write(path: Path, content: dict[str, Any]) -> None:
    write_whole(path, json.dumps(content, indent=1).encode())


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
