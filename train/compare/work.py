"""One run of a comparison: train, generate. Can be killed anywhere and called again."""

from __future__ import annotations

import json
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from shared.errors import UserError
from shared.lock import hold
from shared.paths import location, write_whole
from shared.reader import ClipReader, open_clips
from shared.schema import StoreAttributes
from train.compare.parts import do_once, took
from train.compare.plan import Run
from train.data import Clips
from train.generate import Generator, load_generator
from train.recipe import recipe_from_dict
from train.stages.autoencoder import train_autoencoder
from train.stages.diffusion import train_diffusion
from train.stages.encode import encode_store
from train.stages.refine import train_refiner

RUNS, GENERATED, FACTS = "runs", "generated", "run.json"

_BATCH = 8
"""Clips generated at once, and the most that a killed run loses of them."""

_SEEDS_APART = 100_000
"""Between the noises of two runs' seeds."""


@dataclass(frozen=True)
class Work:
    """What a worker needs to know of a run.

    Attributes:
        run: from the plan.
        out: the comparison's folder.
        store: of the run's system.
        chosen: test clips to generate, positions among the valid clips.
        device: torch's name of it.
    """

    run: Run
    out: Path
    store: Path
    chosen: tuple[int, ...]
    device: str

    @property
    def folder(self) -> Path:
        """The run's own."""
        return run_folder(self.out, self.run.name)

    def facts(self, store: ClipReader) -> dict[str, Any]:
        """All that the result depends on, as JSON has it."""
        recipe = self.run.recipe.to_dict()
        extraction = store.attributes.model_dump(mode="json")
        facts = {"recipe": recipe, "store": extraction, "chosen": self.chosen}
        return json.loads(json.dumps(facts))


def run_folder(out: Path, name: str) -> Path:
    """Where a run's networks and clips are."""
    return out / RUNS / name


def perform(work: Work) -> None:
    """Train and generate, in this process, on one thread.

    Raises:
        UserError: the folder holds the same run of a comparison with other options, or another
            process is at work in it.
    """
    torch.set_num_threads(1)
    with hold(work.folder):
        _perform(work)


def _perform(work: Work) -> None:
    run, folder, device = work.run, work.folder, torch.device(work.device)
    store = open_clips(location(str(work.store)))
    refuse_other(work, store)
    folder.mkdir(exist_ok=True)
    write_whole(folder / FACTS, json.dumps(work.facts(store), indent=1).encode())
    for name in run.takes:
        _take(work, name)
    recipe = run.recipe
    steps = {
        "vae": lambda: train_autoencoder(recipe, store, folder, device),
        "encode": lambda: encode_store(recipe, store, folder, device),
        "diffusion": lambda: train_diffusion(recipe, store, folder, device),
        "refiner": lambda: train_refiner(recipe, store, folder, device),
        GENERATED: lambda: _generate(work, store, device),
    }
    for name, step in steps.items():
        do_once(folder, name, step)


def generated(folder: Path, count: int) -> NDArray[np.uint8]:
    """The clips of a finished run, shape (N, T, 3, H, W), in the order that was asked for."""
    return np.concatenate([np.load(folder / GENERATED / _piece(i)) for i in _starts(count)])


def is_done(work: Work) -> bool:
    """Whether a run has all its clips."""
    return took(work.folder, GENERATED) is not None


def share_done(work: Work) -> float:
    """How much of a run is done, 0...1, for people to look at: training three quarters of it."""
    folder = work.folder
    clips = sum((folder / GENERATED / _piece(i)).exists() for i in _starts(len(work.chosen)))
    if is_done(work):
        return 1.0
    if clips:
        return 0.75 + 0.25 * clips / len(_starts(len(work.chosen)))
    return 0.75 * min(1.0, _last_step(folder / "diffusion") / work.run.steps)


def refuse_other(work: Work, store: ClipReader) -> None:
    """Notice a folder in which another comparison was made.

    Raises:
        UserError: it was made with other options, or from another store.
    """
    facts, path = work.facts(store), work.folder / FACTS
    if path.exists() and _completed(json.loads(path.read_text())) != _completed(facts):
        raise UserError(
            f"{work.folder} was made with other options, or from another store; give those, or"
            " another --out"
        )


def _completed(facts: dict[str, Any]) -> dict[str, Any]:
    """Facts that may be older than an option: it then had what is now its default."""
    recipe = recipe_from_dict(facts["recipe"]).to_dict()
    store = StoreAttributes.model_validate(facts["store"]).model_dump(mode="json")
    return facts | {"recipe": recipe, "store": store}


def _take(work: Work, name: str) -> None:
    """Copy what another run learned, whole or not at all."""
    assert work.run.after is not None
    source, target = run_folder(work.out, work.run.after) / name, work.folder / name
    if target.exists():
        return
    beside = target.with_name(f".{name}")
    shutil.rmtree(beside, ignore_errors=True)
    shutil.copytree(source, beside)
    beside.rename(target)


def _generate(work: Work, store: ClipReader, device: torch.device) -> None:
    generator = load_generator(work.folder, device)
    clips = Clips(store, work.run.recipe.split)
    (work.folder / GENERATED).mkdir(exist_ok=True)
    for start in _starts(len(work.chosen)):
        target = work.folder / GENERATED / _piece(start)
        if not target.exists():
            beside = target.with_name(f".{target.name}")
            np.save(beside, _clips(generator, clips, work, start))
            beside.rename(target)


def _clips(generator: Generator, clips: Clips, work: Work, start: int) -> NDArray[np.uint8]:
    """Clips `start` and following: noise depends on the seed and the clip's number alone."""
    indices = np.array(work.chosen[start : start + _BATCH])
    batch = clips.batch(indices, generator.device)
    first = work.run.recipe.seed * _SEEDS_APART + start
    seeds = range(first, first + len(indices))
    return generator(batch.first_frame, batch.label.tolist(), seeds).frames.numpy()


def _starts(count: int) -> range:
    return range(0, count, _BATCH)


def _piece(start: int) -> str:
    return f"clips-{start:05d}.npy"


def _last_step(folder: Path) -> int:
    """Of a stage that is running, as its log has it."""
    try:
        lines = (folder / "metrics.jsonl").read_bytes().splitlines()
        return int(json.loads(lines[-1])["step"])
    except (OSError, IndexError, ValueError, KeyError):  # none yet, or half a line
        return 0
