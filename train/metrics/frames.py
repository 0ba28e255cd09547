"""Frame-wise measures."""

from __future__ import annotations

import torch
from torch import Tensor


def psnr(frames: Tensor, truth: Tensor) -> Tensor:
    """Peak signal-to-noise ratio, dB, of each frame.

    Args:
        frames: uint8, shape (..., 3, H, W).
        truth: likewise.

    Returns:
        float32, shape (...); equal frames give 100.
    """
    error = (frames.float() - truth.float()).square().mean(dim=(-3, -2, -1))
    return 10 * torch.log10(255**2 / error.clamp_min(255**2 * 1e-10))
