"""Noise schedules of the forward process (the paper, equations 1 and 2) and parametrisations.

x_t = a_t x_0 + s_t eps with a_t^2 = alpha-bar_t and s_t^2 = 1 - alpha-bar_t.
"""

from __future__ import annotations

import math
from functools import cache
from typing import Annotated, Literal

import torch
from pydantic import Field
from pydantic.dataclasses import dataclass
from torch import Tensor

from train.options import STRICT


@dataclass(frozen=True, config=STRICT)
class NoiseOptions:
    """Forward process, parametrisation and the weight of each time in the loss."""

    schedule: Literal["cosine", "linear", "scaled_linear"] = "cosine"
    steps: Annotated[int, Field(ge=2)] = 1000
    prediction: Literal["v", "epsilon"] = "epsilon"
    zero_terminal_snr: bool = False
    """Rescale so that the last step is pure noise (Lin et al. 2024); needs v-prediction."""
    loss_weight: Literal["uniform", "min_snr"] = "uniform"
    """lambda(t): 1 (the paper), or as in `loss_weight`."""
    min_snr_gamma: Annotated[float, Field(gt=0)] = 5.0
    """gamma of min-SNR."""

    def __post_init__(self) -> None:
        if self.zero_terminal_snr and self.prediction == "epsilon":
            raise ValueError("zero_terminal_snr needs prediction='v': epsilon says nothing there")


@cache
def alphas_cumprod(options: NoiseOptions) -> Tensor:
    """alpha-bar_t for t = 0...steps-1, float32, shape (steps,)."""
    alpha_bar = torch.cumprod(1 - _BETAS[options.schedule](options.steps), dim=0)
    if options.zero_terminal_snr:
        # Through betas again: in float32 the products must be those that training always had.
        alpha_bar = torch.cumprod(1 - _zero_terminal_betas(alpha_bar), dim=0)
    return alpha_bar


def _linear_betas(steps: int) -> Tensor:
    """Ho et al. 2020, section 4: from 1e-4 to 0.02."""
    return torch.linspace(1e-4, 0.02, steps, dtype=torch.float32)


def _scaled_linear_betas(steps: int) -> Tensor:
    """Rombach et al. 2022 (public code) and PVDM: roots evenly spaced, from 0.0015 to 0.0195."""
    return torch.linspace(0.0015**0.5, 0.0195**0.5, steps, dtype=torch.float32).square()


def _cosine_betas(steps: int) -> Tensor:
    """Nichol and Dhariwal 2021, equation 17, with s = 0.008; beta at most 0.999."""

    def alpha_bar(share: float) -> float:
        return math.cos((share + 0.008) / 1.008 * math.pi / 2) ** 2

    ratios = [alpha_bar((t + 1) / steps) / alpha_bar(t / steps) for t in range(steps)]
    return torch.tensor([min(1 - ratio, 0.999) for ratio in ratios], dtype=torch.float32)


_BETAS = {
    "cosine": _cosine_betas,
    "linear": _linear_betas,
    "scaled_linear": _scaled_linear_betas,
}


def _zero_terminal_betas(alpha_bar: Tensor) -> Tensor:
    """Shift and scale sqrt(alpha-bar) so that it ends at 0 (Lin et al. 2024, algorithm 1)."""
    root = alpha_bar.sqrt()
    first, last = root[0].clone(), root[-1].clone()
    squares = ((root - last) * (first / (first - last))) ** 2
    return 1 - torch.cat([squares[:1], squares[1:] / squares[:-1]])


@cache
def _on_device(options: NoiseOptions, device: torch.device) -> Tensor:
    """`alphas_cumprod` on a device, copied once: a GPU then waits for no copy in each step."""
    return alphas_cumprod(options).to(device)


def coefficients(options: NoiseOptions, t: Tensor, dimensions: int) -> tuple[Tensor, Tensor]:
    """(a_t, s_t) at time steps t, shape (B,), each of shape (B, 1, ...) with `dimensions` axes."""
    table = _on_device(options, t.device)[t].view(-1, *(1,) * (dimensions - 1))
    return table.sqrt(), (1 - table).sqrt()


def add_noise(options: NoiseOptions, x0: Tensor, noise: Tensor, t: Tensor) -> Tensor:
    """x_t = a_t x_0 + s_t eps."""
    signal, sigma = coefficients(options, t, x0.ndim)
    return signal * x0 + sigma * noise


def target(options: NoiseOptions, x0: Tensor, noise: Tensor, t: Tensor) -> Tensor:
    """Target of the prediction: eps, or v = a_t eps - s_t x_0 (Salimans and Ho 2022)."""
    if options.prediction == "epsilon":
        return noise
    signal, sigma = coefficients(options, t, x0.ndim)
    return signal * noise - sigma * x0


def predicted_x0(options: NoiseOptions, noisy: Tensor, output: Tensor, t: Tensor) -> Tensor:
    """x_0 from a prediction: a_t x_t - s_t v, or (x_t - s_t eps) / a_t (equation 5)."""
    signal, sigma = coefficients(options, t, noisy.ndim)
    if options.prediction == "epsilon":
        return (noisy - sigma * output) / signal.clamp_min(1e-3)
    return signal * noisy - sigma * output


def prediction_for(options: NoiseOptions, noisy: Tensor, x0: Tensor, t: Tensor) -> Tensor:
    """The prediction that stands for x_0: inverse of `predicted_x0`."""
    signal, sigma = coefficients(options, t, noisy.ndim)
    noise = (noisy - signal * x0) / sigma
    return noise if options.prediction == "epsilon" else signal * noise - sigma * x0


def loss_weight(options: NoiseOptions, t: Tensor) -> Tensor:
    """lambda(t) of the squared error of what is predicted, shape of `t`.

    With "min_snr" that of x_0 has the weight min(SNR, gamma) (Hang et al. 2023): times of little
    noise, which are many and easy, count less. In terms of epsilon that is min(SNR, gamma) / SNR,
    in terms of v min(SNR, gamma) / (SNR + 1), which fades with the SNR.
    """
    if options.loss_weight == "uniform":
        return torch.ones(t.shape, device=t.device)
    signal, sigma = coefficients(options, t, 1)
    snr = (signal / sigma).square()
    if options.prediction == "epsilon":
        return (options.min_snr_gamma / snr).clamp_max(1)
    return snr.clamp_max(options.min_snr_gamma) / (snr + 1)


def random_times(options: NoiseOptions, count: int, generator: torch.Generator) -> Tensor:
    """Time steps uniform over 0...steps-1, int64, shape (count,)."""
    return torch.randint(options.steps, (count,), generator=generator, device=generator.device)
