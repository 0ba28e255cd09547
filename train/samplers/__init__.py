"""Samplers: the reverse process from noise to x_0, a file each, over diffusers' schedulers."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from train.denoise import Denoise
from train.noise import NoiseOptions
from train.samplers.base import Generators, SamplerOptions, samplers, sampling_times

__all__ = ["SamplerOptions", "sample", "samplers"]


@torch.no_grad()
def sample(
    denoise: Denoise,
    noise: Tensor,
    options: SamplerOptions,
    noise_options: NoiseOptions,
    generator: Generators,
    on_step: Callable[[], object] = lambda: None,
) -> Tensor:
    """Draw x_0.

    Args:
        denoise: the (guided) prediction at (x_t, t), t of shape (B,).
        noise: standard normal, shape (B, ...): x at the last time step.
        options: sampler, number of steps.
        noise_options: the forward process.
        generator: on the CPU, for samplers that add noise on the way; one for all or one a clip.
        on_step: called after each step.

    Returns:
        Shape of `noise`, float32.
    """
    times = sampling_times(options.steps, noise_options.steps)
    step = samplers()[options.name](options, noise_options, times, generator)
    x = noise
    for k in reversed(range(len(times))):
        t = times[k].to(x.device).expand(len(x))
        x = step(denoise(x, t).float(), k, x)
        on_step()
    return x
