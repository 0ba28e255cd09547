"""What the systems cost by counting: training and sampling, as `train cost` counts."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch.utils.flop_counter import FlopCounterMode

from train.cost import costed
from train.models.refiner import Refiner
from train.passes import GIGA
from train.recipe import ClipShape, Recipe


@dataclass(frozen=True)
class SystemCost:
    """Of one clip, operations in GFLOP, two a multiply-accumulate.

    Attributes:
        parameters: of the U-Net, with its first-frame encoder.
        training: forward and backward pass of the denoiser.
        sampling: all steps of the sampler, decoding, and refining where there is a network for it.
    """

    parameters: int
    training: float
    sampling: float


def system_cost(recipe: Recipe) -> SystemCost:
    """Count on the clips that the recipe was designed for."""
    # As on a CPU: counted, on any machine the same.
    _, denoiser, autoencoder = costed(recipe, torch.device("cpu"))
    asked = 1 if recipe.sampler.guidance == 1 else 2
    steps = recipe.sampler.steps * asked * denoiser.forward_gflop
    decoding = autoencoder.decode_gflop if autoencoder else 0.0
    return SystemCost(
        parameters=denoiser.unet_parameters + denoiser.first_frame_parameters,
        training=denoiser.gflop,
        sampling=steps + decoding + _refining(recipe),
    )


def _refining(recipe: Recipe) -> float:
    if recipe.refiner is None:
        return 0.0
    clips: ClipShape = recipe.designed_for
    with torch.device("meta"), torch.no_grad(), FlopCounterMode(display=False) as counter:
        network = Refiner(recipe.refiner)
        frames = torch.zeros(1, clips.frames - 1, 3, clips.size, clips.size)
        network(frames, frames, frames[:, 0], frames[:, 0])
    return counter.get_total_flops() / GIGA
