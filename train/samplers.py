"""Samplers: the reverse process from noise to x_0, with diffusers' schedulers."""

from __future__ import annotations

from typing import Annotated, Any, Literal

import torch
from pydantic import Field
from pydantic.dataclasses import dataclass
from torch import Tensor

from train.denoise import Denoise
from train.noise import NoiseOptions, scheduler_arguments
from train.options import STRICT


@dataclass(frozen=True, config=STRICT)
class SamplerOptions:
    """How x_0 is drawn."""

    name: Literal["ddpm", "ddim", "dpm++"] = "ddpm"
    steps: Annotated[int, Field(ge=1)] = 1000
    guidance: float = 1.0
    """Classifier-free guidance g; 1 = none."""


def make_scheduler(options: SamplerOptions, noise: NoiseOptions) -> Any:
    """The diffusers scheduler for a sampler's name, with its time steps set."""
    import diffusers  # slow to import: seconds

    arguments = scheduler_arguments(noise)
    # The targets are standardised, not bounded: diffusers' default clipping to [-1, 1] is off.
    scheduler = {
        "ddpm": lambda: diffusers.DDPMScheduler(**arguments, clip_sample=False),
        "ddim": lambda: diffusers.DDIMScheduler(**arguments, clip_sample=False),
        "dpm++": lambda: diffusers.DPMSolverMultistepScheduler(**arguments),
    }[options.name]()
    scheduler.set_timesteps(options.steps)
    return scheduler


@torch.no_grad()
def sample(
    denoise: Denoise,
    noise: Tensor,
    options: SamplerOptions,
    noise_options: NoiseOptions,
    generator: torch.Generator | list[torch.Generator],
) -> Tensor:
    """Draw x_0.

    Args:
        denoise: the (guided) prediction at (x_t, t), t of shape (B,).
        noise: standard normal, shape (B, ...): x at the last time step.
        options: sampler, number of steps.
        noise_options: the forward process.
        generator: on the CPU, for samplers that add noise on the way; one for all or one a clip.

    Returns:
        Shape of `noise`, float32.
    """
    scheduler = make_scheduler(options, noise_options)
    stochastic = {"generator": generator} if options.name == "ddpm" else {}
    x = noise * scheduler.init_noise_sigma
    for t in scheduler.timesteps:
        output = denoise(x, t.expand(len(x)).to(x.device)).float()
        x = scheduler.step(output, t, x, **stochastic).prev_sample
    return x
