"""Self-attention over the places of a frame, full or linear, and over the frames of a place.

Shapes: N sequences, L positions, C channels, M heads of D numbers.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from einops import rearrange
from torch import Tensor, nn

from train.models.layers import zero_initialise

_SHORT = 256
"""Positions L up to which attention is written out on CPUs."""

_SEQUENCES = 2**16 - 1
"""Most sequences N that CUDA's fused kernels take at once (pytorch/pytorch#146704); a few clips of
pixels have more places."""


class Attention(nn.Module):
    """Multi-head self-attention over the second axis; (N, L, C) to (N, L, C)."""

    def __init__(self, width: int, heads: int, head_dim: int) -> None:
        super().__init__()
        self.heads = heads
        self.norm = nn.LayerNorm(width)
        self.qkv = nn.Linear(width, 3 * heads * head_dim, bias=False)
        self.output = zero_initialise(nn.Linear(heads * head_dim, width))

    def forward(self, x: Tensor) -> Tensor:
        """Attend to all positions of each sequence."""
        seen = self.attend(*_split_heads(self.qkv(self.norm(x)), 3, self.heads))
        return self.output(rearrange(seen, "n m l d -> n l (m d)"))

    def attend(self, query: Tensor, key: Tensor, value: Tensor) -> Tensor:
        """Values of other positions for each position, all of shape (N, M, L, D)."""
        return attention(query, key, value, None)


class SpatialAttention(Attention):
    """Attention over the places of a frame: full on coarse grids, linear on fine ones.

    Both have the same weights, so that a network runs on grids of either kind.

    Args:
        width, heads, head_dim: C, M, D.
        full_up_to: most positions L with full attention.
    """

    def __init__(self, width: int, heads: int, head_dim: int, full_up_to: int) -> None:
        super().__init__(width, heads, head_dim)
        self.full_up_to = full_up_to

    def attend(self, query: Tensor, key: Tensor, value: Tensor) -> Tensor:
        """Attend fully up to `full_up_to` positions, linearly beyond."""
        if query.shape[-2] <= self.full_up_to:
            return attention(query, key, value, None)
        return linear_attention(query, key, value)


class CrossAttention(nn.Module):
    """Attention to other tokens; (N, L, C) and tokens (N, S, W) to (N, L, C)."""

    def __init__(self, width: int, token_width: int, heads: int, head_dim: int) -> None:
        super().__init__()
        self.heads = heads
        self.norm = nn.LayerNorm(width)
        self.query = nn.Linear(width, heads * head_dim, bias=False)
        self.key_value = nn.Linear(token_width, 2 * heads * head_dim, bias=False)
        self.output = zero_initialise(nn.Linear(heads * head_dim, width))

    def forward(self, x: Tensor, tokens: Tensor) -> Tensor:
        """Attend to all tokens of the same row."""
        (query,) = _split_heads(self.query(self.norm(x)), 1, self.heads)
        key, value = _split_heads(self.key_value(tokens), 2, self.heads)
        return self.output(rearrange(attention(query, key, value, None), "n m l d -> n l (m d)"))


class TemporalAttention(Attention):
    """Attention over frames, with a learned bias for each signed distance (T5, as in VDM)."""

    _FAR = 32

    def __init__(self, width: int, heads: int, head_dim: int) -> None:
        super().__init__(width, heads, head_dim)
        self.distance = nn.Embedding(2 * self._FAR + 1, heads)
        self.position = nn.Embedding(2 * self._FAR, width)
        nn.init.zeros_(self.distance.weight)
        nn.init.normal_(self.position.weight, std=0.02)

    def forward(self, x: Tensor) -> Tensor:
        """Attend to all frames, each with an embedding of its index."""
        # The distance from the first frame, which is given, matters besides relative distances.
        index = torch.arange(x.shape[1], device=x.device).clamp_max(2 * self._FAR - 1)
        return super().forward(x + self.position(index))

    def attend(self, query: Tensor, key: Tensor, value: Tensor) -> Tensor:
        """Attend with the bias of each distance."""
        return attention(query, key, value, self._bias(query.shape[-2], query.dtype))

    def _bias(self, length: int, dtype: torch.dtype) -> Tensor:
        """Bias of the attention logits, shape (M, L, L)."""
        index = torch.arange(length, device=self.distance.weight.device)
        distance = (index[None] - index[:, None]).clamp(-self._FAR, self._FAR) + self._FAR
        return rearrange(self.distance(distance), "i j m -> m i j").to(dtype)


def _split_heads(joined: Tensor, parts: int, heads: int) -> list[Tensor]:
    """`parts` tensors (N, M, L, D) from one of shape (N, L, parts M D).

    Cut before the axes are moved: the backward pass of one rearranged tensor would copy all parts
    in an order that CPUs do slowly, a seventh of a step in bfloat16.
    """
    cut = joined.chunk(parts, dim=-1)
    return [rearrange(part, "n l (m d) -> n m l d", m=heads) for part in cut]


def attention(query: Tensor, key: Tensor, value: Tensor, bias: Tensor | None) -> Tensor:
    """Scaled dot-product attention over (N, M, L, D), with a bias added to the logits.

    On CPUs written out for sequences as short as a grid of blocks or a clip: PyTorch's fused kernel
    is no faster there in float32 and takes up to several times as long in bfloat16. For 1,024
    positions it takes a third of the time, and never holds an L x L matrix.
    """
    if query.device.type != "cpu" or query.shape[-2] > _SHORT:
        return _fused(query, key, value, bias)
    logits = (query * query.shape[-1] ** -0.5) @ key.transpose(-1, -2)
    return (logits if bias is None else logits + bias).softmax(-1).to(value.dtype) @ value


def _fused(query: Tensor, key: Tensor, value: Tensor, bias: Tensor | None) -> Tensor:
    """PyTorch's kernel, on batches of as many sequences as it accepts."""
    parts = zip(*(tensor.split(_SEQUENCES) for tensor in (query, key, value)), strict=True)
    done = [F.scaled_dot_product_attention(q, k, v, attn_mask=bias) for q, k, v in parts]
    return done[0] if len(done) == 1 else torch.cat(done)


def linear_attention(query: Tensor, key: Tensor, value: Tensor) -> Tensor:
    """Efficient attention (Shen et al. 2021, equation 4), linear in L, over (N, M, L, D).

    softmax(Q) (softmax(K)' V): queries are normalised over their numbers, keys over positions, so
    that the L x L matrix softmax(Q) softmax(K)' has rows that sum to one and is never formed.
    Scaled by D^-1/2 as in VDM's public code.
    """
    weights = query.softmax(-1).to(value.dtype) * query.shape[-1] ** -0.5
    return weights @ (key.softmax(-2).to(value.dtype).transpose(-1, -2) @ value)
