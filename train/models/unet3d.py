"""The denoising 3D U-Net, factorised over space and time (Ho et al. 2022, Video Diffusion Models).

Spatial convolutions (1x3x3), attention over the places of a frame, attention over the frames of a
place; time and text embeddings enter every residual block; features of the first frame are
concatenated to the noisy target (the paper, figure 2c).

Shapes: B clips, C channels, T frames to generate, h x w grid, N = B T.
"""

from __future__ import annotations

import math
from typing import Literal

import torch
import torch.nn.functional as F
from einops import rearrange
from pydantic.dataclasses import dataclass
from torch import Tensor, nn

from shared.errors import UserError
from train.models.first_frame import FirstFrameEncoder
from train.models.layers import zero_initialise
from train.models.layout import LabelLayout
from train.options import STRICT


@dataclass(frozen=True, config=STRICT)
class UNet3DOptions:
    """Options of `UNet3D`."""

    kind: Literal["unet3d"] = "unet3d"
    dim: int = 64
    """Channels at the finest level."""
    mults: tuple[int, ...] = (1, 2, 4, 4)
    """Channels of each level, as multiples of `dim`; each level halves the grid."""
    blocks: int = 2
    """Residual blocks a level."""
    heads: int = 8
    head_dim: int = 32
    context: int = 64
    """Channels of the first frame's features."""
    label_dim: int = 256
    layout: int = 0
    """Channels of a map over the clip that the label is turned into, see `models.layout`; 0: none.
    An addition of ours."""
    temporal_conv: bool = False
    """A 3x1x1 convolution behind each residual block, besides attention over time."""


