"""What the command line does, once its options are read."""

from __future__ import annotations

import json
import shlex
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path

import torch

from shared.console import EXIT_INTERRUPTED, Progress, console
from shared.errors import UserError
from shared.paths import location, require_reachable
from shared.reader import ClipReader, open_clips
from train.evaluate import evaluate
from train.generate import Generator, load_generator
from train.images import load_first_frame
from train.pictures import contact_sheet, enlarge, save_picture, save_video
from train.recipe import Recipe
from train.recipes import load_recipe
from train.report import build_report
from train.stages.autoencoder import refuse_other_store, train_autoencoder
from train.stages.diffusion import train_diffusion
from train.stages.encode import encode_store
from train.stages.refine import train_refiner
from train.stages.texts import encode_texts

COMMANDS = "commands.jsonl"
DEFAULT_COSTS = "vdm_128,ldm_128,d_vdm_128,ed_vdm_128"
EVALUATION = "evaluation"

_SMALLEST_VIDEO = 256
"""Smaller clips are enlarged to about this side, pixels, so that players show them well."""


def run_stage(
    stage: str, recipe_name: str, store_path: str, run: Path, overrides: list[str], device: str
) -> None:
    """Run one training stage of a recipe on a store, into a run's folder."""
    recipe, store = load_recipe(recipe_name, overrides), _open(store_path)
    chosen = choose_device(device)
    run.mkdir(parents=True, exist_ok=True)
    steps: dict[str, list[Callable[[Recipe, ClipReader, Path, torch.device], object]]] = {
        "vae": [train_autoencoder],
        "encode": [encode_store],
        "diffusion": [train_diffusion, train_refiner],
    }
    try:
        with recorded(run):
            for step in [encode_texts, *steps[stage]]:
                step(recipe, store, run, chosen)
        (run / "recipe.json").write_text(json.dumps(recipe.to_dict(), indent=1))
    except KeyboardInterrupt:
        console.print("interrupted; the same command again goes on from the last checkpoint")
        raise SystemExit(EXIT_INTERRUPTED) from None
    following = {"vae": "encode", "encode": "diffusion", "diffusion": "sample"}[stage]
    arguments = (
        f"--run {run} --image PICTURE --text LABEL"
        if following == "sample"
        else f"--recipe {recipe_name} --store {store_path} --out {run}"
    )
    console.print(f"{stage}: done, in {run}. Next: python -m train {following} {arguments}")


def choose_device(name: str) -> torch.device:
    """The device by name; `auto` takes CUDA where there is one.

    Raises:
        UserError: the name is unknown or the device is absent.
    """
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    try:
        device: torch.device | None = torch.device(name)
    except RuntimeError:
        device = None
    if device is None or device.type not in ("cpu", "cuda"):
        raise UserError(f"--device {name}: must be auto, cpu, cuda or cuda:N")
    if device.type == "cuda" and not torch.cuda.is_available():
        raise UserError(f"--device {name}: this machine has no CUDA device; use --device cpu")
    return device


@contextmanager
def recorded(run: Path) -> Iterator[None]:
    """Note a finished command and its seconds in RUN/commands.jsonl, for the report."""
    started = time.monotonic()
    yield
    command = shlex.join(["python", "-m", "train", *sys.argv[1:]])
    with (run / COMMANDS).open("a") as file:
        seconds = round(time.monotonic() - started, 1)
        file.write(json.dumps({"command": command, "seconds": seconds}) + "\n")


def sample_video(
    run: Path, image: Path, text: str | None, out: Path, seed: int, fps: float, device: str
) -> None:
    """Generate one clip; writes OUT and, beside it, a contact sheet."""
    if out.suffix.lower() != ".mp4":
        raise UserError(f"--out {out}: the video is an mp4; give a name that ends in .mp4")
    generator = load_generator(run, choose_device(device))
    label = None if text is None else generator.label_index(text)
    first_frame = load_first_frame(image, generator.store.options.size, generator.store.options.fit)
    clip = generator(first_frame, [label], [seed]).frames[0].numpy()
    sheet = out.with_suffix(".png")
    save_video(out, enlarge(clip, max(1, _SMALLEST_VIDEO // clip.shape[-1])), fps=fps)
    save_picture(sheet, contact_sheet([clip]))
    console.print(f"wrote {out} ({len(clip)} frames at {fps:g} a second) and {sheet}")


def show_costs(names: str | None, overrides: list[str], as_json: bool, device: str) -> None:
    """Print what recipes cost; without names, the systems of the paper's Table 4 at 128x128."""
    from train.cost import recipe_cost
    from train.cost_table import cost_data, cost_table

    recipes = [load_recipe(name.strip(), overrides) for name in (names or DEFAULT_COSTS).split(",")]
    where = choose_device(device)
    with Progress().bar("counting", len(recipes), "recipes") as bar:
        costs = []
        for recipe in recipes:
            costs.append(recipe_cost(recipe, where))
            bar()
    if as_json:
        console.print_json(json.dumps(cost_data(costs)))
    else:
        console.print(cost_table(costs), markup=False)


def evaluate_run(
    run: Path, store_path: str, out: Path, seed: int, seconds: float, device: str
) -> None:
    """Score a run; writes OUT/scores.json and the generated clips."""
    generator, store = _load(run, store_path, device)
    with recorded(run):
        scores = evaluate(generator, store, out, seed=seed, classifier_seconds=seconds).scores
    for name, value in asdict(scores).items():
        console.print(
            f"{name:34} {value:.2f}" if isinstance(value, float) else f"{name:34} {value}"
        )
    console.print(f"Next: python -m train report {run} --store {store_path}")


def report_run(run: Path, store_path: str, out: Path, before: list[str], device: str) -> None:
    """Write OUT/index.html and its pictures from a run that was evaluated."""
    generator, store = _load(run, store_path, device)
    page = build_report(generator, store, run, run / EVALUATION, out, before)
    console.print(f"open {page}")


def _open(store_path: str) -> ClipReader:
    place = location(store_path)
    require_reachable(place)
    return open_clips(place)


def _load(run: Path, store_path: str, device: str) -> tuple[Generator, ClipReader]:
    """A trained run and a store that belongs to it."""
    generator, store = load_generator(run, choose_device(device)), _open(store_path)
    refuse_other_store({"store": generator.store.model_dump(mode="json")}, store, run)
    return generator, store
