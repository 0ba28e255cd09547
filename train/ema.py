"""Exponential moving average of weights."""

from __future__ import annotations

import copy

import torch
from torch import nn
from torch.optim.swa_utils import get_ema_multi_avg_fn


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
        decay = min(self.decay, (1 + step) / (10 + step))
        pairs = list(
            zip(self.network.state_dict().values(), network.state_dict().values(), strict=True)
        )
        floats = [pair for pair in pairs if pair[0].is_floating_point()]
        averages, values = zip(*floats, strict=True)
        get_ema_multi_avg_fn(decay)(averages, values, step)  # a few kernels for all tensors
        for average, value in pairs:
            if not average.is_floating_point():
                average.copy_(value)
