"""The discrete cosine transform of residual blocks, made as fair as a fixed transform can be.

Y, Cb and Cr (BT.601) of a block go through the orthonormal two-dimensional DCT-II of the block's
own size, as in scipy.fft.dctn(norm="ortho"). Of the 3 * b * b coefficients those K are kept, for
all blocks alike, that carry most energy of red, green and blue in the training blocks: no zig-zag
chosen by hand, no chroma subsampled away, no quantisation.
"""

from __future__ import annotations

import math
from typing import Annotated, Literal

import torch
from pydantic import Field
from pydantic.dataclasses import dataclass
from torch import Tensor

from train.models.blocks import active, to_blocks
from train.models.linear import LinearAutoencoder
from train.options import STRICT

_YCBCR = (
    (0.299, 0.587, 0.114),
    (-0.168736, -0.331264, 0.5),
    (0.5, -0.418688, -0.081312),
)
"""BT.601 for differences of grey levels, full range (as in JFIF)."""


@dataclass(frozen=True, config=STRICT)
class DctOptions:
    """Options of `DctAutoencoder`."""

    kind: Literal["dct"] = "dct"
    latent_channels: Annotated[int, Field(ge=1)] = 16


class DctAutoencoder(LinearAutoencoder):
    """The K strongest of a block's DCT coefficients.

    Attributes:
        chosen: their indices in (channel, vertical, horizontal frequency), strongest first; int64,
            shape (K,).
    """

    chosen: Tensor

    def __init__(self, options: DctOptions, block: int) -> None:
        super().__init__(options.latent_channels, block)
        self.register_buffer("chosen", torch.arange(options.latent_channels))

    @torch.no_grad()
    def start_from(self, picture: Tensor, context: Tensor | None = None) -> None:
        """See `Autoencoder.start_from`."""
        blocks = active(to_blocks(picture, self.block)).double()
        colours = torch.tensor(_YCBCR, dtype=torch.float64, device=blocks.device)
        waves = dct_matrix(self.block).to(blocks)
        plane = torch.kron(waves, waves)
        forward = torch.kron(colours, plane)
        backward = torch.kron(torch.linalg.inv(colours), plane.T)
        # A coefficient's picture has the length of its colour's column, which is not one.
        energy = (blocks @ forward.T).square().mean(0) * backward.square().sum(0)
        self.chosen.copy_(energy.argsort(descending=True)[: self.latent_channels])
        self.analysis.copy_(forward[self.chosen])
        self.synthesis.copy_(backward[:, self.chosen])


def dct_matrix(size: int) -> Tensor:
    """Orthonormal DCT-II, float64, shape (size, size): row k is the wave of frequency k."""
    position = torch.arange(size, dtype=torch.float64) + 0.5
    frequency = torch.arange(size, dtype=torch.float64)[:, None]
    waves = torch.cos(math.pi / size * frequency * position) * math.sqrt(2 / size)
    waves[0] /= math.sqrt(2)
    return waves
