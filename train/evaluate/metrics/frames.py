"""Frame-wise metrics: PSNR, SSIM, and LPIPS where its package and weights are installed.

Over a clip, PSNR is that of the clip's pooled squared error; the others are means over its frames.
LPIPS (Zhang et al. 2018) takes its linear heads from torchmetrics and its backbone, torchvision's
AlexNet, from torch's cache; nothing is downloaded.
"""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from shared.conventions import FrameSize

SSIM_WINDOW = 11
"""Side of SSIM's Gaussian window, pixels."""
_SSIM_DEVIATION = 1.5

PEAK = 255.0
EQUAL_DB = 100.0
"""PSNR of equal frames, and the largest value given."""

BACKBONE = "alexnet-owt-7be5be79.pth"
"""File of torchvision's AlexNet, trained on ImageNet."""

LPIPS_MIN_PX = 32
"""Side of the smallest frames that leave AlexNet's last layers anything to see."""

_SSIM_BATCH, _LPIPS_BATCH = 64, 32
"""Frames in a batch."""


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
    """PSNR, dB, of mean squared errors on a scale of 0 to 255; 100 without error."""
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


def nearest_psnr(frames: Tensor, real: Tensor) -> float:
    """PSNR of the sample nearest to each real clip, dB, mean over frames 1...T-1 and real clips.

    Args:
        frames: uint8, sample after sample of all real clips, shape (S N, T, 3, H, W).
        real: uint8, shape (N, T, 3, H, W).
    """
    samples = frames.unflatten(0, (-1, len(real)))
    each = torch.stack([psnr(sample, real)[:, 1:].mean(dim=1) for sample in samples])  # (S, N)
    return float(each.amax(dim=0).mean())


def ssim(frames: Tensor, truth: Tensor) -> Tensor:
    """Structural similarity of each frame (Wang et al. 2004, equation 13).

    The mean over colours and pixels, of a frame that is mirrored at its edges, as torchmetrics has
    it, whose import alone takes seconds.

    Args:
        frames: uint8, shape (..., 3, H, W), sides at least `SSIM_WINDOW`.
        truth: likewise.

    Returns:
        float32, shape (...).

    Raises:
        ValueError: the frames are smaller than the window.
    """
    if min(frames.shape[-2:]) < SSIM_WINDOW:
        raise ValueError(
            f"frames are {FrameSize(*frames.shape[-2:])}; SSIM's window is"
            f" {SSIM_WINDOW}x{SSIM_WINDOW}"
        )
    pairs = (x.flatten(0, -4).float().split(_SSIM_BATCH) for x in (frames, truth))
    values = [_ssim(batch, other) for batch, other in zip(*pairs, strict=True)]
    return torch.cat(values).view(frames.shape[:-3])


def _ssim(x: Tensor, y: Tensor) -> Tensor:
    """SSIM of grey levels (N, 3, H, W), shape (N,)."""
    moments = torch.cat([x, y, x * x, y * y, x * y])
    mean_x, mean_y, square_x, square_y, product = _window_means(moments).chunk(5)
    variance_x = (square_x - mean_x.square()).clamp_min(0)
    variance_y = (square_y - mean_y.square()).clamp_min(0)
    covariance = product - mean_x * mean_y
    first, second = (0.01 * PEAK) ** 2, (0.03 * PEAK) ** 2
    index = (2 * mean_x * mean_y + first) * (2 * covariance + second)
    index /= (mean_x.square() + mean_y.square() + first) * (variance_x + variance_y + second)
    return index.mean(dim=(1, 2, 3))


def _window_means(values: Tensor) -> Tensor:
    """Means over the Gaussian window around every pixel, shape (N, 3, H, W)."""
    margin = SSIM_WINDOW // 2
    values = F.pad(values, (margin,) * 4, mode="reflect")
    away = torch.arange(SSIM_WINDOW, device=values.device) - margin
    taps = torch.softmax(-away.square() / (2 * _SSIM_DEVIATION**2), dim=0).expand(3, 1, -1)
    down = F.conv2d(values, taps[..., None], groups=3)
    return F.conv2d(down, taps[:, :, None], groups=3)


def why_no_lpips(size: FrameSize) -> str | None:
    """Reason why LPIPS of frames of this size is not available; None where it is."""
    weights = Path(torch.hub.get_dir()) / "checkpoints" / BACKBONE
    if min(size) < LPIPS_MIN_PX:
        return f"frames of {size} pixels; LPIPS (AlexNet) needs {LPIPS_MIN_PX} a side or more"
    for package, remedy in (("torchvision", "torchvision"), ("torchmetrics", "'dvdm[eval]'")):
        if find_spec(package) is None:
            return f"LPIPS needs {package}: pip install {remedy}"
    if not weights.exists():
        return (
            f"LPIPS needs AlexNet's weights in {weights}; torchvision fetches them with"
            " python -c \"import torchvision; torchvision.models.alexnet(weights='DEFAULT')\""
        )
    return None


def load_lpips(device: torch.device) -> nn.Module:
    """Load the network of LPIPS; only where `why_no_lpips` gives None."""
    from torchmetrics.image.lpip import LearnedPerceptualImagePatchSimilarity

    return LearnedPerceptualImagePatchSimilarity(net_type="alex").to(device)


@torch.no_grad()
def lpips(network: nn.Module, frames: Tensor, truth: Tensor, device: torch.device) -> Tensor:
    """LPIPS of each frame.

    Args:
        network: from `load_lpips`.
        frames: uint8, shape (..., 3, H, W).
        truth: likewise.
        device: of the network.

    Returns:
        float32, shape (...), on the CPU.
    """
    pairs = (x.flatten(0, -4).split(_LPIPS_BATCH) for x in (frames, truth))
    network = getattr(network, "net", network)  # without torchmetrics' running mean
    values = [
        network(batch.to(device) / 255, other.to(device) / 255, normalize=True).reshape(-1)
        for batch, other in zip(*pairs, strict=True)
    ]
    return torch.cat(values).cpu().view(frames.shape[:-3])
