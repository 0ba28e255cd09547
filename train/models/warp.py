"""Warping by a dense backward flow (Jaderberg et al. 2015), in pixels and in float32.

A flow has two channels, x to the right and y down: what is at p comes from p + flow. Coordinates in
bfloat16 would be wrong by a quarter of a pixel at 128, so all of this leaves autocast.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from train.models.layers import full_precision


def warp(picture: Tensor, flow: Tensor) -> Tensor:
    """Sample a picture bilinearly at p + flow; places outside it take its border.

    Args:
        picture: shape (N, C, h, w).
        flow: in pixels of `picture`, shape (N, 2, h, w).

    Returns:
        Float32, shape (N, C, h, w). A flow of zeros gives the picture back.
    """
    height, width = picture.shape[-2:]
    with full_precision(picture.device):
        pixels = pixel_grid(height, width, flow.device)  # (2, h, w)
        places = pixels + flow.float()  # (N, 2, h, w)
        # Corners aligned: -1 and 1 are the centres of the first and the last pixel.
        scale = pixels[:, -1, -1].clamp_min(1) / 2
        grid = places.movedim(1, -1) / scale - 1  # (N, h, w, 2)
        return F.grid_sample(
            picture.float(), grid, mode="bilinear", padding_mode="border", align_corners=True
        )


def pixel_grid(height: int, width: int, device: torch.device) -> Tensor:
    """Coordinates x, y of every pixel, float32, shape (2, h, w)."""
    down, across = (
        torch.arange(side, dtype=torch.float32, device=device) for side in (height, width)
    )
    rows, columns = torch.meshgrid(down, across, indexing="ij")
    return torch.stack([columns, rows])


def resize_field(field: Tensor, factor: int) -> Tensor:
    """Enlarge a field of cells to pixels, bilinearly between the cells' centres.

    Args:
        field: shape (N, C, h, w); a cell's value is that of its centre.
        factor: pixels of a cell, in each direction.

    Returns:
        Float32, shape (N, C, h * factor, w * factor).
    """
    with full_precision(field.device):
        return F.interpolate(
            field.float(), scale_factor=factor, mode="bilinear", align_corners=False
        )
