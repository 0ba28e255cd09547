"""Slow oracles of the trainer, written from the papers' formulas."""

from __future__ import annotations

import math

import torch
from torch import Tensor

COSINE_OFFSET = 0.008


def cosine(share: float) -> float:
    """f of Nichol and Dhariwal 2021, equation 17; alpha-bar is f(t) / f(0)."""
    return math.cos((share + COSINE_OFFSET) / (1 + COSINE_OFFSET) * math.pi / 2) ** 2


def alpha_bars(schedule: str, steps: int, zero_terminal_snr: bool) -> Tensor:
    """alpha-bar of every time step, float64, shape (steps,)."""
    if schedule == "cosine":
        betas = [min(1 - cosine((i + 1) / steps) / cosine(i / steps), 0.999) for i in range(steps)]
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
