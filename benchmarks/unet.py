"""A 3D U-Net's passes against video-diffusion-pytorch's: python -m benchmarks.unet --help.

Both have the same widths, levels, heads and 7x7 first convolution, and clips of noise of the same
shape; ours also encodes a first frame. A training step is a forward and backward pass of a clip, a
sampling step a forward pass. They take turns in each round, and the least CPU time of each counts.
The peer is optional: pip install video-diffusion-pytorch.
"""

from __future__ import annotations

import argparse
import importlib
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path

import torch
from torch import Tensor, nn

from benchmarks.measure import Figure, cpu_seconds, least_in_turn, show, write
from benchmarks.training import Network, noise_like, step
from shared.console import run_command
from shared.errors import UserError
from train.evaluate.cost import denoiser_pass
from train.models.layers import parameter_count
from train.recipes import load_recipe

MULTS, HEADS, HEAD_DIM = (1, 2, 4, 8), 8, 32
TARGETS = {"float32": 1.3, "bfloat16": 1.7}
"""Ratios of times to be kept, by precision."""

CPU = torch.device("cpu")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    add = parser.add_argument
    add("--dim", type=int, default=32, help="channels at the finest level")
    add("--size", type=int, default=64, help="side of the clips, pixels")
    add("--rounds", type=int, default=5, help="timings of each; the least counts")
    add("--out", type=Path, help="JSON")
    given = parser.parse_args()
    ours, clip = our_network(given.dim, given.size)
    peer = peer_network(given.dim, *clip)
    figures = unet_figures(ours, peer, given.rounds)
    show(figures)
    if given.out:
        write(figures, given.out)


def our_network(dim: int, size: int) -> tuple[Network, tuple[Tensor, Tensor]]:
    """The U-Net of `vdm_64` at a width, and the clip that it is measured on, with its time step."""
    options = {"dim": dim, "mults": list(MULTS), "heads": HEADS, "head_dim": HEAD_DIM}
    changes = [f"denoiser.{name}={value}" for name, value in options.items()]
    changes += ["denoiser.input_kernel=7", "denoiser.temporal_conv=false", "text.encoder=null"]
    case, _ = denoiser_pass(load_recipe("vdm_64", [*changes, f"designed_for.size={size}"]))
    zeros, t, conditions = case.shapes.zeros()
    noisy, known = noise_like(zeros), {name: noise_like(x) for name, x in conditions.items()}
    unet = case.network()
    return Network(unet, lambda: unet(noisy, t, known).square().mean()), (noisy, t)


def peer_network(dim: int, noisy: Tensor, t: Tensor) -> Network:
    """The peer's U-Net on the same clip.

    Raises:
        UserError: it is not installed.
    """
    try:
        peer = importlib.import_module("video_diffusion_pytorch")
    except ModuleNotFoundError as error:
        raise UserError(f"no module {error.name}: pip install video-diffusion-pytorch") from None
    unet: nn.Module = peer.Unet3D(
        dim, dim_mults=MULTS, channels=noisy.shape[1], attn_heads=HEADS, attn_dim_head=HEAD_DIM
    )
    return Network(unet, lambda: unet(noisy, t).square().mean())


def unet_figures(ours: Network, peer: Network, rounds: int) -> list[Figure]:
    """CPU seconds a clip of both kinds of steps, in each precision."""
    millions = [parameter_count(network.module) / 1e6 for network in (ours, peer)]
    sizes = f"{millions[0]:.1f}M against {millions[1]:.1f}M"
    passes: dict[str, Callable[[Network, str], None]] = {
        "training step": lambda network, precision: step(network, CPU, precision),
        "sampling step": forward,
    }
    figures = []
    for name, run in passes.items():
        for precision, target in TARGETS.items():
            calls = [partial(run, network, precision) for network in (ours, peer)]
            for call in calls:  # memory and kernels are there from the second call on
                call()
            mine, theirs = least_in_turn(rounds, *(partial(cpu_seconds, call) for call in calls))
            title = f"{name}, {precision}, {sizes}"
            figures.append(Figure(title, mine, theirs, "s", theirs / mine, target))
    return figures


def forward(network: Network, precision: str) -> None:
    """A pass without gradients, in float32 or under bfloat16 autocast."""
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16, enabled=precision == "bfloat16"):
        network.forward()


if __name__ == "__main__":
    sys.exit(run_command(main, "train"))
