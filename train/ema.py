"""Exponential moving average of weights."""

from __future__ import annotations

import copy

import torch
from torch import nn


class Ema:
    """Keeps an average of a network's parameters.

    The decay warms up as min(decay, (1 + step) / (10 + step)), so that short runs are not
    dominated by their first weights.
    """

    def __init__(self, network: nn.Module, decay: float) -> None:
        self.decay = decay
        self.network = copy.deepcopy(network).eval().requires_grad_(False)

    @torch.no_grad()
    def update(self, network: nn.Module, step: int) -> None:
        """Move the average towards the weights after optimiser step `step` (from 0)."""
        weight = 1 - min(self.decay, (1 + step) / (10 + step))
        averages = list(self.network.state_dict().values())
        values = list(network.state_dict().values())
        for average, value in zip(averages, values, strict=True):
            if average.is_floating_point():
                average.lerp_(value.to(average.dtype), weight)
            else:
                average.copy_(value)
