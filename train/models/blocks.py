"""Pictures as rows of blocks, and back."""

from __future__ import annotations

import torch
from einops import rearrange
from torch import Tensor


def to_blocks(picture: Tensor, block: int) -> Tensor:
    """(N, 3, H, W) to (N * H/b * W/b, 3 * b * b), blocks in raster order."""
    return rearrange(picture, "n c (h y) (w x) -> (n h w) (c y x)", y=block, x=block)


def from_blocks(blocks: Tensor, count: int, rows: int, block: int) -> Tensor:
    """Inverse of `to_blocks`: `count` pictures of so many rows of blocks."""
    return rearrange(blocks, "(n h w) (c y x) -> n c (h y) (w x)", n=count, h=rows, c=3, y=block)


def active(blocks: Tensor) -> Tensor:
    """Rows with any value other than zero; one zero row where there is none."""
    rows = blocks[blocks.abs().amax(dim=1) > 0]
    return rows if len(rows) else blocks[:1]


def principal(blocks: Tensor, count: int) -> tuple[Tensor, Tensor]:
    """The leading eigenvectors of the blocks' second moments (Karhunen-Loeve), largest first.

    Args:
        blocks: shape (N, V).
        count: of them, at most V.

    Returns:
        Rows of unit length, shape (count, V), and their energies a block, shape (count,): float64.
    """
    rows = blocks.double()
    energy, basis = torch.linalg.eigh(rows.T @ rows / len(rows))
    return basis.T.flip(0)[:count].contiguous(), energy.flip(0)[:count].contiguous()
