"""The commands `train vae`, `encode` and `diffusion`: one stage of a recipe on a store."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path

import torch

from shared.console import console, errors
from shared.store.export import ClipReader
from train.data.clips import open_store
from train.recipe import Recipe, store_warning
from train.recipes import load_recipe
from train.run import RunFolder
from train.stages.autoencoder import train_autoencoder
from train.stages.diffusion import train_diffusion
from train.stages.encode import encode_store
from train.stages.refiner import train_refiner
from train.stages.texts import encode_texts
from train.trainer.distributed import World, choose_device, own_device, process_group
from train.trainer.signals import stoppable

Step = Callable[[Recipe, ClipReader, RunFolder, torch.device], None]

ON_ONE_RANK: dict[str, tuple[Step, ...]] = {
    "vae": (encode_texts,),
    "encode": (encode_texts, encode_store),
    "diffusion": (encode_texts,),
}
"""Steps of each stage that one process computes for all."""

ON_ALL_RANKS: dict[str, tuple[Step, ...]] = {
    "vae": (train_autoencoder,),
    "encode": (),
    "diffusion": (train_diffusion, train_refiner),
}
"""Steps of each stage that the processes take together, after the others."""


def run_stage(
    stage: str,
    recipe_name: str,
    store_path: str,
    out: Path,
    overrides: list[str],
    device: str,
    start: Path | None = None,
) -> None:
    """Run one training stage into a run's folder, that of the recipe's guide first.

    Processes that torchrun started train together.

    Args:
        stage: `vae`, `encode` or `diffusion`.
        recipe_name: see `load_recipe`.
        store_path: to train on.
        out: the run's folder.
        overrides: of the recipe's fields.
        device: see `choose_device`.
        start: another run, see `RunFolder`.
    """
    recipe, store = load_recipe(recipe_name, overrides), open_store(store_path)
    run = RunFolder(out, None if start is None else RunFolder(start))
    chosen = own_device(choose_device(device))
    out.mkdir(parents=True, exist_ok=True)
    with process_group(chosen) as world, stoppable():
        if world.is_main and (differences := store_warning(recipe, store.options)):
            title = f"{store_path} is not the store that {recipe_name} was designed for:"
            errors.print(f"Warning: {title}\n{differences}", markup=False)
        with run.record_command() if world.is_main else nullcontext():
            train_stage(stage, recipe, store, run, chosen, world)
        if world.is_main:
            _print_next(stage, recipe_name, store_path, out)


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


def _print_next(stage: str, recipe_name: str, store_path: str, out: Path) -> None:
    following = {"vae": "encode", "encode": "diffusion", "diffusion": "sample"}[stage]
    arguments = (
        f"--run {out} --image PICTURE --text LABEL"
        if following == "sample"
        else f"--recipe {recipe_name} --store {store_path} --out {out}"
    )
    console.print(f"{stage}: done, in {out}. Next: python -m train {following} {arguments}")
