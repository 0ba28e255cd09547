"""Transformers over a clip's tokens: TimeSformer (Bertasius et al. 2021), and over short lines.

Shapes: B clips, T frames, P places of a frame in raster order, N lines of L tokens, C channels.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from einops import rearrange
from torch import Tensor, nn

from train.models.attention import Attention
from train.models.layers import zero_initialise

_MAX_FREQUENCY = 10.0
"""Of rotary positions in space: rotations by up to a half of it in pi across the frame."""


class RotaryAttention(Attention):
    """Attention with rotary positions (Su et al. 2021): queries and keys turn with their place.

    Args:
        width, heads, head_dim: see `Attention`; `head_dim` is a multiple of 4.
        angles: by which pairs of a head's numbers turn, radians, shape (L, head_dim / 2).
    """

    def __init__(self, width: int, heads: int, head_dim: int, angles: Tensor) -> None:
        super().__init__(width, heads, head_dim)
        self.angles: Tensor
        self.register_buffer("angles", angles, persistent=False)

    def attend(self, query: Tensor, key: Tensor, value: Tensor) -> Tensor:
        """Attend to all positions; logits depend on distances alone."""
        return super().attend(rotate(query, self.angles), rotate(key, self.angles), value)


def rotate(x: Tensor, angles: Tensor) -> Tensor:
    """Turn the pairs (k, k + D/2) of the last axis: (..., L, D) by angles (L, D/2)."""
    one, other = x.chunk(2, dim=-1)
    cosine, sine = angles.cos(), angles.sin()
    turned = torch.cat([one * cosine - other * sine, one * sine + other * cosine], dim=-1)
    return turned.to(x.dtype)


def time_angles(frames: int, head_dim: int) -> Tensor:
    """Angles of frames: t 10000^(-2k / D), shape (T, D/2)."""
    rates = 10_000.0 ** (-torch.arange(head_dim // 2) * 2 / head_dim)
    return torch.arange(frames)[:, None] * rates


def place_angles(rows: int, columns: int, head_dim: int) -> Tensor:
    """Angles of places in raster order, shape (rows * columns, D/2).

    The first half turns with the row, the other half with the column: pi y f for y from -1 to 1
    across the frame, and f from 1 to half the largest frequency.
    """
    rates = math.pi * torch.linspace(1, _MAX_FREQUENCY / 2, head_dim // 4)
    down, across = (torch.linspace(-1, 1, side)[:, None] * rates for side in (rows, columns))
    grid = (rows, columns, head_dim // 4)
    return torch.cat([down[:, None].expand(grid), across.expand(grid)], dim=-1).flatten(0, 1)


class FeedForward(nn.Module):
    """Residual branch of two layers: GELU, or gated by GELU (GEGLU; Shazeer 2020)."""

    def __init__(self, width: int, hidden: int, *, gated: bool) -> None:
        super().__init__()
        self.gated = gated
        self.norm = nn.LayerNorm(width)
        self.inner = nn.Linear(width, 2 * hidden if gated else hidden)
        self.outer = zero_initialise(nn.Linear(hidden, width))

    def forward(self, x: Tensor) -> Tensor:
        """(..., C) to (..., C)."""
        x = self.inner(self.norm(x))
        if not self.gated:
            return self.outer(F.gelu(x))
        value, gate = x.chunk(2, dim=-1)
        return self.outer(value * F.gelu(gate))


class TimeSformer(nn.Module):
    """Layers of attention over time, attention over space, and a gated branch; all residual.

    All branches are zero at first, so that training starts at the identity.

    Args:
        grid: T, rows and columns of the clips' tokens.
        width: C.
        depth: layers.
        heads, head_dim: of every attention.
        expansion: hidden numbers of the gated branch as a multiple of C.
    """

    def __init__(
        self, grid: tuple[int, int, int], width: int, depth: int, heads: int, head_dim: int,
        expansion: int,
    ) -> None:  # fmt: skip
        super().__init__()
        frames, rows, columns = grid
        self.time = nn.ModuleList(
            RotaryAttention(width, heads, head_dim, time_angles(frames, head_dim))
            for _ in range(depth)
        )
        self.space = nn.ModuleList(
            RotaryAttention(width, heads, head_dim, place_angles(rows, columns, head_dim))
            for _ in range(depth)
        )
        self.mix = nn.ModuleList(
            FeedForward(width, expansion * width, gated=True) for _ in range(depth)
        )

    def forward(self, tokens: Tensor) -> Tensor:
        """Tokens (B, T, P, C) of the same shape."""
        batch, frames = tokens.shape[:2]
        for time, space, mix in zip(self.time, self.space, self.mix, strict=True):
            films = rearrange(tokens, "b t p c -> (b p) t c")
            tokens = tokens + rearrange(time(films), "(b p) t c -> b t p c", b=batch)
            pictures = rearrange(tokens, "b t p c -> (b t) p c")
            tokens = tokens + rearrange(space(pictures), "(b t) p c -> b t p c", t=frames)
            tokens = tokens + mix(tokens)
        return tokens


class LineSummary(nn.Module):
    """A small transformer that summarises each line of tokens in one: (N, L, C) to (N, C).

    A learned token goes first, and is what is read in the end. Positions are learned, and small at
    first, so that they do not drown the tokens.

    Args:
        length: L.
        width: C.
        depth, heads, head_dim: of its layers.
        hidden: numbers of their two-layer branches.
    """

    def __init__(
        self, length: int, width: int, depth: int, heads: int, head_dim: int, hidden: int
    ) -> None:
        super().__init__()
        self.summary = nn.Parameter(0.02 * torch.randn(width))
        self.position = nn.Parameter(0.02 * torch.randn(length + 1, width))
        self.attention = nn.ModuleList(Attention(width, heads, head_dim) for _ in range(depth))
        self.mix = nn.ModuleList(FeedForward(width, hidden, gated=False) for _ in range(depth))

    def forward(self, lines: Tensor) -> Tensor:
        """The summary token of each line."""
        first = self.summary.expand(len(lines), 1, -1)
        x = torch.cat([first, lines], dim=1) + self.position  # (N, 1 + L, C)
        for attention, mix in zip(self.attention, self.mix, strict=True):
            x = x + attention(x)
            x = x + mix(x)
        return x[:, 0]
