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


def sampling_order(x: Tensor) -> Tensor:
    """The same (N, C, h, w), where nothing is learned from it with a place's channels side by side.

    CPUs enlarge and convolve that a fifth to ten times faster; but they normalise groups of such
    channels slowly in the backward pass, which takes away what training would gain.
    """
    return x if torch.is_grad_enabled() else x.contiguous(memory_format=torch.channels_last)


def doubled(x: Tensor) -> Tensor:
    """Each place four times: (N, C, h, w) to (N, C, 2 h, 2 w)."""
    return F.interpolate(sampling_order(x), scale_factor=2.0, mode="nearest")


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


def reduce(picture: Tensor, factor: int) -> Tensor:
    """Pictures with one pixel for each square of `factor` x `factor`, after a Gaussian filter.

    The filter's standard deviation is (factor - 1) / 2 pixels, and it is cut at four of them, as in
    MRAA (Siarohin et al. 2021); but it is centred on the square, and the picture's edge is
    replicated. In float32, under autocast too.

    Args:
        picture: float, shape (N, C, H, W).
        factor: 1 or an even number, at most H and W.

    Returns:
        float32, shape (N, C, H // factor, W // factor).
    """
    x = picture.float()
    if factor == 1:
        return x
    channels, taps = picture.shape[1], 4 * (factor - 1)
    offset = torch.arange(taps, device=x.device) - (taps - 1) / 2
    kernel = torch.softmax(-2 * (offset / (factor - 1)).square(), dim=0).expand(channels, 1, -1)
    margin = (taps - factor) // 2  # so that the first square has the filter's centre
    with full_precision(x.device):
        x = F.pad(x, (margin,) * 4, mode="replicate")
        x = F.conv2d(x, kernel[:, :, None], stride=(1, factor), groups=channels)
        return F.conv2d(x, kernel[..., None], stride=(factor, 1), groups=channels)
