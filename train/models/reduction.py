"""Reduction of pictures by a whole factor without aliasing."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from train.models.layers import full_precision


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
