"""Slow oracles of the trainer, written from the papers' formulas."""

from __future__ import annotations

import math

import torch
from torch import Tensor

COSINE_OFFSET = 0.008


def cosine(fraction: float) -> float:
    """f of Nichol and Dhariwal 2021, equation 17; alpha-bar is f(t) / f(0)."""
    return math.cos((fraction + COSINE_OFFSET) / (1 + COSINE_OFFSET) * math.pi / 2) ** 2


def alpha_bars(schedule: str, steps: int, zero_terminal_snr: bool) -> Tensor:
    """alpha-bar of every time step, float64, shape (steps,)."""
    if schedule == "cosine":
        betas = [min(1 - cosine((i + 1) / steps) / cosine(i / steps), 0.999) for i in range(steps)]
    elif schedule == "scaled_linear":
        first, last = math.sqrt(0.0015), math.sqrt(0.0195)
        betas = [(first + (last - first) * i / (steps - 1)) ** 2 for i in range(steps)]
    else:
        betas = [1e-4 + (0.02 - 1e-4) * i / (steps - 1) for i in range(steps)]
    roots, product = [], 1.0
    for beta in betas:
        product *= 1 - beta
        roots.append(math.sqrt(product))
    if zero_terminal_snr:
        first, last = roots[0], roots[-1]
        roots = [(root - last) * first / (first - last) for root in roots]
    return torch.tensor(roots, dtype=torch.float64).square()


def ddim_moments(
    mean: Tensor, covariance: Tensor, alpha_bars: list[float], eta: float
) -> tuple[Tensor, Tensor]:
    """Mean and covariance of DDIM samples of N(mean, covariance) with its best denoiser.

    Every step is linear: equation 12 of Song et al. 2021, with sigma_t(eta) of equation 16, from
    standard normal noise over alpha-bars in rising order of time. All in float64.
    """
    identity = torch.eye(len(mean), dtype=torch.float64)
    m, s = torch.zeros_like(mean), identity
    for now, before in zip(alpha_bars[::-1], [*alpha_bars[-2::-1], 1.0], strict=True):
        variance = eta**2 * (1 - before) / (1 - now) * (1 - now / before)
        gain = (
            math.sqrt(now) * covariance @ torch.linalg.inv(now * covariance + (1 - now) * identity)
        )
        # x0 = gain x + offset; epsilon = (x - sqrt(now) x0) / sqrt(1 - now)
        offset = mean - math.sqrt(now) * gain @ mean
        direction = math.sqrt(max(0.0, 1 - before - variance)) / math.sqrt(1 - now)
        matrix = math.sqrt(before) * gain + direction * (identity - math.sqrt(now) * gain)
        shift = (math.sqrt(before) - direction * math.sqrt(now)) * offset
        m, s = matrix @ m + shift, matrix @ s @ matrix.T + variance * identity
    return m, s


def linear_attention(query: Tensor, key: Tensor, value: Tensor) -> Tensor:
    """Shen et al. 2021, equation 4, with the L x L matrix written out; (L, D) each."""
    length, numbers = query.shape
    result = torch.zeros_like(value)
    for i in range(length):
        features = query[i].exp() / query[i].exp().sum()
        for j in range(length):
            places = key.exp()[j] / key.exp().sum(0)
            result[i] += (features * places).sum() * value[j] / math.sqrt(numbers)
    return result


def warp(picture: Tensor, flow: Tensor) -> Tensor:
    """Bilinear samples of a picture (C, H, W) at p + flow (2, H, W), pixel by pixel.

    Coordinates are clamped to the frame, which replicates its border.
    """
    channels, height, width = picture.shape
    result = torch.zeros_like(picture)
    for y in range(height):
        for x in range(width):
            across = min(max(x + float(flow[0, y, x]), 0.0), width - 1.0)
            down = min(max(y + float(flow[1, y, x]), 0.0), height - 1.0)
            left, top = int(across), int(down)
            right, bottom = min(left + 1, width - 1), min(top + 1, height - 1)
            u, v = across - left, down - top
            for channel in range(channels):
                p = picture[channel]
                upper = (1 - u) * p[top, left] + u * p[top, right]
                lower = (1 - u) * p[bottom, left] + u * p[bottom, right]
                result[channel, y, x] = (1 - v) * upper + v * lower
    return result
