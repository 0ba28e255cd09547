"""Learned features of the conditions: on the target's grid, or as tokens to attend to."""

from __future__ import annotations

import itertools
import math

import torch
from torch import Tensor, nn

from shared.errors import UserError
from train.models.layers import two_convolutions


class FirstFrameEncoder(nn.Module):
    """A small ResNet (He et al. 2016), strided by two until each cell has one feature vector.

    It is tau in the paper's equations 7 and 8. Where cells are pixels, it is one residual block
    without a stride: "in D-VDM the feature map remains the original size".

    Args:
        channels: features C at the output.
        cell: side b of a grid cell, pixels, a power of two: the total stride.
        width: features after the first convolution, doubled with each stride up to `channels`.

    Raises:
        UserError: `cell` is not a power of two.
    """

    def __init__(self, channels: int, cell: int, width: int = 16) -> None:
        super().__init__()
        halvings = cell.bit_length() - 1
        if cell != 1 << halvings:
            raise UserError(
                f"a grid cell covers {cell} pixels: the first frame's encoder is strided by two, so"
                " it must be 1 or a power of two; take a store with such a block size"
            )
        widths = [min(channels, width << level) for level in range(halvings)] + [channels]
        pairs = list(itertools.pairwise(widths)) or [(channels, channels)]
        stride = 2 if halvings else 1
        self.input = nn.Conv2d(3, widths[0], 3, padding=1)
        self.stages = nn.Sequential(*(_Residual(*pair, stride) for pair in pairs))

    def forward(self, first_frame: Tensor) -> Tensor:
        """Features (B, C, H/b, W/b) of first frames (B, 3, H, W) in [-1, 1], whole cells."""
        return self.stages(self.input(first_frame))


class _Residual(nn.Module):
    """Two convolutions, the first strided, around a shortcut of the same stride."""

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.body = two_convolutions(inputs, outputs, stride)
        self.shortcut = nn.Conv2d(inputs, outputs, stride, stride=stride)

    def forward(self, x: Tensor) -> Tensor:
        return self.body(x) + self.shortcut(x)


class LabelMap(nn.Module):
    """A linear map from a label's embedding to features of every cell of x_0.

    An addition of ours. Embeddings that scale and shift whole channels tell a convolution what is
    asked, but not where: that a label raises the right hand in frame 9 must grow out of many
    layers. This map is concatenated to the noisy target, as the first frame's features are.

    Args:
        label_dim: numbers in a label's embedding.
        channels: features C of a cell.
        shape: of the target's cells, (T, h, w) or any other.
    """

    def __init__(self, label_dim: int, channels: int, shape: tuple[int, ...]) -> None:
        super().__init__()
        self.shape = (channels, *shape)
        self.table = nn.Linear(label_dim, math.prod(self.shape))

    def forward(self, label: Tensor) -> Tensor:
        """Features (B, C, *shape) of embeddings (B, label_dim)."""
        return self.table(label).unflatten(1, self.shape)


class Tokens(nn.Module):
    """Tokens to attend to, with sinusoidal positions: given ones, or learned ones of patches.

    MoVideo (Liang et al., ECCV 2024, section 3.2) takes a CLIP vision model's, and adds positions;
    learned features of patches, where no such model is at hand, are an addition of ours.

    Args:
        width: numbers W of a token.
        given: numbers of a given token; None makes tokens of pictures.
        patch: side of the pictures' patches, pixels.
    """

    def __init__(self, width: int, given: int | None, patch: int) -> None:
        super().__init__()
        self.width = width
        self.embed: nn.Module = (
            nn.Conv2d(3, width, patch, stride=patch) if given is None else nn.Linear(given, width)
        )

    def forward(self, source: Tensor) -> Tensor:
        """Tokens (B, L, W) of given ones, (B, L, D), or of pictures, (B, 3, H, W)."""
        tokens = self.embed(source)
        if tokens.ndim == 4:
            tokens = tokens.flatten(2).transpose(1, 2)  # (B, W, h, w) to (B, h w, W)
        index = torch.arange(tokens.shape[1], device=tokens.device)
        return tokens + sinusoid(index, self.width)


def sinusoid(position: Tensor, width: int) -> Tensor:
    """Sinusoidal embedding (Vaswani et al. 2017): (L,) to (L, width)."""
    half = width // 2
    exponent = torch.arange(half, device=position.device) / (half - 1)
    angles = position[:, None].float() * torch.exp(-math.log(10_000) * exponent)
    return torch.cat([angles.sin(), angles.cos()], dim=-1)
