"""What the 3D U-Net is made of: residual blocks, temporal convolutions, levels of both.

Shapes: B clips, T frames, N = B T, C channels, h x w grid.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from einops import rearrange
from torch import Tensor, nn

from train.models.attention import SpatialAttention, TemporalAttention
from train.models.layers import zero_initialise

GROUPS = 8
"""Of every group normalisation; widths are multiples of it."""


class Level(nn.Module):
    """Residual blocks, attention over space, attention over time; (N, C, h, w) to (N, C', h, w).

    Args:
        inputs, width: C and C'.
        embedding: numbers in the condition.
        blocks: residual blocks.
        temporal_conv: a temporal convolution behind each of them.
        heads, head_dim: of attention.
        full_up_to: most places with full attention, see `SpatialAttention`.
    """

    def __init__(
        self,
        inputs: int,
        width: int,
        embedding: int,
        *,
        blocks: int,
        temporal_conv: bool,
        heads: int,
        head_dim: int,
        full_up_to: int,
    ) -> None:
        super().__init__()
        self.blocks = nn.ModuleList(
            ResidualBlock(inputs if index == 0 else width, width, embedding)
            for index in range(blocks)
        )
        self.temporal_convs = nn.ModuleList(
            TemporalConv(width) for _ in range(blocks if temporal_conv else 0)
        )
        self.space = SpatialAttention(width, heads, head_dim, full_up_to)
        self.time = TemporalAttention(width, heads, head_dim)

    def forward(self, x: Tensor, condition: Tensor, time: int) -> Tensor:
        """`condition` has shape (N, embedding), `time` is T."""
        height = x.shape[-2]
        for index, block in enumerate(self.blocks):
            x = block(x, condition)
            if self.temporal_convs:
                x = self.temporal_convs[index](x, time)
        x = x + rearrange(
            self.space(rearrange(x, "n c h w -> n (h w) c")), "n (h w) c -> n c h w", h=height
        )
        places = rearrange(x, "(b t) c h w -> (b h w) t c", t=time)
        return x + rearrange(
            self.time(places), "(b h w) t c -> (b t) c h w", h=height, w=x.shape[-1]
        )


class ResidualBlock(nn.Module):
    """Two normalised convolutions; the condition, (N, embedding), scales and shifts between."""

    def __init__(self, inputs: int, outputs: int, embedding: int) -> None:
        super().__init__()
        self.before = nn.Sequential(norm(inputs), nn.SiLU(), conv(inputs, outputs))
        self.norm = norm(outputs)
        self.modulation = nn.Linear(embedding, 2 * outputs)
        self.after = nn.Sequential(nn.SiLU(), zero_initialise(conv(outputs, outputs)))
        self.shortcut = nn.Conv2d(inputs, outputs, 1) if inputs != outputs else nn.Identity()

    def forward(self, x: Tensor, condition: Tensor) -> Tensor:
        """(N, C, h, w) to (N, C', h, w)."""
        scale, shift = self.modulation(condition)[..., None, None].chunk(2, dim=1)
        return self.after(self.norm(self.before(x)) * (1 + scale) + shift) + self.shortcut(x)


class TemporalConv(nn.Module):
    """Residual convolution over three neighbouring frames of each place, zero at the start."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.norm = norm(width)
        self.conv = zero_initialise(nn.Linear(3 * width, width))

    def forward(self, x: Tensor, time: int) -> Tensor:
        """(N, C, h, w) to the same; `time` is T."""
        frames = rearrange(F.silu(self.norm(x)), "(b t) c h w -> b t h w c", t=time)
        padded = F.pad(frames, (0, 0, 0, 0, 0, 0, 1, 1))
        neighbours = torch.cat([padded[:, :-2], frames, padded[:, 2:]], dim=-1)
        return x + rearrange(self.conv(neighbours), "b t h w c -> (b t) c h w")


def norm(width: int) -> nn.GroupNorm:
    """Group normalisation."""
    return nn.GroupNorm(GROUPS, width)


def conv(inputs: int, outputs: int, kernel: int = 3) -> nn.Conv2d:
    """A convolution over space that keeps the grid."""
    return nn.Conv2d(inputs, outputs, kernel, padding=kernel // 2)