class UNet3D(nn.Module):
    """Predicts v or epsilon from a noisy target, its time, a label and the first frame.

    Args:
        options: widths and depths.
        channels: channels C of the target.
        block: pixels a grid cell covers = total stride of the first frame's encoder.
        labels: number of label texts; index `labels` is the null condition.
        shape: (T, h, w) of the target, which only `options.layout` needs to know beforehand.
    """

    def __init__(
        self,
        options: UNet3DOptions,
        channels: int,
        block: int,
        labels: int,
        shape: tuple[int, int, int] = (0, 0, 0),
    ) -> None:
        super().__init__()
        self.options = options
        widths = [options.dim * mult for mult in options.mults]
        embedding = 4 * options.dim
        self.first_frame = FirstFrameEncoder(options.context, block)
        self.label = nn.Embedding(labels + 1, options.label_dim)
        self.time = nn.Sequential(
            nn.Linear(options.dim, embedding), nn.SiLU(), nn.Linear(embedding, embedding)
        )
        # "The embedding of the condition y is concatenated with the time step embedding."
        # The place of a frame in the clip stands beside both: what a label means for frame n is
        # then known to every block, not only to attention over time.
        self.condition = nn.Sequential(
            nn.Linear(2 * embedding + options.label_dim, embedding),
            nn.SiLU(),
            nn.Linear(embedding, embedding),
            nn.SiLU(),
        )
        self.frame = nn.Sequential(
            nn.Linear(options.dim, embedding), nn.SiLU(), nn.Linear(embedding, embedding)
        )
        self.layout = (
            LabelLayout(options.label_dim, options.layout, shape) if options.layout else None
        )
        self.input = _conv(channels + options.context + 2 + options.layout, widths[0])
        self.down = nn.ModuleList(
            _Level(options, before, width, embedding)
            for before, width in zip([widths[0], *widths[:-1]], widths, strict=True)
        )
        self.shrink = nn.ModuleList(
            nn.Conv2d(width, width, 4, stride=2, padding=1) for width in widths[:-1]
        )
        self.middle = _Level(options, widths[-1], widths[-1], embedding)
        self.up = nn.ModuleList(
            _Level(options, 2 * width, before, embedding)
            for before, width in zip([widths[0], *widths[:-1]], widths, strict=True)
        )
        self.grow = nn.ModuleList(
            nn.ConvTranspose2d(width, width, 4, stride=2, padding=1) for width in widths[:-1]
        )
        self.output = nn.Sequential(
            _norm(2 * widths[0]), nn.SiLU(), zero_initialise(_conv(2 * widths[0], channels))
        )

    @property
    def null_label(self) -> int:
        """Index of the null condition."""
        return self.label.num_embeddings - 1

    def forward(self, noisy: Tensor, t: Tensor, label: Tensor, first_frame: Tensor) -> Tensor:
        """Prediction of the shape of `noisy`.

        Args:
            noisy: float, shape (B, C, T, h, w).
            t: diffusion time steps, shape (B,).
            label: indices, shape (B,).
            first_frame: float in [-1, 1], shape (B, 3, h * block, w * block).
        """
        batch, _, time = noisy.shape[:3]
        self._check_grid(noisy)
        x = torch.cat([noisy, *self._maps(noisy, label, first_frame)], dim=1)
        x = rearrange(x, "b c t h w -> (b t) c h w")
        skip = x = self.input(x.contiguous(memory_format=torch.channels_last))
        x = self._levels(x, self._condition(t, label, time), time)
        x = self.output(torch.cat([x, skip], dim=1))
        return rearrange(x, "(b t) c h w -> b c t h w", b=batch)

    def _maps(self, noisy: Tensor, label: Tensor, first_frame: Tensor) -> list[Tensor]:
        """What is known of every cell, each of shape (B, C, T, h, w)."""
        still = torch.cat([self.first_frame(first_frame), _coordinates(noisy)], dim=1)
        maps = [still[:, :, None].expand(-1, -1, noisy.shape[2], -1, -1)]
        return maps if self.layout is None else [*maps, self.layout(self.label(label))]

    def _levels(self, x: Tensor, condition: Tensor, time: int) -> Tensor:
        skips = []
        for index, level in enumerate(self.down):
            x = level(x, condition, time)
            skips.append(x)
            if index < len(self.shrink):
                x = self.shrink[index](x)
        x = self.middle(x, condition, time)
        for index in reversed(range(len(self.up))):
            x = self.up[index](torch.cat([x, skips[index]], dim=1), condition, time)
            if index > 0:
                x = self.grow[index - 1](x)
        return x

    def _condition(self, t: Tensor, label: Tensor, time: int) -> Tensor:
        """Embedding of diffusion time, label and place in the clip: (B T, 4 dim)."""
        clip = torch.cat([self.time(self._sinusoid(t)), self.label(label)], dim=-1)
        frame = self.frame(self._sinusoid(torch.arange(time, device=t.device)))
        clip = clip.repeat_interleave(time, dim=0)
        return self.condition(torch.cat([clip, frame.repeat(len(t), 1)], dim=-1))

    def _sinusoid(self, position: Tensor) -> Tensor:
        """Sinusoidal embedding (Vaswani et al. 2017): (L,) to (L, dim)."""
        half = self.options.dim // 2
        exponent = torch.arange(half, device=position.device) / (half - 1)
        angles = position[:, None].float() * torch.exp(-math.log(10_000) * exponent)
        return torch.cat([angles.sin(), angles.cos()], dim=-1)

    def _check_grid(self, noisy: Tensor) -> None:
        factor = 2 ** (len(self.options.mults) - 1)
        if any(side % factor for side in noisy.shape[-2:]):
            raise UserError(
                f"a {noisy.shape[-2]}x{noisy.shape[-1]} grid cannot be halved"
                f" {len(self.options.mults) - 1} times: take a recipe with fewer `mults`, or a"
                f" store whose size / block is a multiple of {factor}"
            )


class _Level(nn.Module):
    """Residual blocks, attention over space, attention over time."""

    def __init__(self, options: UNet3DOptions, inputs: int, width: int, embedding: int) -> None:
        super().__init__()
        self.blocks = nn.ModuleList(
            _ResidualBlock(inputs if index == 0 else width, width, embedding)
            for index in range(options.blocks)
        )
        self.temporal_convs = nn.ModuleList(
            _TemporalConv(width) for _ in range(options.blocks if options.temporal_conv else 0)
        )
        self.space = _Attention(width, options.heads, options.head_dim)
        self.time = _TemporalAttention(width, options.heads, options.head_dim)

    def forward(self, x: Tensor, condition: Tensor, time: int) -> Tensor:
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


class _ResidualBlock(nn.Module):
    """Two normalised convolutions; the condition scales and shifts between them."""

    def __init__(self, inputs: int, outputs: int, embedding: int) -> None:
        super().__init__()
        self.before = nn.Sequential(_norm(inputs), nn.SiLU(), _conv(inputs, outputs))
        self.norm = _norm(outputs)
        self.modulation = nn.Linear(embedding, 2 * outputs)
        self.after = nn.Sequential(nn.SiLU(), zero_initialise(_conv(outputs, outputs)))
        self.shortcut = nn.Conv2d(inputs, outputs, 1) if inputs != outputs else nn.Identity()

    def forward(self, x: Tensor, condition: Tensor) -> Tensor:
        scale, shift = self.modulation(condition)[..., None, None].chunk(2, dim=1)
        return self.after(self.norm(self.before(x)) * (1 + scale) + shift) + self.shortcut(x)


