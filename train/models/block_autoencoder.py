"""A residual autoencoder for small budgets: block by block, starting from the optimal linear code.

Both halves are a linear map plus a correction by a small network whose last layer starts at zero,
so that training starts at the Karhunen-Loeve transform (KLT) of the training blocks. The value at
zero is subtracted, so that a block without residual, as most are, stays without (but for rounding).
"""

from __future__ import annotations

from typing import Any, Literal

import torch
from einops import rearrange
from pydantic.dataclasses import dataclass
from torch import Tensor, nn

from shared.errors import UserError
from shared.schema import CodecOptions
from train.models.autoencoder import Autoencoder
from train.models.layers import zero_initialise
from train.options import STRICT


def to_blocks(picture: Tensor, block: int) -> Tensor:
    """Blocks of (N, 3, H, W) in raster order, shape (N * H/b * W/b, 3 * b * b)."""
    return rearrange(picture, "n c (h y) (w x) -> (n h w) (c y x)", y=block, x=block)


def from_blocks(blocks: Tensor, count: int, rows: int, block: int) -> Tensor:
    """Inverse of `to_blocks`: `count` pictures of `rows` rows of blocks."""
    return rearrange(blocks, "(n h w) (c y x) -> n c (h y) (w x)", n=count, h=rows, c=3, y=block)


def active(blocks: Tensor) -> Tensor:
    """Rows with any value other than zero; one zero row if all are zero."""
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


@dataclass(frozen=True, config=STRICT)
class BlockAutoencoderOptions:
    """Options of `BlockAutoencoder`."""

    kind: Literal["block"] = "block"
    latent_channels: int = 8
    hidden: int = 256
    l2_weight: float = 4.0
    """Weight of the squared error; that of the absolute error is 1."""


class BlockAutoencoder(Autoencoder):
    """z = W r + e(r) - e(0) for a block r; decoded as W' z + d(z) - d(0)."""

    options_type = BlockAutoencoderOptions
    initial_fits = 1

    def __init__(self, options: BlockAutoencoderOptions, block: int, store: CodecOptions) -> None:
        super().__init__()
        self.block, self.latent_channels = block, options.latent_channels
        self.l2_weight = options.l2_weight
        values = 3 * block * block
        if self.latent_channels > values:
            raise UserError(
                f"latent_channels is {self.latent_channels}; a block of {block}x{block} pixels has"
                f" only {values} values: take fewer"
            )
        self.analysis = nn.Linear(values, self.latent_channels, bias=False)
        self.synthesis = nn.Linear(self.latent_channels, values, bias=False)
        self.encoder = _correction(values, options.hidden, self.latent_channels)
        self.decoder = _correction(self.latent_channels, options.hidden, values)

    def encode(self, picture: Tensor, context: Tensor | None = None) -> Tensor:
        """Latents, block by block."""
        grid = picture.shape[-2] // self.block
        return rearrange(
            self._encode_blocks(to_blocks(picture, self.block)),
            "(n h w) k -> n k h w",
            n=len(picture),
            h=grid,
        )

    def decode(self, latent: Tensor, context: Tensor | None = None) -> Tensor:
        """Pictures, block by block."""
        blocks = self._decode_blocks(rearrange(latent, "n k h w -> (n h w) k"))
        return from_blocks(blocks, len(latent), latent.shape[-2], self.block)

    def compile(self, *args: Any, **options: Any) -> None:
        """Do nothing: a few matrices over a varying number of blocks gain nothing."""

    def loss(
        self,
        picture: Tensor,
        context: Tensor | None = None,
        generators: list[torch.Generator] | None = None,
    ) -> dict[str, Tensor]:
        """L1 and weighted L2 over active blocks: the others are right by construction."""
        blocks = active(to_blocks(picture, self.block))
        error = self._decode_blocks(self._encode_blocks(blocks)) - blocks
        l1, l2 = error.abs().mean(), error.square().mean()
        return {"loss": l1 + self.l2_weight * l2, "l1": l1.detach(), "l2": l2.detach()}

    @torch.no_grad()
    def fit_initial(self, picture: Tensor, context: Tensor | None = None) -> None:
        """Set the linear maps to the KLT of the active blocks.

        Latents are scaled to unit variance on average, so that the corrections see inputs of
        order one.
        """
        blocks = active(to_blocks(picture, self.block))
        basis, energy = principal(blocks, self.latent_channels)
        scale = energy.mean().clamp_min(1e-12).sqrt()
        self.analysis.weight.copy_(basis / scale)
        self.synthesis.weight.copy_((basis * scale).T)

    def _encode_blocks(self, blocks: Tensor) -> Tensor:
        # The corrections work at unit scale; grey levels / 255 of a residual are mostly below 0.1.
        zero = blocks.new_zeros(1, blocks.shape[1])
        return self.analysis(blocks) + self.encoder(8 * blocks) - self.encoder(zero)

    def _decode_blocks(self, latents: Tensor) -> Tensor:
        zero = latents.new_zeros(1, latents.shape[1])
        return self.synthesis(latents) + self.decoder(latents) - self.decoder(zero)


def _correction(inputs: int, hidden: int, outputs: int) -> nn.Sequential:
    last = zero_initialise(nn.Linear(hidden, outputs))
    return nn.Sequential(
        nn.Linear(inputs, hidden), nn.SiLU(), nn.Linear(hidden, hidden), nn.SiLU(), last
    )
