"""The interface of autoencoders, of residuals or of frames, to the spaces that need one."""

from __future__ import annotations

import hashlib
from abc import ABC, abstractmethod
from typing import ClassVar, Literal

import torch
from torch import Tensor, nn

from shared.conventions import FrameSize, grid_shape
from train.models.layers import parameter_count

Coded = Literal["pictures", "residuals", "motion", "clips"]
"""What an autoencoder codes: frames or residuals alike, residuals given their prediction, motion
between two frames, or whole clips."""


class Autoencoder(nn.Module, ABC):
    """Compresses pictures to one latent vector a cell of b x b pixels.

    Built as `type(options, block, store)`. Pictures are residuals, grey levels / 255, or frames in
    [-1, 1].

    Attributes:
        options_type: dataclass of its options.
        codes: what it codes.
        block: b, pixels = the downsampling factor.
        latent_channels: numbers K in a latent.
        context: names of the pictures it conditions on, see `train.models.contextual`, the
            prediction of the frame first; if empty, `context` is None in the calls below.
        initial_fits: number of calls of `fit_initial`, the first one with open-loop pictures, the
            others with closed-loop pictures, which depend on the autoencoder itself; 0: none.
        initial_clips: most training clips whose pictures `fit_initial` takes.
    """

    options_type: ClassVar[type]
    codes: ClassVar[Coded] = "pictures"
    block: int
    latent_channels: int
    context: tuple[str, ...] = ()
    initial_fits: int = 0
    initial_clips: int = 512

    @property
    def learns(self) -> bool:
        """True if it has weights that gradients train after `fit_initial`."""
        return any(True for _ in self.parameters())

    @property
    def coding_parameters(self) -> int:
        """Numbers that encoding and decoding use, without those of critics."""
        return parameter_count(self)

    @abstractmethod
    def encode(self, picture: Tensor, context: Tensor | None = None) -> Tensor:
        """Latents of pictures, shape (N, K, H/b, W/b).

        Args:
            picture: float, shape (N, 3, H, W), H and W multiples of b.
            context: in [-1, 1], shape (N, 3 * len(self.context), H, W).
        """

    @abstractmethod
    def decode(self, latent: Tensor, context: Tensor | None = None) -> Tensor:
        """Pictures (N, 3, H, W) of latents (N, K, H/b, W/b).

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
        """Training losses by name, `loss` the one to minimise; here the squared error.

        Args:
            picture: as in `encode`.
            context: as in `encode`.
            generators: one a picture, for random draws; None takes torch's own.
        """
        l2 = (self.decode(self.encode(picture, context), context) - picture).square().mean()
        return {"loss": l2, "l2": l2.detach()}

    def example_pass(
        self, size: FrameSize, frames: int
    ) -> tuple[tuple[Tensor, ...], tuple[Tensor, ...], int]:
        """Zeros as arguments of `encode` and of `decode`, and the number of such passes a clip.

        Args:
            size: of the clip.
            frames: T; all but the first go through the autoencoder, one a pass.
        """
        rows, columns = grid_shape(*size, self.block)
        picture = torch.zeros(1, 3, rows * self.block, columns * self.block)
        latent = torch.zeros(1, self.latent_channels, rows, columns)
        names = len(self.context)
        context = (picture.repeat(1, names, 1, 1),) if names else ()  # (1, 3 names, H, W)
        return (picture, *context), (latent, *context), frames - 1

    def fit_initial(self, picture: Tensor, context: Tensor | None = None) -> None:
        """Fit the initial weights to a sample of training pictures (as in `encode`)."""
        raise NotImplementedError(f"{type(self).__name__} starts from random weights")


def weights_hash(network: nn.Module) -> str:
    """Short hash of a network's weights, names and shapes."""
    digest = hashlib.sha256()
    for name, tensor in sorted(network.state_dict().items()):
        digest.update(f"{name}{tuple(tensor.shape)}".encode())
        digest.update(tensor.cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()[:12]
