"""Frame-wise measures: PSNR, SSIM, and LPIPS where its package and weights are there.

Over a clip: PSNR of the clip's pooled squared error; for the others the mean over its frames.
"""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path

import torch
from torch import Tensor, nn

# MERGED: LPIPS (Zhang et al. 2018), where torchvision and AlexNet's weights are there; never downloaded.
#
# The linear heads come with torchmetrics; the backbone is torchvision's AlexNet, from torch's cache.


BACKBONE = "alexnet-owt-7be5be79.pth"
"""torchvision's file of AlexNet's weights, of ImageNet."""

SMALLEST_PX = 32
"""Below this AlexNet's last layers have nothing to look at."""

_FRAMES_AT_ONCE = 32


def why_no_lpips(size: int) -> str | None:
    """What is missing for LPIPS of frames of so many pixels; None where nothing is."""
    weights = Path(torch.hub.get_dir()) / "checkpoints" / BACKBONE
    if size < SMALLEST_PX:
        return f"frames of {size} pixels; LPIPS (AlexNet) needs {SMALLEST_PX} or more"
    if find_spec("torchvision") is None:
        return "LPIPS needs torchvision: pip install torchvision"
    if not weights.exists():
        return (
            f"LPIPS needs AlexNet's weights in {weights}; torchvision fetches them with"
            " python -c \"import torchvision; torchvision.models.alexnet(weights='DEFAULT')\""
        )
    return None


def load_lpips(device: torch.device) -> nn.Module:
    """The network; only where `why_no_lpips` gives None."""
    from torchmetrics.image.lpip import LearnedPerceptualImagePatchSimilarity

    return LearnedPerceptualImagePatchSimilarity(net_type="alex").to(device)


@torch.no_grad()
def lpips(network: nn.Module, frames: Tensor, truth: Tensor, device: torch.device) -> Tensor:
    """LPIPS of each frame.

    Args:
        network: from `load_lpips`.
        frames: uint8, shape (..., 3, H, W).
        truth: likewise.
        device: where the network is.

    Returns:
        float32, shape (...), on the CPU.
    """
    pairs = (x.flatten(0, -4).split(_FRAMES_AT_ONCE) for x in (frames, truth))
    network = getattr(network, "net", network)  # without torchmetrics' running mean
    values = [
        network(piece.to(device) / 255, other.to(device) / 255, normalize=True).reshape(-1)
        for piece, other in zip(*pairs, strict=True)
    ]
    return torch.cat(values).cpu().view(frames.shape[:-3])


SSIM_WINDOW = 11
"""Side of SSIM's Gaussian window, pixels (Wang et al. 2004: deviation 1.5)."""

PEAK = 255.0
EQUAL_DB = 100.0
"""PSNR of equal frames, and the largest that is told apart."""

_FRAMES_FRAMES_AT_ONCE = 64


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
    pairs = (x.flatten(0, -4).float().split(_FRAMES_FRAMES_AT_ONCE) for x in (frames, truth))
    values = [
        structural_similarity_index_measure(
            piece, other, reduction="none", data_range=PEAK, kernel_size=SSIM_WINDOW
        )
        for piece, other in zip(*pairs, strict=True)
    ]
    return torch.cat([torch.as_tensor(value).reshape(-1) for value in values]).view(
        frames.shape[:-3]
    )
