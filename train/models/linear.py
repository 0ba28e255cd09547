"""Fixed linear codes of a block: what any learned one has to beat.

z = A r for a block r of 3 * b * b values, decoded as S z. Nothing of them is trained by gradients.
"""

from __future__ import annotations

import torch
from torch import Tensor

from shared.errors import UserError
from train.models.autoencoder import Autoencoder
from train.models.blocks import from_blocks, to_blocks


class LinearAutoencoder(Autoencoder):
    """A linear code whose matrices `start_from` finds.

    Attributes:
        analysis: A, shape (K, 3 * b * b).
        synthesis: S, shape (3 * b * b, K).
    """

    analysis: Tensor
    synthesis: Tensor

    def __init__(self, latent_channels: int, block: int) -> None:
        super().__init__()
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
        """See `Autoencoder.encode`."""
        latents = to_blocks(picture, self.block) @ self.analysis.T
        rows, columns = (side // self.block for side in picture.shape[-2:])
        return latents.view(len(picture), rows, columns, -1).permute(0, 3, 1, 2)

    def decode(self, latent: Tensor, context: Tensor | None = None) -> Tensor:
        """See `Autoencoder.decode`."""
        blocks = latent.permute(0, 2, 3, 1).flatten(0, 2) @ self.synthesis.T
        return from_blocks(blocks, len(latent), latent.shape[-2], self.block)