class _TemporalConv(nn.Module):
    """Residual convolution over three neighbouring frames of each place, zero at the start."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.norm = _norm(width)
        self.conv = zero_initialise(nn.Linear(3 * width, width))

    def forward(self, x: Tensor, time: int) -> Tensor:
        frames = rearrange(F.silu(self.norm(x)), "(b t) c h w -> b t h w c", t=time)
        padded = F.pad(frames, (0, 0, 0, 0, 0, 0, 1, 1))
        neighbours = torch.cat([padded[:, :-2], frames, padded[:, 2:]], dim=-1)
        return x + rearrange(self.conv(neighbours), "b t h w c -> (b t) c h w")


class _Attention(nn.Module):
    """Multi-head self-attention over the second axis; (N, L, C) to (N, L, C)."""

    def __init__(self, width: int, heads: int, head_dim: int) -> None:
        super().__init__()
        self.heads = heads
        self.norm = nn.LayerNorm(width)
        self.qkv = nn.Linear(width, 3 * heads * head_dim, bias=False)
        self.output = zero_initialise(nn.Linear(heads * head_dim, width))

    def forward(self, x: Tensor) -> Tensor:
        qkv = rearrange(self.qkv(self.norm(x)), "n l (k m d) -> k n m l d", k=3, m=self.heads)
        query, key, value = qkv
        bias = self.bias(x.shape[1], x.dtype)
        attended = attention(query, key, value, bias)
        return self.output(rearrange(attended, "n m l d -> n l (m d)"))

    def bias(self, length: int, dtype: torch.dtype) -> Tensor | None:
        """Added to the attention logits, shape (heads, L, L), or nothing."""
        return None


def attention(query: Tensor, key: Tensor, value: Tensor, bias: Tensor | None) -> Tensor:
    """Scaled dot-product attention over (N, heads, L, D), with a bias added to the logits.

    On CPUs written out: for sequences as short as a grid row of blocks or a clip, PyTorch's fused
    kernel is no faster there in float32 and takes several times as long in bfloat16.
    """
    if query.device.type != "cpu":
        return F.scaled_dot_product_attention(query, key, value, attn_mask=bias)
    logits = (query * query.shape[-1] ** -0.5) @ key.transpose(-1, -2)
    return (logits if bias is None else logits + bias).softmax(-1).to(value.dtype) @ value


class _TemporalAttention(_Attention):
    """Attention over frames, with a learned bias for each signed distance (T5, as in VDM)."""

    _FAR = 32

    def __init__(self, width: int, heads: int, head_dim: int) -> None:
        super().__init__(width, heads, head_dim)
        self.distance = nn.Embedding(2 * self._FAR + 1, heads)
        self.position = nn.Embedding(2 * self._FAR, width)
        nn.init.zeros_(self.distance.weight)
        nn.init.normal_(self.position.weight, std=0.02)

    def forward(self, x: Tensor) -> Tensor:
        # How far a frame is from the first, given one, matters as well as distances do.
        index = torch.arange(x.shape[1], device=x.device).clamp_max(2 * self._FAR - 1)
        return super().forward(x + self.position(index))

    def bias(self, length: int, dtype: torch.dtype) -> Tensor:
        index = torch.arange(length, device=self.distance.weight.device)
        distance = (index[None] - index[:, None]).clamp(-self._FAR, self._FAR) + self._FAR
        return rearrange(self.distance(distance), "i j m -> m i j").to(dtype)


def _coordinates(x: Tensor) -> Tensor:
    """Where each cell is: down and across in [-1, 1], shape (B, 2, h, w)."""
    down, across = (torch.linspace(-1, 1, side, device=x.device) for side in x.shape[-2:])
    return torch.stack(torch.meshgrid(down, across, indexing="ij")).expand(len(x), -1, -1, -1)


def _norm(width: int) -> nn.GroupNorm:
    return nn.GroupNorm(8, width)


def _conv(inputs: int, outputs: int) -> nn.Conv2d:
    return nn.Conv2d(inputs, outputs, 3, padding=1)
