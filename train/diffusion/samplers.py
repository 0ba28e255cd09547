"""Samplers: the reverse process from noise to x_0. A new one is a function and a line in SAMPLERS.

All of them run on the process restricted to the visited times: between two of them lies one larger
step (Nichol and Dhariwal 2021, section 4). Notation: alpha-bar_k at the k-th visited time,
x_k = a_k x_0 + s_k eps with a_k = sqrt(alpha-bar_k), s_k = sqrt(1 - alpha-bar_k); before the first
time lies x_0 itself, alpha-bar = 1. Tensors have the shape (B, ...).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Annotated

import torch
from pydantic import AfterValidator, Field
from pydantic.dataclasses import dataclass
from torch import Tensor

from train.diffusion.noise import NoiseOptions, alphas_cumprod
from train.diffusion.objective import Denoise, Scaling, thresholded
from train.options import STRICT

Generators = torch.Generator | list[torch.Generator]
"""On the CPU: one for all clips, or one a clip."""

Step = Callable[[int, Tensor, Tensor, Tensor], Tensor]
"""(k, x_k, the network's x_0, its eps) to x at the time before the k-th; to x_0 for k = 0."""


def ddpm(options: SamplerOptions, levels: Sequence[float], generators: Generators) -> Step:
    """Ancestral sampling (Ho et al. 2020, algorithm 2) with the posterior's variance (equation 7).

    x_{k-1} = a_{k-1} beta / s_k^2 x_0 + sqrt(alpha) s_{k-1}^2 / s_k^2 x_k + sigma z, where
    alpha = alpha-bar_k / alpha-bar_{k-1}, beta = 1 - alpha, sigma^2 = s_{k-1}^2 / s_k^2 beta.
    """

    def step(k: int, x: Tensor, x0: Tensor, eps: Tensor) -> Tensor:
        if k == 0:
            return x0
        level, before = levels[k], levels[k - 1]
        alpha = level / before
        variance, variance_before, beta = 1 - level, 1 - before, 1 - alpha
        mean = math.sqrt(before) * beta / variance * x0
        mean = mean + math.sqrt(alpha) * variance_before / variance * x
        return mean + math.sqrt(variance_before / variance * beta) * _normal_like(x, generators)

    return step


def ddim(options: SamplerOptions, levels: Sequence[float], generators: Generators) -> Step:
    """DDIM (Song et al. 2021, equations 12 and 16); eta = 0: no noise on the way, 1: as DDPM's.

    x_{k-1} = a_{k-1} x_0 + sqrt(s_{k-1}^2 - sigma^2) eps + sigma z.
    """

    def step(k: int, x: Tensor, x0: Tensor, eps: Tensor) -> Tensor:
        if k == 0:
            return x0
        level, before = levels[k], levels[k - 1]
        variance = options.eta**2 * (1 - before) / (1 - level) * (1 - level / before)
        towards = math.sqrt(max(0.0, 1 - before - variance))
        x = math.sqrt(before) * x0 + towards * eps
        if options.eta:
            x = x + math.sqrt(variance) * _normal_like(x, generators)
        return x

    return step


def dpm_solver(options: SamplerOptions, levels: Sequence[float], generators: Generators) -> Step:
    """DPM-Solver++(2M) (Lu et al. 2022, algorithm 2): second order, no noise on the way.

    With lambda = log(a / s), h = lambda_{k-1} - lambda_k, r = (lambda_k - lambda_{k+1}) / h,
    x_{k-1} = s_{k-1} / s_k x_k - a_{k-1} (e^{-h} - 1) (x_0 + (x_0 - x_0 of the step before) / 2r).
    """
    half_log_snr = [0.5 * math.log(level / (1 - level)) for level in levels]
    earlier: list[Tensor] = []

    def step(k: int, x: Tensor, x0: Tensor, eps: Tensor) -> Tensor:
        if k == 0:  # s = 0: e^{-h} = 0; first order, as there is no finite log-SNR
            return x0
        level, before = levels[k], levels[k - 1]
        h = half_log_snr[k - 1] - half_log_snr[k]
        direction = x0
        if earlier:
            ratio = (half_log_snr[k] - half_log_snr[k + 1]) / h
            direction = x0 + (x0 - earlier.pop()) / (2 * ratio)
        earlier.append(x0)
        scale = math.sqrt((1 - before) / (1 - level))
        return scale * x - math.sqrt(before) * math.expm1(-h) * direction

    return step


SAMPLERS: dict[str, Callable[[SamplerOptions, Sequence[float], Generators], Step]] = {
    "ddim": ddim,
    "ddpm": ddpm,
    "dpm++": dpm_solver,
}

_LEAST_SIGNAL = 2.0**-24
"""alpha-bar that stands for zero in DPM-Solver++, which needs a finite log-SNR."""


def _known(name: str) -> str:
    if name not in SAMPLERS:
        raise ValueError(f"must be one of {', '.join(SAMPLERS)}")
    return name


@dataclass(frozen=True, config=STRICT)
class SamplerOptions:
    """Sampler of x_0 and its options."""

    name: Annotated[str, AfterValidator(_known)] = "ddpm"
    """One of `SAMPLERS`."""
    steps: Annotated[int, Field(ge=1)] = 1000
    next_steps: Annotated[int, Field(ge=1)] | None = None
    """Steps of the clips that continue a longer video; none: as many as of the first."""
    guidance: float = 1.0
    """Classifier-free guidance g; 1 = none. It is 1 + w of the form (1 + w) given - w null."""
    eta: Annotated[float, Field(ge=0, le=1)] = 0.0
    """DDIM alone: noise on the way, from none to as much as DDPM's."""
    dynamic_threshold: Annotated[float, Field(gt=0, le=1)] | None = None
    """Dynamic thresholding at this quantile of |x_0| (Saharia et al. 2022, who take 0.995), for
    spaces whose x_0 is bounded; none: no thresholding."""
    clip: bool = False
    """Static thresholding: clip the predicted x_0 to [-1, 1] at each step, for the same spaces."""

    def __post_init__(self) -> None:
        if self.eta and self.name != "ddim":
            raise ValueError(f"eta is an option of ddim; the sampler is {self.name}")
        if self.clip and self.dynamic_threshold is not None:
            raise ValueError("clip and dynamic_threshold both bound x_0: give one of them")

    @property
    def passes(self) -> int:
        """Passes of the network for a clip; guidance takes two a step."""
        return self.steps * (1 if self.guidance == 1 else 2)

    def of_clip(self, clip: int) -> SamplerOptions:
        """Options for a clip of a longer video, counted from 0."""
        return self if not clip or self.next_steps is None else replace(self, steps=self.next_steps)


def bounded(
    denoise: Denoise,
    options: SamplerOptions,
    noise_options: NoiseOptions,
    to_unit: Scaling,
    from_unit: Scaling,
) -> Denoise:
    """The prediction with x_0 kept in its range, where the sampler asks for it; see `thresholded`.

    Args:
        denoise: the (guided) prediction at (x_t, t).
        options: whether, and how.
        noise_options: the forward process.
        to_unit: x_0 to the scale on which it is bounded by [-1, 1].
        from_unit: its inverse.
    """
    if options.dynamic_threshold is None and not options.clip:
        return denoise
    return thresholded(denoise, noise_options, to_unit, from_unit, options.dynamic_threshold)


def sampling_times(count: int, steps: int) -> Tensor:
    """Times that `count` sampling steps visit among 0...steps-1, rising, the last one always.

    Evenly spaced from the end ("trailing", Lin et al. 2024, table 2): int64, shape (count,).
    """
    return torch.tensor([round(steps * (k + 1) / count) - 1 for k in range(count)])


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
    levels = alphas_cumprod(noise_options)[times].double().tolist()
    if options.name == "dpm++":
        # Of many steps the last but one has less signal than that already: SNR must still fall.
        levels[-1] = levels[-1] or min([_LEAST_SIGNAL, *(level / 4 for level in levels[-2:-1])])
    step = SAMPLERS[options.name](options, levels, generator)
    # All at once and without waiting: a copy in each step would keep a GPU waiting.
    times, x = times.to(noise.device, non_blocking=True), noise
    for k in reversed(range(len(times))):
        output = denoise(x, times[k].expand(len(x))).float()
        x = step(k, x, *_x0_and_noise(noise_options, output, x, levels[k]))
        on_step()
    return x


def _x0_and_noise(
    options: NoiseOptions, output: Tensor, x: Tensor, level: float
) -> tuple[Tensor, Tensor]:
    """x_0 and eps by the network's prediction at x, where alpha-bar is `level`."""
    signal, sigma = math.sqrt(level), math.sqrt(1 - level)
    if options.prediction == "epsilon":
        return (x - sigma * output) / signal, output
    return signal * x - sigma * output, signal * output + sigma * x


def _normal_like(x: Tensor, generators: Generators) -> Tensor:
    """Standard normal numbers, drawn on the CPU, so that every device gets the same."""
    if isinstance(generators, torch.Generator):
        return torch.randn(x.shape, generator=generators).to(x.device)
    return torch.stack([torch.randn(x.shape[1:], generator=g) for g in generators]).to(x.device)
