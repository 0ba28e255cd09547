"""What the command line does, once its options are read."""

from __future__ import annotations

import json
import shlex
import signal
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import replace
from pathlib import Path

import torch

from shared.console import EXIT_BY_SIGNAL, Progress, console
from shared.errors import UserError
from shared.report.html import byte_count
from shared.store.export import ClipReader, open_clips
from shared.store.paths import location, require_reachable
from train.evaluate.codes import CODES_FILES, CodesOptions, codes_table, compare_codes
from train.evaluate.evaluate import PAGE, SCORES, TABLE, EvaluateOptions, evaluate
from train.evaluate.page import score_rows, shown
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
DEFAULT_COSTS = "vdm_128,ldm_128,d_vdm_128,ed_vdm_128"

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
    """Print what recipes cost; without names, the systems of the paper's Table 4 at 128x128."""
    from train.evaluate.cost import cost_data, cost_table, recipe_cost

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


def compare_residual_codes(store_path: str, out: Path, options: CodesOptions, device: str) -> None:
    """Print, and write into OUT, what residual codes of one latent size lose on test clips."""
    store, chosen = _open(store_path), choose_device(device)
    out.mkdir(parents=True, exist_ok=True)
    with _stoppable():
        content = compare_codes(store, out, options, chosen)
    console.print(codes_table(content), markup=False)
    console.print(f"wrote {', '.join(CODES_FILES)} in {out}", markup=False)


def evaluate_run(
    run: Path, store_path: str, out: Path, options: EvaluateOptions, device: str
) -> None:
    """Score a run by a protocol; see `train.evaluate.evaluate`."""
    generator, store = _load(run, store_path, device)
    with _stoppable(), recorded(run):
        scores = evaluate(generator, store, run, out, options)
    for what, value, _ in score_rows(scores):
        console.print(f"{what:70} {shown(value)}", markup=False)
    console.print(
        f"protocol {options.protocol.name}: wrote {SCORES}, {TABLE}, {PAGE} and the clips in {out}."
        f" Next: python -m train report {run} --store {store_path}",
        markup=False,
    )


def report_run(
    run: Path, store_path: str | None, out: Path, before: list[str], device: str
) -> None:
    """Write OUT/index.html from a run; data and codec are shown where its store is given."""
    trained = _load(run, store_path, device) if store_path else None
    page = build_report(run, out, before, trained, Progress())
    rest = "" if store_path else "; with --store STORE it shows data and reconstructions, too"
    console.print(f"open {page} ({byte_count(page.stat().st_size)}{rest})", markup=False)


def compare_systems(
    stores: Sequence[str],
    data: Path | None,
    out: Path,
    given: Mapping[str, object],
    *,
    names: Sequence[str],
    workers: int,
    device: str,
    finished: bool,
) -> None:
    """Train systems at equal cost, score, write tables; `given`: options by name."""
    from train.evaluate.compare.compare import compare

    with _stoppable():
        where = choose_device(device).type
        compare(
            stores, data, out, given, names=names, workers=workers, device=where, finished=finished
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
