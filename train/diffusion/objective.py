"""The objective (equations 6 to 8) and the guided denoiser that samplers call."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from itertools import pairwise

import torch
from torch import Tensor

from train.diffusion.noise import (
    NoiseOptions,
    add_noise,
    coefficients,
    loss_weight,
    predicted_x0,
    prediction_for,
    random_times,
    target,
)
from train.models.denoiser import Conditions, Denoiser, with_null

_BANDS = 4  # of time steps whose errors are logged apart

Denoise = Callable[[Tensor, Tensor], Tensor]
"""(x_t, t) to the network's prediction: what a sampler needs."""

Scaling = Callable[[Tensor], Tensor]
"""x_0 to x_0 on another scale, of the same shape."""


def diffusion_loss(
    network: Denoiser,
    options: NoiseOptions,
    x0: Tensor,
    conditions: Conditions,
    *,
    dropout: Mapping[str, float],
    generators: Sequence[torch.Generator],
) -> dict[str, Tensor]:
    """Mean squared error of the prediction at uniform random times, weighted by lambda(t).

    Args:
        network: predicts v or epsilon.
        options: process and parametrisation.
        x0: standardised targets, shape (B, C, ...).
        conditions: of the clips.
        dropout: probability of the null value, by the names of conditions (of the label:
            classifier-free guidance).
        generators: one a row, on the device of `x0`: a row's draws depend on no other row.

    Returns:
        `loss`, and the rows' unweighted errors by quarters of the time steps, see
        `loss_by_timestep`.
    """
    t = torch.cat([random_times(options, 1, generator) for generator in generators])
    noise = torch.stack([normal(x0.shape[1:], generator) for generator in generators])
    dropped = {}
    for name, probability in dropout.items():
        draws = [torch.rand(1, generator=g, device=g.device) for g in generators]
        dropped[name] = torch.cat(draws) < probability
    output = network(add_noise(options, x0, noise, t), t, with_null(network, conditions, dropped))
    errors = (output.float() - target(options, x0, noise, t)).square().flatten(1).mean(1)  # (B,)
    loss = (loss_weight(options, t) * errors).mean()
    return {"loss": loss} | loss_by_timestep(errors.detach(), t, options.steps)


def loss_by_timestep(errors: Tensor, t: Tensor, steps: int) -> dict[str, Tensor]:
    """Errors of rows by quarters of the time steps, under names such as `loss_t0-250`.

    Args:
        errors: shape (B,).
        t: time steps in [0, steps), shape (B,).
        steps: of the process.

    Returns:
        For each quarter the errors, shape (B,), NaN for rows whose time lies in another.
    """
    bounds = [steps * quarter // _BANDS for quarter in range(_BANDS + 1)]
    return {
        f"loss_t{low}-{high}": errors.where((low <= t) & (t < high), torch.nan)
        for low, high in pairwise(bounds)
    }


def normal(shape: Sequence[int], generator: torch.Generator) -> Tensor:
    """Standard normal numbers on the generator's device."""
    return torch.randn(*shape, generator=generator, device=generator.device)


def guided(
    network: Denoiser, conditions: Conditions, guidance: float, names: Sequence[str] = ("label",)
) -> Denoise:
    """Classifier-free guidance (Ho and Salimans 2022): null + g (conditioned - null).

    With g = 1 the null condition is not computed.

    Args:
        network: predicts v or epsilon.
        conditions: of the clips.
        guidance: g.
        names: conditions that are null in the null condition.
    """
    rows = torch.ones_like(conditions["label"], dtype=torch.bool)
    null = with_null(network, conditions, dict.fromkeys(names, rows))
    both = {name: torch.cat([value, null[name]]) for name, value in conditions.items()}

    def denoise(noisy: Tensor, t: Tensor) -> Tensor:
        if guidance == 1:
            return network(noisy, t, conditions)
        output = network(torch.cat([noisy, noisy]), torch.cat([t, t]), both)
        conditioned, free = output.float().chunk(2)  # guidance enlarges what bfloat16 rounds off
        return free + guidance * (conditioned - free)

    return denoise


def thresholded(
    denoise: Denoise,
    options: NoiseOptions,
    to_unit: Scaling,
    from_unit: Scaling,
    quantile: float | None,
) -> Denoise:
    """Thresholding (Saharia et al. 2022, section 2.3) of the predicted x_0.

    Static: it is clipped to [-1, 1]. Dynamic: where the quantile s of |x_0| is above 1, x_0 is
    clipped to [-s, s] and divided by s, clip by clip, so that strong guidance does not drive it out
    of its range.

    Args:
        denoise: the (guided) prediction at (x_t, t).
        options: process and parametrisation.
        to_unit: x_0 to the scale on which it is bounded by [-1, 1].
        from_unit: its inverse.
        quantile: in (0, 1]; None: static.
    """

    def bounded(noisy: Tensor, t: Tensor) -> Tensor:
        output = denoise(noisy, t).float()
        x0 = to_unit(predicted_x0(options, noisy, output, t))
        if quantile is None:
            return prediction_for(options, noisy, from_unit(x0.clamp(-1, 1)), t)
        size = x0.abs().flatten(1)
        # Not torch.quantile, which takes 16 million numbers at most.
        reach = size.kthvalue(max(1, math.ceil(quantile * size.shape[1])), dim=1).values
        reach = reach.clamp_min(1).view(-1, *(1,) * (x0.ndim - 1))
        clipped = from_unit(x0.clamp(-reach, reach) / reach)
        return prediction_for(options, noisy, clipped, t)

    return bounded


def renoise_and_denoise(
    denoise: Denoise,
    options: NoiseOptions,
    x0: Tensor,
    times: Sequence[int],
    generator: torch.Generator,
) -> Tensor:
    """Noise x_0 to the first time, then denoise it by DDIM (eta = 0) through the others (SDEdit).

    The result has the errors of a generated sample, yet is aligned with x_0 (Meng et al. 2022).

    Args:
        denoise: the network's prediction at (x_t, t).
        options: process and parametrisation.
        x0: shape (B, ...).
        times: falling.
        generator: on the CPU.

    Returns:
        Shape of `x0`.
    """
    noise = torch.randn(x0.shape, generator=generator).to(x0.device)
    for time in times:
        t = torch.full((len(x0),), time, device=x0.device)
        noisy = add_noise(options, x0, noise, t)
        x0 = predicted_x0(options, noisy, denoise(noisy, t).float(), t)
        signal, sigma = coefficients(options, t, x0.ndim)
        noise = (noisy - signal * x0) / sigma
    return x0
