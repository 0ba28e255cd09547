"""Seconds and GFLOP of a generated video: python -m benchmarks.sampling --help.

Recipes by name, with random weights: the cost of a step does not depend on them. N sampling steps
cost N times a step, and decoding once; so both are measured in two short samplings and extrapolated
to N. Seconds are CPU time of all threads, which other work on the machine does not stretch, and
wall-clock time on a GPU. FLOP are those of torch's FlopCounterMode, two a multiply-accumulate; it
counts matrix products, convolutions and attention.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from rich.console import Console
from rich.table import Table
from torch.utils.flop_counter import FlopCounterMode

from benchmarks.measure import cpu_seconds, least_in_turn
from shared.console import run_command
from shared.schema import StoreAttributes
from train.evaluate.cost import stored_as
from train.generate.generator import Generator, with_sampler
from train.models import build_autoencoder, build_denoiser
from train.models.layers import parameter_count
from train.models.refiner import Refiner
from train.recipes import load_recipe
from train.spaces import SPACES, build_space
from train.trainer.distributed import choose_device
from train.trainer.monitor import processor

SAMPLERS = {"ddpm": 1000, "ddim": 50, "dpm++": 20}
"""Default numbers of steps."""

_FEW, _MORE = 2, 6
"""Steps of the two short samplings."""

_ROUNDS = 3
"""Timings of each sampling; the least counts."""

_LABELS = tuple(f"label {n}" for n in range(24))


@dataclass(frozen=True)
class Cost:
    """Seconds and GFLOP of one video, and the part of decoding in them."""

    recipe: str
    space: str
    size: str
    sampler: str
    steps: int
    guidance: float
    parameters: int
    seconds: float
    seconds_decoding: float
    gflop: float
    gflop_decoding: float


def main() -> None:
    given = arguments()
    device = choose_device(given.device)
    costs = []
    for name in given.recipes.split(","):
        generator = untrained(name, given.set, device)
        for sampler in given.samplers.split(","):
            steps = given.steps or SAMPLERS.get(sampler, 1)
            costs.append(cost(generator, name, sampler, steps, given.guidance, given.count))
    show(costs, given)
    if given.out:
        rows = [asdict(row) for row in costs]
        content = {"machine": processor(), "count": given.count, "costs": rows}
        given.out.write_text(json.dumps(content, indent=1) + "\n")


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    add = parser.add_argument
    add("--recipes", default="vdm_demo,ldm_demo,d_vdm_demo,ed_vdm_demo", help="names, with commas")
    add("--samplers", default=",".join(SAMPLERS), help="names, with commas")
    add("--steps", type=int, help="of all samplers; default: DDPM 1000, DDIM 50, DPM++ 20")
    add("--guidance", type=float, default=1.0, help="other than 1: two passes a step")
    add("--count", type=int, default=1, help="videos in a batch")
    add("--set", action="append", default=[], metavar="FIELD=VALUE", help="override in all recipes")
    add("--device", default="auto")
    add("--out", type=Path, help="JSON")
    return parser.parse_args()


def untrained(name: str, overrides: list[str], device: torch.device) -> Generator:
    """Build a recipe's generator with untrained weights, for clips that it was designed for.

    Labels are indices, without a text encoder.
    """
    recipe = load_recipe(name, overrides)
    store = stored_as(recipe.designed_for)
    attributes = StoreAttributes(
        dataset="none",
        manifest_hash="",
        options=store,
        labels=_LABELS,
        clips=1,
        shard_clips=1,
        plan_hash="",
    )
    autoencoder = None
    if recipe.autoencoder is not None:
        cell = SPACES[recipe.space.kind].latent_cell(recipe.space, store)
        autoencoder = build_autoencoder(recipe.autoencoder, cell, store).to(device).eval()
    space = build_space(recipe.space, store, autoencoder)
    if recipe.refiner is not None:
        space = space.with_refiner(Refiner(recipe.refiner).to(device).eval())
    network = build_denoiser(recipe.denoiser, space.denoiser_input, len(_LABELS))
    network = network.to(device).eval()
    return Generator(attributes, space, network, recipe, None, device)


def cost(
    generator: Generator, recipe: str, sampler: str, steps: int, guidance: float, count: int
) -> Cost:
    """Measure one video out of a batch of `count`."""
    few, more = (
        with_sampler(generator, name=sampler, steps=number, guidance=guidance)
        for number in (_FEW, _MORE)
    )
    size = generator.store.options.size
    frame = torch.randint(256, (count, 3, *size), dtype=torch.uint8)

    def run(one: Generator) -> Callable[[], object]:
        return lambda: one(frame, [0] * count, range(count))

    per_step, decoding = step_and_rest(flops(run(few)), flops(run(more)))
    run(few)()
    measure = cpu_seconds if generator.device.type == "cpu" else clock_seconds
    timings = least_in_turn(_ROUNDS, lambda: measure(run(few)), lambda: measure(run(more)))
    step_seconds, rest_seconds = step_and_rest(*timings)
    return Cost(
        recipe=recipe,
        space=generator.recipe.space.kind,
        size=str(size),
        sampler=sampler,
        steps=steps,
        guidance=guidance,
        parameters=parameter_count(generator.network),
        seconds=(steps * step_seconds + rest_seconds) / count,
        seconds_decoding=rest_seconds / count,
        gflop=(steps * per_step + decoding) / count / 1e9,
        gflop_decoding=decoding / count / 1e9,
    )


def step_and_rest(few: float, more: float) -> tuple[float, float]:
    """Cost of a step, and of everything else, from those of the two short samplings."""
    step = (more - few) / (_MORE - _FEW)
    return step, max(0.0, few - _FEW * step)


def flops(function: Callable[[], object]) -> float:
    """FLOP of a call."""
    with FlopCounterMode(display=False) as counter:
        function()
    return counter.get_total_flops()


def clock_seconds(function: Callable[[], object]) -> float:
    """Wall-clock seconds of a call that returns its result on the CPU."""
    start = time.perf_counter()
    function()
    return time.perf_counter() - start


def show(costs: list[Cost], given: argparse.Namespace) -> None:
    title = f"{processor()}; batches of {given.count}"
    unit = "CPU s" if choose_device(given.device).type == "cpu" else "s"
    table = Table(title=title, title_justify="left")
    for column in ("recipe", "space", "sampler"):
        table.add_column(column)
    for column in ("pixels", "steps", f"{unit} a video", "decoding", "GFLOP a video"):
        table.add_column(column, justify="right")
    for row in costs:
        table.add_row(
            row.recipe,
            row.space,
            row.sampler,
            row.size,
            f"{row.steps:,}",
            f"{row.seconds:.3g}",
            f"{row.seconds_decoding:.2g}",
            f"{row.gflop:,.1f}",
        )
    Console(width=120).print(table)


if __name__ == "__main__":
    sys.exit(run_command(main, "train"))
