"""Frame-wise measures: PSNR, SSIM, and LPIPS where its package and weights are there.

Over a clip: PSNR of the clip's pooled squared error; for the others the mean over its frames.
"""

from __future__ import annotations

import torch
from torch import Tensor

SSIM_WINDOW = 11
"""Side of SSIM's Gaussian window, pixels (Wang et al. 2004: deviation 1.5)."""

PEAK = 255.0
EQUAL_DB = 100.0
"""PSNR of equal frames, and the largest that is told apart."""

_FRAMES_AT_ONCE = 64


def squared_error(frames: Tensor, truth: Tensor) -> Tensor:
    """Mean squared error of each frame, grey levels squared.

    Args:
        frames: uint8, shape (..., 3, H, W).
        truth: likewise.

    Returns:
        float64, shape (...).
    """
    return (frames.float() - truth.float()).square().mean(dim=(-3, -2, -1), dtype=torch.float64)


def decibels(error: Tensor) -> Tensor:
    """PSNR, dB, of mean squared errors on a scale of 0 to 255; equal frames give 100."""
    return 10 * torch.log10(PEAK**2 / error.clamp_min(PEAK**2 * 10 ** (-EQUAL_DB / 10)))


def psnr(frames: Tensor, truth: Tensor) -> Tensor:
    """Peak signal-to-noise ratio, dB, of each frame.

    Args:
        frames: uint8, shape (..., 3, H, W).
        truth: likewise.

    Returns:
        float32, shape (...); equal frames give 100.
    """
    return decibels(squared_error(frames, truth)).float()


def ssim(frames: Tensor, truth: Tensor) -> Tensor:
    """Structural similarity of each frame (Wang et al. 2004), as torchmetrics computes it.

    Args:
        frames: uint8, shape (..., 3, H, W), sides at least `SSIM_WINDOW`.
        truth: likewise.

    Returns:
        float32, shape (...).

    Raises:
        ValueError: the frames are smaller than the window.
    """
    from torchmetrics.functional.image import structural_similarity_index_measure

    if min(frames.shape[-2:]) < SSIM_WINDOW:
        raise ValueError(
            f"frames are {frames.shape[-2]}x{frames.shape[-1]}; SSIM's window is"
            f" {SSIM_WINDOW}x{SSIM_WINDOW}"
        )
    pairs = (x.flatten(0, -4).float().split(_FRAMES_AT_ONCE) for x in (frames, truth))
    values = [
        structural_similarity_index_measure(
            piece, other, reduction="none", data_range=PEAK, kernel_size=SSIM_WINDOW
        )
        for piece, other in zip(*pairs, strict=True)
    ]
    return torch.cat([torch.as_tensor(value).reshape(-1) for value in values]).view(
        frames.shape[:-3]
    )
