"""What the command line does, once its options are read."""

from __future__ import annotations

import json
import shlex
import signal
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from shared.console import EXIT_BY_SIGNAL, Progress, byte_count, console
from shared.errors import UserError
from shared.store.export import ClipReader, open_clips
from shared.store.paths import location, require_reachable
from train.evaluate.report import build_report
from train.generate.generator import Generator, load_generator, with_sampler
from train.generate.sample import (
    SampleOptions,
    describe_sampling,
    generate_videos,
    load_first_frame,
    write_videos,
)
from train.recipe import Recipe
from train.recipes import load_recipe
from train.stages.autoencoder import check_same_store, train_autoencoder
from train.stages.diffusion import train_diffusion
from train.stages.latents import encode_store
from train.stages.refiner import train_refiner
from train.stages.texts import encode_texts
from train.trainer.distributed import joined, own_device
from train.trainer.signals import StoppedError

COMMANDS = "commands.jsonl"

Step = Callable[[Recipe, ClipReader, Path, torch.device], object]


def run_stage(
    stage: str, recipe_name: str, store_path: str, run: Path, overrides: list[str], device: str
) -> None:
    """Run one training stage of a recipe on a store, into a run's folder.

    Processes that torchrun started train together; what is computed once, one of them computes.
    """
    recipe, store = load_recipe(recipe_name, overrides), _open(store_path)
    chosen = own_device(choose_device(device))
    run.mkdir(parents=True, exist_ok=True)
    alone: list[Step] = [encode_texts, encode_store] if stage == "encode" else [encode_texts]
    together: dict[str, list[Step]] = {
        "vae": [train_autoencoder],
        "encode": [],
        "diffusion": [train_diffusion, train_refiner],
    }
    with joined(chosen) as world, _stoppable():
        with recorded(run) if world.is_main else nullcontext():
            if world.is_main:
                for step in alone:
                    step(recipe, store, run, chosen)
            if together[stage]:
                world.barrier()
            for step in together[stage]:
                step(recipe, store, run, chosen)
        if world.is_main:
            (run / "recipe.json").write_text(json.dumps(recipe.to_dict(), indent=1))
            _say_what_follows(stage, recipe_name, store_path, run)


@contextmanager
def _stoppable() -> Iterator[None]:
    try:
        yield
    except KeyboardInterrupt as stopped:
        console.print("stopped; the same command again goes on from the last checkpoint")
        number = stopped.signal if isinstance(stopped, StoppedError) else signal.SIGINT
        raise SystemExit(EXIT_BY_SIGNAL + number) from None


def _say_what_follows(stage: str, recipe_name: str, store_path: str, run: Path) -> None:
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


def sample_videos(
    run: Path,
    image: Path,
    text: str | None,
    text_encoder: str | None,
    options: SampleOptions,
    sampler: dict[str, float | str | None],
    device: str,
) -> None:
    """Generate videos; writes them and what shows them beside OUT.

    `sampler`: what differs from the run's own sampler options; None does not.
    """
    generator = with_sampler(load_generator(run, choose_device(device)), **sampler)
    store = generator.store
    label = None if text is None else generator.label_index(text, text_encoder)
    if text is None and sampler.get("guidance") is not None:
        raise UserError("--guidance leads towards a text; give --text too, or leave it out")
    first_frame = load_first_frame(image, store.options.size, store.options.fit)
    console.print(f"{image}: {first_frame.how}, as the store's frames were", markup=False)
    if store.options.crop:
        top, bottom, left, right = store.options.crop
        console.print(
            f"the store's frames were first cut to rows {top}:{bottom} and columns {left}:{right};"
            " give a picture that is cut likewise"
        )
    console.print(describe_sampling(generator, options, text), markup=False)
    options = replace(options, label=label)
    decoded = generate_videos(generator, first_frame.pixels, options)
    for path in write_videos(decoded, generator, options):
        console.print(f"wrote {path}", markup=False)


def show_costs(names: str | None, overrides: list[str], as_json: bool, device: str) -> None:
    """Print what recipes cost."""
    from train.evaluate.cost import show_costs

    show_costs(names, overrides, as_json, choose_device(device))


def evaluate_run(run: Path, store_path: str, out: Path | None, device: str, **options: Any) -> None:
    """Evaluate a run by a protocol."""
    from train.evaluate.evaluate import evaluate_run

    with _stoppable():
        evaluate_run(run, store_path, out, device=choose_device(device), **options)


def report_run(
    run: Path, store_path: str | None, out: Path, before: list[str], device: str
) -> None:
    """Write OUT/index.html from a run; data and codec are shown where its store is given."""
    trained = _load(run, store_path, device) if store_path else None
    page = build_report(run, out, before, trained, Progress())
    rest = "" if store_path else "; with --store STORE it shows data and reconstructions, too"
    console.print(f"open {page} ({byte_count(page.stat().st_size)}{rest})", markup=False)


def compare_spaces(
    data: Path,
    out: Path,
    given: Mapping[str, object],
    *,
    workers: int,
    device: str,
    finished: bool,
) -> None:
    """Train every target space at equal cost, score, write tables; `given`: options by name."""
    from train.evaluate.compare.compare import compare
    from train.evaluate.compare.systems import read_options

    with _stoppable():
        where = choose_device(device).type
        command = shlex.join(["python", "-m", "train", *sys.argv[1:]])
        options = read_options(given)
        compare(
            data, out, options, workers=workers, device=where, command=command, finished=finished
        )


def _open(store_path: str) -> ClipReader:
    place = location(store_path)
    require_reachable(place)
    return open_clips(place)


def _load(run: Path, store_path: str, device: str) -> tuple[Generator, ClipReader]:
    """A trained run and a store that belongs to it."""
    generator, store = load_generator(run, choose_device(device)), _open(store_path)
    check_same_store({"store": generator.store.model_dump(mode="json")}, store, run)
    return generator, store
