"""Covariance of the coefficients of a linear model with random effects, by EM.

Observations r = A' a + noise, a ~ N(0, C), noise ~ N(0, s^2 I), each with its own pictures A
(Laird and Ware 1982; the same EM as that of Bayesian linear regression, Bishop 2006, 9.3.4).
"""

from __future__ import annotations

import math
from typing import Annotated, Literal

import torch
from pydantic import Field
from pydantic.dataclasses import dataclass
from torch import Tensor

from shared.errors import UserError
from train.models.autoencoder import Autoencoder
from train.models.block_autoencoder import active, from_blocks, principal, to_blocks
from train.options import STRICT

# MERGED: Fixed linear codes of a block: what any learned one has to beat.
#
# z = A r for a block r of 3 * b * b values, decoded as S z. Nothing of them is trained by gradients.


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


# MERGED: The code that codes nothing: what vectors alone restore.


@dataclass(frozen=True, config=STRICT)
class ZeroOptions:
    """Options of `ZeroAutoencoder`."""

    kind: Literal["zero"] = "zero"
    latent_channels: Annotated[int, Field(ge=1)] = 16
    """Zeros in a latent: of other codes' size, so that they differ in nothing else."""


class ZeroAutoencoder(LinearAutoencoder):
    """Every residual becomes zero."""

    def __init__(self, options: ZeroOptions, block: int) -> None:
        super().__init__(options.latent_channels, block)


# MERGED: The discrete cosine transform of residual blocks, made as fair as a fixed transform can be.
#
# Y, Cb and Cr (BT.601) of a block go through the orthonormal two-dimensional DCT-II of the block's
# own size, as in scipy.fft.dctn(norm="ortho"). Of the 3 * b * b coefficients those K are kept, for
# all blocks alike, that carry most energy of red, green and blue in the training blocks: no zig-zag
# chosen by hand, no chroma subsampled away, no quantisation.


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


# MERGED: The Karhunen-Loeve transform of residual blocks: the best linear code there is.
#
# No other linear code of K numbers a block has a lower squared error on the blocks it was taken from
# (Eckart and Young 1936).


@dataclass(frozen=True, config=STRICT)
class KltOptions:
    """Options of `KltAutoencoder`."""

    kind: Literal["klt"] = "klt"
    latent_channels: Annotated[int, Field(ge=1)] = 16


class KltAutoencoder(LinearAutoencoder):
    """Coordinates along the K leading eigenvectors of the training blocks' second moments."""

    def __init__(self, options: KltOptions, block: int) -> None:
        super().__init__(options.latent_channels, block)

    @torch.no_grad()
    def start_from(self, picture: Tensor, context: Tensor | None = None) -> None:
        """See `Autoencoder.start_from`; blocks without residual say nothing."""
        basis, _ = principal(active(to_blocks(picture, self.block)), self.latent_channels)
        self.analysis.copy_(basis)
        self.synthesis.copy_(basis.T)


_AT_ONCE = 1024


def fit_covariance(
    gram: Tensor, projection: Tensor, *, noise_variance: float, rounds: int
) -> Tensor:
    """Maximise the likelihood of C, from C = 0.01 I.

    Args:
        gram: A A' of each observation, shape (N, M, M).
        projection: A r of each, shape (N, M).
        noise_variance: s^2.
        rounds: of EM; each raises the likelihood.

    Returns:
        C, shape (M, M), symmetric and positive definite.
    """
    size = gram.shape[-1]
    identity = torch.eye(size, dtype=gram.dtype, device=gram.device)
    covariance = 1e-2 * identity
    for _ in range(rounds):
        precision = torch.linalg.inv(covariance + 1e-9 * identity)
        moments = torch.zeros_like(covariance)
        for grams, projections in zip(
            gram.split(_AT_ONCE), projection.split(_AT_ONCE), strict=True
        ):
            posterior = torch.linalg.inv(grams / noise_variance + precision)
            mean = (posterior @ projections[..., None])[..., 0] / noise_variance
            moments += posterior.sum(0) + mean.T @ mean
        covariance = (moments + moments.T) / (2 * len(gram))
    return covariance
