"""LPIPS (Zhang et al. 2018), where torchvision and AlexNet's weights are there; never downloaded.

The linear heads come with torchmetrics; the backbone is torchvision's AlexNet, from torch's cache.
"""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path

import torch
from torch import Tensor, nn

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
