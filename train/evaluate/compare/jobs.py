"""Train a run of a comparison and generate its clips: one job, done in a process of its own.

A job can be killed at any time and started again. It leaves files; nothing comes back from its
process but that it is done, or an exception. What it makes depends on no other process.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from shared.schema import StoreAttributes
from shared.store.lock import hold
from shared.store.paths import write_whole
from shared.store.reader import open_path
from train.data.clips import Clips
from train.evaluate.compare.plan import Run, SystemCost
from train.evaluate.compare.systems import CompareOptions, System
from train.evaluate.make_clips import load_run, make_parts, plan_parts, run_identity
from train.evaluate.protocols import Plan
from train.recipe import Recipe
from train.run import RunFolder
from train.stages.run_stage import train_stage
from train.trainer.checkpoint import check_same_config, save_config
from train.trainer.distributed import World
from train.trainer.monitor import read_metrics

GENERATED = "generated"
"""Part of a run, and its folder: the clips."""

_SEED_STRIDE = 100_000
"""Difference between the noise seeds of two runs' seeds."""


@dataclass(frozen=True)
class Setup:
    """Settings that all runs of a comparison share.

    Attributes:
        out: folder of the comparison.
        store: path of the store whose frames are the real clips; the others have the same clips.
        split: protocol that separates training from test clips.
        chosen: test clips that clips are generated from, positions among the valid clips.
        samples: clips generated from each of them.
        judge_steps: training steps of the gesture classifier.
        device: name of a torch device.
    """

    out: Path
    store: str
    split: str
    chosen: tuple[int, ...]
    samples: int
    judge_steps: int
    device: str

    @property
    def starts(self) -> NDArray[np.int64]:
        """Test clip that each generated clip starts from: `chosen`, sample after sample."""
        return np.tile(self.chosen, self.samples)


@dataclass(frozen=True)
class RunJob:
    """A run of the plan in its setup."""

    setup: Setup
    run: Run

    @property
    def folder(self) -> Path:
        """The run's own folder."""
        return self.setup.out / "runs" / self.run.name

    def is_done(self) -> bool:
        """Test whether the run has all its clips."""
        return (self.folder / "times" / f"{GENERATED}.json").exists()

    def progress(self) -> float:
        """Estimate the finished part, 0...1, by the log of the denoiser's training."""
        lines = read_metrics(RunFolder(self.folder).diffusion)
        return 0.9 * min(1.0, lines[-1]["step"] / self.run.steps) if lines else 0.0

    def facts(self) -> dict[str, Any]:
        """Settings that the result depends on, as JSON holds them."""
        store = open_path(self.run.store).attributes.model_dump(mode="json")
        recipe = self.run.load_recipe().to_dict()
        facts = {"recipe": recipe, "store": store, "chosen": list(self.setup.chosen)}
        return facts | ({"samples": self.setup.samples} if self.setup.samples > 1 else {})


@dataclass(frozen=True)
class Comparison:
    """Plan of a comparison, before anything is trained.

    Attributes:
        options: sizes, budgets, seeds.
        store: attributes of the store whose frames are the real clips.
        setup: what all runs have in common.
        systems: rows, by name.
        costs: of each.
        runs: in the order they are begun.
        left_out: what is missing, and why.
    """

    options: CompareOptions
    store: StoreAttributes
    setup: Setup
    systems: dict[str, System]
    costs: dict[str, SystemCost]
    runs: list[Run]
    left_out: dict[str, str]

    @property
    def jobs(self) -> list[RunJob]:
        """The runs in their setup."""
        return [RunJob(self.setup, run) for run in self.runs]


def train_run(job: RunJob) -> None:
    """Train a run stage by stage and generate its clips, as far as that is not done yet.

    Raises:
        UserError: the folder holds a run with other options, or another process works in it.
    """
    run, folder, recipe = job.run, job.folder, job.run.load_recipe()
    with hold(folder):
        check_same_config(folder, job.facts())
        save_config(folder, job.facts())
        if run.after is not None:
            _take_stages(folder.with_name(run.after), folder, denoiser=run.takes_denoiser)
        stages = {"vae": recipe, "encode": recipe, "diffusion": replace(recipe, refiner=None)}
        for stage, of_stage in stages.items():
            once(folder, stage, partial(_train, stage, of_stage, job))
        if recipe.refiner is not None:  # on top of a denoiser that is trained: timed by itself
            once(folder, "refiner", partial(_train, "diffusion", recipe, job))
        once(folder, GENERATED, lambda: _generate(job))


def _train(stage: str, recipe: Recipe, job: RunJob) -> None:
    device = torch.device(job.setup.device)
    train_stage(stage, recipe, open_path(job.run.store), RunFolder(job.folder), device, World())


def _take_stages(source: Path, target: Path, *, denoiser: bool) -> None:
    """Copy what another run has learned before its denoiser, or with it."""
    run = RunFolder(source)
    learned = [run.texts, run.autoencoder, run.statistics, run.guide.root]
    RunFolder(target).copy_missing([*learned, run.diffusion] if denoiser else learned)


def _generate(job: RunJob) -> None:
    """Generate the chosen clips; the noise of each depends on the run's seed and its place."""
    trained = load_run(job.folder, torch.device(job.setup.device))
    clips = Clips(open_path(job.run.store), job.setup.split)
    starts = job.setup.starts
    seeds = _SEED_STRIDE * job.run.seed + np.arange(len(starts))
    plan = Plan(clips.test, len(clips.test), starts, seeds)
    identity = run_identity(trained, clips, reconstruct=False)
    parts = plan_parts(job.folder / GENERATED, plan, identity)
    make_parts(parts, plan, trained, clips, reconstruct=False)


def generated_clips(run: Path) -> Tensor:
    """Read the clips of a finished run: uint8, shape (N, T, 3, H, W), in the order of `starts`."""
    from safetensors.torch import load_file

    files = sorted((run / GENERATED / "parts").glob("part-*.safetensors"))
    return torch.cat([load_file(file)["frames"] for file in files])


def once(run: Path, name: str, do: Callable[[], object]) -> None:
    """Do a part of a run unless it was done; write its CPU seconds to RUN/times."""
    done, begun = run / "times" / f"{name}.json", run / "times" / f"{name}.begun"
    if done.exists():
        return
    done.parent.mkdir(parents=True, exist_ok=True)
    with begun.open("a", encoding="utf-8") as file:
        file.write(".")
    started = time.process_time()
    do()
    content = {"cpu_seconds": time.process_time() - started, "attempts": begun.stat().st_size}
    write_whole(done, json.dumps(content).encode())


def cpu_seconds(run: Path, name: str) -> float | None:
    """Read what a part of a run took, over all threads; None if it was interrupted or not done."""
    path = run / "times" / f"{name}.json"
    content = json.loads(path.read_bytes()) if path.exists() else {"attempts": 0}
    return content["cpu_seconds"] if content["attempts"] == 1 else None
