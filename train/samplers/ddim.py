"""DDIM (Song et al. 2021, equation 12): the noise on the way is scaled by eta."""

from __future__ import annotations

from torch import Tensor

from train.noise import NoiseOptions
from train.samplers.base import Generators, SamplerOptions, Step, respaced

NAME = "ddim"

_BELOW_ONE = 1 - 2.0**-20
"""The most of eta. With 1 and next to no signal, sigma_t^2 is 1 - alpha-bar of the time before, and
what diffusers takes the root of, their difference, is rounded to below zero on some processors."""


def begin(
    options: SamplerOptions, noise: NoiseOptions, times: Tensor, generator: Generators
) -> Step:
    """See `train.samplers.base.Begin`."""
    from diffusers import DDIMScheduler  # slow to import: seconds

    scheduler = respaced(DDIMScheduler, noise, times, clip_sample=False)

    def step(output: Tensor, k: int, x: Tensor) -> Tensor:
        # The last step ends in x_0: no noise is left to add.
        eta = min(options.eta, _BELOW_ONE) if k else 0.0
        return scheduler.step(output, k, x, eta=eta, generator=generator).prev_sample

    return step
