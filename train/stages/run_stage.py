"""The commands `train vae`, `encode`, `diffusion`, `distil`: one stage of a recipe on a store."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path

import torch

from shared.console import console, errors, shell_command
from shared.cores import usable_cores
from shared.errors import UserError
from shared.store.lock import hold
from shared.store.reader import ClipReader, open_path
from train.data.clips import untrained_labels
from train.recipe import Recipe, store_warning
from train.run import RunFolder
from train.stages.autoencoder import train_autoencoder
from train.stages.decoder import train_decoder
from train.stages.diffusion import train_diffusion
from train.stages.distil import copy_teacher, train_distilled
from train.stages.encode import encode_store
from train.stages.refiner import train_refiner
from train.stages.texts import encode_texts
from train.trainer.distributed import (
    World,
    choose_device,
    launch,
    local_rank,
    own_device,
    process_group,
)
from train.trainer.signals import stoppable

Step = Callable[[Recipe, ClipReader, RunFolder, torch.device], None]

ON_ONE_RANK: dict[str, tuple[Step, ...]] = {
    "vae": (encode_texts,),
    "encode": (encode_texts, encode_store),
    "diffusion": (encode_texts,),
    "distil": (copy_teacher,),
}
"""Steps of each stage that one process computes for all."""

ON_ALL_RANKS: dict[str, tuple[Step, ...]] = {
    "vae": (train_autoencoder,),
    "encode": (),
    "diffusion": (train_diffusion, train_refiner, train_decoder),
    "distil": (train_distilled,),
}
"""Steps of each stage that the processes take together, after the others."""


def run_stage(
    stage: str,
    recipe: Recipe,
    store_path: str,
    out: Path,
    overrides: list[str],
    device: str,
    processes: str,
    start: Path | None = None,
) -> None:
    """Run one training stage into a run's folder, that of the recipe's guide first.

    Processes that torchrun, or this function, started train together.

    Args:
        stage: `vae`, `encode`, `diffusion` or `distil`.
        recipe: with its overrides.
        store_path: to train on.
        out: the run's folder.
        overrides: that the recipe has, for the command that is named as the next one.
        device: see `choose_device`.
        processes: number of them on this machine, or `auto`, see `process_count`.
        start: another run, see `RunFolder`.
    """
    store = open_path(store_path)
    run = RunFolder(out, None if start is None else RunFolder(start))
    chosen = own_device(choose_device(device))
    count = process_count(processes, stage, recipe, chosen)
    if count > 1 and local_rank() is None:
        if code := launch(count, [sys.executable, "-c", _MAIN, *sys.argv[1:]]):
            raise SystemExit(code)
        return
    out.mkdir(parents=True, exist_ok=True)
    with process_group(chosen) as world, stoppable():
        with _alone(run) if world.is_main else nullcontext():
            if world.is_main:
                if differences := store_warning(recipe, store.options):
                    title = f"{store_path} is not the store that {recipe.name} was designed for:"
                    errors.print(f"Warning: {title}\n{differences}")
                _name_untrained(store, recipe)
            train_stage(stage, recipe, store, run, chosen, world)
        if world.is_main:
            _print_next(stage, recipe.name, store_path, out, overrides)


@contextmanager
def _alone(run: RunFolder) -> Iterator[None]:
    """Hold the run's folder against other trainings, and note the command once it has ended."""
    try:
        with hold(run.root) as held, run.record_command():
            if not held:
                errors.print(f"{run.root}: no locks here; do not train in it twice at a time")
            yield
    except OSError as error:
        error.filename = error.filename or str(run.root)  # writing to a full disk names no file
        raise


_NAMED = 8


def _name_untrained(store: ClipReader, recipe: Recipe) -> None:
    """Name the labels that no training clip has."""
    if missing := untrained_labels(store, recipe.split):
        named = ", ".join(map(repr, missing[:_NAMED])) + (", …" if len(missing) > _NAMED else "")
        errors.print(
            f"No training clip has {len(missing)} of the {len(store.attributes.labels)} labels:"
            f" {named}. What is generated for them will not have been learned."
        )


_MAIN = (
    f"import sys; sys.path[0] = {str(Path(__file__).parents[2])!r}\n"
    "from train.__main__ import main; main()"
)
"""Program of a process that trains with others: this package, whatever the working folder holds."""


def process_count(given: str, stage: str, recipe: Recipe, device: torch.device) -> int:
    """Processes to train in: as given or, for `auto`, one a core on a CPU, else one.

    No more than clips in a step, and one where a stage has nothing to share out.

    Raises:
        UserError: `given` is neither `auto` nor a number above zero.
    """
    if given != "auto" and not (given.isdecimal() and int(given)):
        raise UserError(f"--processes {given}: must be auto or a number of processes, 1 or more")
    recipes = [recipe, *([recipe.guide] if recipe.guide else [])]
    if stage == "vae":
        learning = [r.autoencoder_training for r in recipes if r.autoencoder is not None]
    else:
        learning = [r.diffusion_training for r in recipes]
        learning += [r.refiner_training for r in recipes if r.refiner is not None]
        learning += [r.decoder_training for r in recipes if r.decoder is not None]
    if not learning or not ON_ALL_RANKS[stage]:
        return 1
    wanted = int(given) if given != "auto" else usable_cores() if device.type == "cpu" else 1
    return min(wanted, *(training.batch for training in learning))


def train_stage(
    stage: str,
    recipe: Recipe,
    store: ClipReader,
    run: RunFolder,
    device: torch.device,
    world: World,
) -> None:
    """Take the steps of a stage, for the recipe's guide first, and save the recipe."""
    if recipe.guide is not None:
        run.guide.root.mkdir(parents=True, exist_ok=True)
        train_stage(stage, recipe.guide, store, run.guide, device, world)
    if world.is_main:
        for step in ON_ONE_RANK[stage]:
            step(recipe, store, run, device)
    if ON_ALL_RANKS[stage]:
        world.barrier()
    for step in ON_ALL_RANKS[stage]:
        step(recipe, store, run, device)
    if world.is_main:
        run.save_recipe(recipe.to_dict())


def _print_next(
    stage: str, recipe_name: str, store_path: str, out: Path, overrides: list[str]
) -> None:
    following = {"vae": "encode", "encode": "diffusion"}.get(stage, "sample")
    changes = [part for override in overrides for part in ("--set", override)]
    arguments: tuple[object, ...] = (
        ("--run", out, "--image", "PICTURE", "--text", "LABEL")
        if following == "sample"
        else ("--recipe", recipe_name, "--store", store_path, "--out", out, *changes)
    )
    command = shell_command("dvdm-train", following, *arguments)
    console.print(f"{stage}: done, in {out}. Next: {command}")
