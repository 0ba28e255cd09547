"""DDPM: ancestral sampling (Ho et al. 2020, algorithm 2), variance of the posterior."""

from __future__ import annotations

from torch import Tensor

from train.noise import NoiseOptions
from train.samplers.base import Generators, SamplerOptions, Step, respaced

NAME = "ddpm"


def begin(
    options: SamplerOptions, noise: NoiseOptions, times: Tensor, generator: Generators
) -> Step:
    """See `train.samplers.base.Begin`."""
    from diffusers import DDPMScheduler  # slow to import: seconds

    # The targets are standardised, not bounded: diffusers' default clipping to [-1, 1] is off.
    scheduler = respaced(DDPMScheduler, noise, times, clip_sample=False)

    def step(output: Tensor, k: int, x: Tensor) -> Tensor:
        return scheduler.step(output, k, x, generator=generator).prev_sample

    return step
