"""Distillation of a sampler: one step of a student stands for several of its teacher.

Progressive distillation (Salimans and Ho, ICLR 2022, section 3 and appendix G), from many steps to
few at once: the student's DDIM step from time t to the next visited time ends where the teacher's
steps of DDIM, with its guidance, end. Its guidance is then part of the student (Meng et al., CVPR
2023, section 3.1, at one strength).
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from train.diffusion.noise import (
    NoiseOptions,
    add_noise,
    coefficients,
    predicted_x0,
    prediction_for,
)
from train.diffusion.objective import Denoise, normal
from train.diffusion.samplers import sampling_times
from train.models.denoiser import Conditions, Denoiser


def distillation_loss(
    student: Denoiser,
    teacher: Denoise,
    options: NoiseOptions,
    x0: Tensor,
    conditions: Conditions,
    *,
    steps: int,
    substeps: int,
    generators: Sequence[torch.Generator],
) -> dict[str, Tensor]:
    """Mean squared error of the student's prediction at uniform random times of its sampler.

    Args:
        student: network that learns.
        teacher: guided prediction under the same conditions.
        options: process and parametrisation of both.
        x0: standardised targets, shape (B, C, ...).
        conditions: of the clips.
        steps: sampling steps of the student.
        substeps: the teacher's in each of them.
        generators: one a row, on the device of `x0`: a row's draws depend on no other row.

    Returns:
        `loss`.
    """
    chosen = [torch.randint(steps, (1,), generator=g, device=g.device) for g in generators]
    noise = torch.stack([normal(x0.shape[1:], generator) for generator in generators])
    index = torch.cat(chosen)
    visited = sampling_times(steps, options.steps).to(x0.device)
    t = visited[index]
    until = torch.where(index > 0, visited[(index - 1).clamp_min(0)], -1)
    noisy = add_noise(options, x0, noise, t)
    with torch.no_grad():
        aim = distillation_target(teacher, options, noisy, t, until, substeps)
    output = student(noisy, t, conditions).float()
    return {"loss": (output - aim).square().mean()}


def distillation_target(
    teacher: Denoise, options: NoiseOptions, noisy: Tensor, t: Tensor, until: Tensor, substeps: int
) -> Tensor:
    """Prediction at (x_t, t) whose one DDIM step ends where the teacher's steps end.

    With x' there, x_0 = (x' - s'/s x_t) / (a' - s'/s a).

    Args:
        teacher: prediction at (x_t, t).
        options: process and parametrisation.
        noisy: x_t, shape (B, ...).
        t: time steps, shape (B,).
        until: earlier ones, -1 for x_0 itself, shape (B,).
        substeps: of the teacher, evenly spaced.

    Returns:
        Shape of `noisy`.
    """
    x, now = noisy, t
    for done in range(1, substeps + 1):
        later = t + torch.div((until - t) * done, substeps, rounding_mode="floor")
        x = _ddim_step(options, x, teacher(x, now).float(), now, later)
        now = later
    signal, sigma = coefficients(options, t, noisy.ndim)
    signal_after, sigma_after = _levels(options, until, noisy.ndim)
    ratio = sigma_after / sigma
    x0 = (x - ratio * noisy) / (signal_after - ratio * signal)
    return prediction_for(options, noisy, x0, t)


def _ddim_step(
    options: NoiseOptions, x: Tensor, output: Tensor, t: Tensor, until: Tensor
) -> Tensor:
    """DDIM without noise on the way (Song et al. 2021, equation 12), row by row from t to `until`.

    Rows that are there already stay as they are: of few times, some are visited twice.
    """
    x0 = predicted_x0(options, x, output, t)
    signal, sigma = coefficients(options, t, x.ndim)
    signal_after, sigma_after = _levels(options, until, x.ndim)
    moved = signal_after * x0 + sigma_after * (x - signal * x0) / sigma
    return torch.where((until < t).view(-1, *(1,) * (x.ndim - 1)), moved, x)


def _levels(options: NoiseOptions, t: Tensor, dimensions: int) -> tuple[Tensor, Tensor]:
    """a_t and s_t as of `coefficients`; 1 and 0 at -1, where x_0 is."""
    signal, sigma = coefficients(options, t.clamp_min(0), dimensions)
    there = (t < 0).view(-1, *(1,) * (dimensions - 1))
    return torch.where(there, 1.0, signal), torch.where(there, 0.0, sigma)
