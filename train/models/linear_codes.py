"""Fixed linear codes of residual blocks: the baselines that a learned autoencoder has to beat.

z = A r for a block r of 3 * b * b values, decoded as S z. No gradients train them.
"""

from __future__ import annotations

import math
from typing import Annotated, Literal

import torch
from pydantic import Field
from pydantic.dataclasses import dataclass
from torch import Tensor

from shared.errors import UserError
from shared.schema import CodecOptions
from train.models.autoencoder import Autoencoder
from train.models.block_autoencoder import active, from_blocks, principal, to_blocks
from train.options import STRICT


class LinearAutoencoder(Autoencoder):
    """A linear code whose matrices `fit_initial` finds.

    Attributes:
        analysis: A, shape (K, 3 * b * b).
        synthesis: S, shape (3 * b * b, K).
    """

    initial_fits = 1
    analysis: Tensor
    synthesis: Tensor

    def __init__(
        self, options: ZeroOptions | DctOptions | KltOptions, block: int, store: CodecOptions
    ) -> None:
        super().__init__()
        latent_channels = options.latent_channels
        values = 3 * block * block
        if latent_channels > values:
            raise UserError(
                f"latent_channels is {latent_channels}; a block of {block}x{block} pixels has"
                f" only {values} values: take fewer"
            )
        self.block, self.latent_channels = block, latent_channels
        self.register_buffer("analysis", torch.zeros(latent_channels, values))
        self.register_buffer("synthesis", torch.zeros(values, latent_channels))

    def encode(self, picture: Tensor, context: Tensor | None = None) -> Tensor:
        """Coordinates A r of each block."""
        latents = to_blocks(picture, self.block) @ self.analysis.T
        rows, columns = (side // self.block for side in picture.shape[-2:])
        return latents.view(len(picture), rows, columns, -1).permute(0, 3, 1, 2)

    def decode(self, latent: Tensor, context: Tensor | None = None) -> Tensor:
        """Blocks S z."""
        blocks = latent.permute(0, 2, 3, 1).flatten(0, 2) @ self.synthesis.T
        return from_blocks(blocks, len(latent), latent.shape[-2], self.block)


@dataclass(frozen=True, config=STRICT)
class ZeroOptions:
    """Options of `ZeroAutoencoder`."""

    kind: Literal["zero"] = "zero"
    latent_channels: Annotated[int, Field(ge=1)] = 16
    """Zeros in a latent, so that codes of one latent size can be compared."""


class ZeroAutoencoder(LinearAutoencoder):
    """Code every residual as zero: decoding shows what vectors alone restore."""

    options_type = ZeroOptions
    initial_fits = 0


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
    """The K strongest of a block's DCT coefficients, as fair as a fixed transform can be.

    Y, Cb and Cr (BT.601) of a block go through the orthonormal two-dimensional DCT-II of the
    block's own size, as in scipy.fft.dctn(norm="ortho"). Of the 3 * b * b coefficients those K are
    kept, the same for all blocks, that carry most energy of red, green and blue in the training
    blocks: no zig-zag chosen by hand, no chroma subsampling, no quantisation.

    Attributes:
        chosen: their indices in (channel, vertical, horizontal frequency), strongest first; int64,
            shape (K,).
    """

    options_type = DctOptions
    chosen: Tensor

    def __init__(self, options: DctOptions, block: int, store: CodecOptions) -> None:
        super().__init__(options, block, store)
        self.register_buffer("chosen", torch.arange(options.latent_channels))

    @torch.no_grad()
    def fit_initial(self, picture: Tensor, context: Tensor | None = None) -> None:
        """Choose the coefficients with most energy."""
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


@dataclass(frozen=True, config=STRICT)
class KltOptions:
    """Options of `KltAutoencoder`."""

    kind: Literal["klt"] = "klt"
    latent_channels: Annotated[int, Field(ge=1)] = 16


class KltAutoencoder(LinearAutoencoder):
    """Karhunen-Loeve transform: the K leading eigenvectors of the blocks' second moments.

    No other linear code of K numbers a block has a lower squared error on the blocks it was fitted
    to (Eckart and Young 1936).
    """

    options_type = KltOptions

    @torch.no_grad()
    def fit_initial(self, picture: Tensor, context: Tensor | None = None) -> None:
        """Take the eigenvectors, of blocks with a residual alone."""
        basis, _ = principal(active(to_blocks(picture, self.block)), self.latent_channels)
        self.analysis.copy_(basis)
        self.synthesis.copy_(basis.T)
