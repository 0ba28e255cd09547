"""Residuals that look a little like real ones, and the store that they would come from."""

from __future__ import annotations

import torch
from torch import Tensor

from shared.schema import CodecOptions

BLOCK, VALUES = 4, 48
STORE = CodecOptions(size=8, frames=4, block=BLOCK, search_range=3, reference="first")


def residuals(count: int = 6, seed: int = 0) -> Tensor:
    """Grey levels / 255 of correlated blocks, a third of them without any."""
    generator = torch.Generator().manual_seed(seed)
    mixing = torch.randn(VALUES, VALUES, generator=torch.Generator().manual_seed(99))
    mixing *= torch.linspace(1, 0.02, VALUES)
    blocks = torch.randn(count * 4, VALUES, generator=generator) @ mixing.T / 100
    blocks[::3] = 0
    blocks = blocks.view(count, 2, 2, 3, BLOCK, BLOCK)
    return blocks.permute(0, 3, 1, 4, 2, 5).reshape(count, 3, 2 * BLOCK, 2 * BLOCK)
