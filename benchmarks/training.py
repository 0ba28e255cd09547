"""Seconds per clip to train each network of a recipe: python -m benchmarks.training --help.

Forward and backward pass on clips of noise, of the shape that the recipe was designed for, with
random weights: the cost of a pass depends on neither. The optimiser's step, which a whole batch
has in common, and the reading of clips are left out. Precisions take turns in each round; the
least time counts. On CPUs it is the CPU time of all threads, which other work on the machine does
not stretch; on GPUs it is wall-clock time, and peak memory is shown too.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path

import torch
from rich.console import Console
from rich.table import Table
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from benchmarks.measure import cpu_seconds, least_in_turn
from shared.console import run_command
from train.evaluate.cost import FUSED_ATTENTION, autoencoder_pass
from train.evaluate.cost import denoiser_pass as denoising_case
from train.models.refiner import Refiner
from train.recipe import Recipe
from train.recipes import load_recipe
from train.trainer.distributed import choose_device
from train.trainer.monitor import computes_bfloat16, processor

_WINDOW = 6
"""Frames per clip in a refiner's training step."""

PRECISIONS = ("float32", "bfloat16")


@dataclass(frozen=True)
class Network:
    """A module to train, and its forward pass to a scalar loss."""

    module: nn.Module
    forward: Callable[[], Tensor]


@dataclass(frozen=True)
class Figure:
    """Seconds and GFLOP per clip, and peak bytes, of a network in one precision."""

    recipe: str
    part: str
    precision: str
    compiled: bool
    batch: int
    seconds: float
    gflop: float
    peak_bytes: int | None


def main() -> None:
    given = arguments()
    device = choose_device(given.device)
    figures = []
    for name in given.recipes.split(","):
        recipe = load_recipe(name, given.set)
        for part, network in networks(recipe, given.batch, device):
            if part in given.parts.split(","):
                figures += figures_of(name, part, network, given, device)
    show(figures, device)
    if given.out:
        content = {"machine": processor(), "figures": [asdict(row) for row in figures]}
        given.out.write_text(json.dumps(content, indent=1) + "\n")


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    add = parser.add_argument
    add("--recipes", default="vdm_demo,ldm_demo,d_vdm_demo,ed_vdm_demo", help="names, by commas")
    add("--parts", default="denoiser,autoencoder,refiner", help="names, by commas")
    add("--batch", type=int, default=1, help="clips in a step")
    add("--compile", action="store_true", help="also with torch.compile")
    add("--rounds", type=int, default=5, help="timings of each; the least counts")
    add("--set", action="append", default=[], metavar="FIELD=VALUE", help="override in all recipes")
    add("--device", default="auto")
    add("--out", type=Path, help="JSON")
    return parser.parse_args()


def networks(recipe: Recipe, batch: int, device: torch.device) -> Iterator[tuple[str, Network]]:
    """The networks that a recipe trains, by name."""
    case, _ = denoising_case(recipe)
    noisy, t, conditions = case.shapes.zeros()
    given = {"noisy": noisy, "t": t, **conditions}
    noise = {n: noise_like(x.expand(batch, *x.shape[1:])).to(device) for n, x in given.items()}
    target, times = noise.pop("noisy"), noise.pop("t")
    unet = case.network().to(device)
    yield "denoiser", Network(unet, lambda: unet(target, times, noise).float().square().mean())
    if recipe.autoencoder is not None:
        yield "autoencoder", Network(*autoencoder_pass(recipe, batch, device))
    if recipe.refiner is not None:
        refiner = Refiner(recipe.refiner).to(device)
        frames = torch.randn(batch, _WINDOW, 3, *recipe.designed_for.frame_size).to(device)
        given = frames, frames, frames[:, 0], frames[:, 0]
        yield "refiner", Network(refiner, lambda: torch.stack(refiner(*given)).square().mean())


def noise_like(tensor: Tensor) -> Tensor:
    """Noise of a tensor's shape; integer tensors, such as labels, are returned as they are."""
    return torch.randn(tensor.shape) if tensor.is_floating_point() else tensor


def figures_of(
    recipe: str, part: str, network: Network, given: argparse.Namespace, device: torch.device
) -> list[Figure]:
    """Measure a network in every precision, plain and, if asked for, compiled."""
    gflop = flops(network.forward) / given.batch
    figures = []
    for compiled in (False, True) if given.compile else (False,):
        if compiled:
            network.module.compile()
        runs = [partial(step, network, device, precision) for precision in PRECISIONS]
        peaks = [peak(run, device) for run in runs]  # the first call also compiles
        timings = least_in_turn(given.rounds, *(partial(seconds, run, device) for run in runs))
        figures += [
            Figure(recipe, part, name, compiled, given.batch, time / given.batch, gflop, most)
            for name, time, most in zip(PRECISIONS, timings, peaks, strict=True)
        ]
    return figures


def step(network: Network, device: torch.device, precision: str) -> None:
    """Forward and backward pass, in float32 or under bfloat16 autocast."""
    network.module.zero_grad(set_to_none=True)
    with torch.autocast(device.type, torch.bfloat16, enabled=precision == "bfloat16"):
        loss = network.forward()
    loss.backward()


def seconds(run: Callable[[], object], device: torch.device) -> float:
    if device.type == "cpu":
        return cpu_seconds(run)
    torch.cuda.synchronize(device)
    start = time.perf_counter()
    run()
    torch.cuda.synchronize(device)
    return time.perf_counter() - start


def peak(run: Callable[[], object], device: torch.device) -> int | None:
    """Peak bytes of tensors on a GPU in the second of two steps; None on a CPU."""
    run()
    if device.type == "cpu":
        return None
    torch.cuda.reset_peak_memory_stats(device)
    run()
    return torch.cuda.max_memory_allocated(device)


def flops(forward: Callable[[], Tensor]) -> float:
    """GFLOP of forward and backward pass: matrix products, convolutions and attention."""
    with FlopCounterMode(display=False, custom_mapping=FUSED_ATTENTION) as counter:
        forward().backward()
    return counter.get_total_flops() / 1e9


def show(figures: list[Figure], device: torch.device) -> None:
    title = f"{processor()}, {torch.get_num_threads()} threads"
    title += "; training takes " + ("bfloat16" if computes_bfloat16(device) else "float32")
    table = Table(title=title, title_justify="left")
    unit = "CPU s" if device.type == "cpu" else "s"
    for column in ("recipe", "part", "precision", "compiled"):
        table.add_column(column)
    for column in (f"{unit} a clip", "GFLOP/s", "peak GiB"):
        table.add_column(column, justify="right")
    for row in figures:
        table.add_row(
            row.recipe,
            row.part,
            row.precision,
            "yes" if row.compiled else "no",
            f"{row.seconds:.3g}",
            f"{row.gflop / row.seconds:,.0f}",
            "" if row.peak_bytes is None else f"{row.peak_bytes / 2**30:.2f}",
        )
    Console(width=120).print(table)


if __name__ == "__main__":
    sys.exit(run_command(main, "train"))
