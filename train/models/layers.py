"""Small parts that several networks use."""

from __future__ import annotations

import math
from functools import lru_cache
from typing import TypeVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from shared.conventions import grid_shape

Layer = TypeVar("Layer", nn.Linear, nn.Conv1d, nn.Conv2d)


def full_precision(device: torch.device) -> torch.autocast:
    """A context without autocast, for numbers that bfloat16 would spoil."""
    kind = "cpu" if device.type == "meta" else device.type  # autocast knows no "meta"
    return torch.autocast(kind, enabled=False)


@lru_cache(maxsize=1024)
def constant(values: tuple[float, ...], device: torch.device) -> Tensor:
    """Numbers on a device, float32, shape (N,), not to be changed.

    They are copied once: a GPU then waits for no copy in each step.
    """
    return torch.tensor(values, dtype=torch.float32, device=device)


def zero_initialise(layer: Layer) -> Layer:
    """Set weights and bias to zero: a residual branch then starts as the identity."""
    nn.init.zeros_(layer.weight)
    if layer.bias is not None:
        nn.init.zeros_(layer.bias)
    return layer


def two_convolutions(inputs: int, outputs: int, stride: int = 1) -> nn.Sequential:
    """Two normalised 3x3 convolutions, the first strided: the body of a residual block."""
    return nn.Sequential(
        nn.GroupNorm(math.gcd(8, inputs), inputs),
        nn.SiLU(),
        nn.Conv2d(inputs, outputs, 3, stride=stride, padding=1),
        nn.GroupNorm(math.gcd(8, outputs), outputs),
        nn.SiLU(),
        nn.Conv2d(outputs, outputs, 3, padding=1),
    )


def parameter_count(network: nn.Module) -> int:
    """Numbers that a network learns."""
    return sum(parameter.numel() for parameter in network.parameters())


def pad_to_blocks(picture: Tensor, block: int) -> Tensor:
    """Zero-pad the last two axes up to whole blocks: a cut block has no residual outside."""
    height, width = picture.shape[-2:]
    rows, columns = grid_shape(height, width, block)
    return F.pad(picture, (0, columns * block - width, 0, rows * block - height))
