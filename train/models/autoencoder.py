"""What every residual autoencoder offers to the codec space, and how one is chosen by options."""

from __future__ import annotations

from abc import ABC, abstractmethod

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from shared.conventions import grid_shape


class ResidualAutoencoder(nn.Module, ABC):
    """Compresses residuals to one latent vector a block.

    Attributes:
        block: block size b, pixels = the downsampling factor.
        latent_channels: numbers K in a block's latent.
    """

    block: int
    latent_channels: int

    @abstractmethod
    def encode(self, residual: Tensor) -> Tensor:
        """Latents of residuals.

        Args:
            residual: float, grey levels / 255, shape (N, 3, H, W), H and W multiples of b.

        Returns:
            Shape (N, K, H/b, W/b).
        """

    @abstractmethod
    def decode(self, latent: Tensor) -> Tensor:
        """Inverse of `encode`: (N, K, H/b, W/b) to (N, 3, H, W), grey levels / 255."""

    @abstractmethod
    def loss(
        self, residual: Tensor, generators: list[torch.Generator] | None = None
    ) -> dict[str, Tensor]:
        """Training losses by name; `loss` is what to minimise.

        Args:
            residual: as in `encode`.
            generators: one a residual, for what is drawn at random; None takes torch's own.
        """

    def start_from(self, residual: Tensor) -> None:
        """Initialise from a sample of training residuals (as in `encode`), where that helps."""


def pad_to_blocks(residual: Tensor, block: int) -> Tensor:
    """Zero-pad the last two axes up to whole blocks: a cut block has no residual outside."""
    height, width = residual.shape[-2:]
    rows, columns = grid_shape(height, width, block)
    return F.pad(residual, (0, columns * block - width, 0, rows * block - height))
