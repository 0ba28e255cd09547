"""DPM-Solver++(2M) (Lu et al. 2022, algorithm 2): second order, no noise on the way."""

from __future__ import annotations

from torch import Tensor

from train.noise import NoiseOptions
from train.samplers.base import Generators, SamplerOptions, Step, respaced

NAME = "dpm++"

_LEAST_SIGNAL = 2.0**-24
"""What stands for an alpha-bar of zero: the solver needs a finite log-SNR. As in diffusers."""


def begin(
    options: SamplerOptions, noise: NoiseOptions, times: Tensor, generator: Generators
) -> Step:
    """See `train.samplers.base.Begin`."""
    from diffusers import DPMSolverMultistepScheduler  # slow to import: seconds

    scheduler = respaced(DPMSolverMultistepScheduler, noise, times)
    if noise.zero_terminal_snr:
        table = scheduler.alphas_cumprod
        # Of many steps the last but one has less signal than that already: SNR must still fall.
        table[-1] = min([_LEAST_SIGNAL, *(table[-2:-1] / 4).tolist()])
        scheduler.set_timesteps(len(times))

    def step(output: Tensor, k: int, x: Tensor) -> Tensor:
        return scheduler.step(output, k, x).prev_sample

    return step
