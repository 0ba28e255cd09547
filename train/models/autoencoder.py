"""What every autoencoder offers to the spaces that need one: of residuals, or of frames."""

from __future__ import annotations

import hashlib
from abc import ABC, abstractmethod

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from shared.conventions import grid_shape


class Autoencoder(nn.Module, ABC):
    """Compresses pictures to one latent vector a cell of b x b pixels.

    Pictures are residuals, grey levels / 255, or frames in [-1, 1].

    Attributes:
        block: b, pixels = the downsampling factor.
        latent_channels: numbers K in a latent.
        context: names of the pictures (see `train.spaces.codec`) that it sees beside, the
            prediction of the frame first; where there are none, `context` below is None.
        rounds: how often `start_from` is to be called: from the second time on with pictures as
            they are met in use, which depends on the code.
        start_clips: training clips that `start_from` takes its pictures from, at most.
    """

    block: int
    latent_channels: int
    context: tuple[str, ...] = ()
    rounds: int = 1
    start_clips: int = 512

    @property
    def learns(self) -> bool:
        """Whether there is anything to train after `start_from`."""
        return any(True for _ in self.parameters())

    @abstractmethod
    def encode(self, picture: Tensor, context: Tensor | None = None) -> Tensor:
        """Latents of pictures.

        Args:
            picture: float, shape (N, 3, H, W), H and W multiples of b.
            context: in [-1, 1], shape (N, 3 * len(self.context), H, W).

        Returns:
            Shape (N, K, H/b, W/b).
        """

    @abstractmethod
    def decode(self, latent: Tensor, context: Tensor | None = None) -> Tensor:
        """Inverse of `encode`: (N, K, H/b, W/b) to (N, 3, H, W).

        Args:
            latent: as `encode` gives them.
            context: as in `encode`.
        """

    def loss(
        self,
        picture: Tensor,
        context: Tensor | None = None,
        generators: list[torch.Generator] | None = None,
    ) -> dict[str, Tensor]:
        """Training losses by name; `loss` is what to minimise. The squared error, if nothing else.

        Args:
            picture: as in `encode`.
            context: as in `encode`.
            generators: one a picture, for what is drawn at random; None takes torch's own.
        """
        l2 = (self.decode(self.encode(picture, context), context) - picture).square().mean()
        return {"loss": l2, "l2": l2.detach()}

    def start_from(self, picture: Tensor, context: Tensor | None = None) -> None:
        """Initialise from a sample of training pictures (as in `encode`), where that helps."""


def weights_hash(network: nn.Module) -> str:
    """Short hash of a network's weights, names and shapes."""
    digest = hashlib.sha256()
    for name, tensor in sorted(network.state_dict().items()):
        digest.update(f"{name}{tuple(tensor.shape)}".encode())
        digest.update(tensor.cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()[:12]


def pad_to_blocks(picture: Tensor, block: int) -> Tensor:
    """Zero-pad the last two axes up to whole blocks: a cut block has no residual outside."""
    height, width = picture.shape[-2:]
    rows, columns = grid_shape(height, width, block)
    return F.pad(picture, (0, columns * block - width, 0, rows * block - height))
