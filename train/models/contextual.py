"""A Karhunen-Loeve transform that depends on pictures the decoder has already. Ours.

Residuals lie at the prediction's edges (a small displacement changes a picture by its gradient),
where the first frame or a neighbour's vector shows something else, or anywhere. The residual of a
block is therefore modelled as r = A' a: the rows of A are fixed pictures and, times smooth waves,
pictures of the context; a ~ N(0, C), with one C for all blocks, fitted by EM. Given the context,
the residual's covariance is A' C A, and its K leading eigenvectors are the best linear code of such
a block. Encoder and decoder both compute them; no side information is sent.

Learned codecs condition both halves on the prediction likewise (Li et al. 2021, Deep Contextual
Video Compression), by networks trained for days; here a few hundred frames and seconds suffice.
"""

from __future__ import annotations

from typing import Annotated, Literal

import torch
import torch.nn.functional as F
from einops import rearrange
from pydantic import Field
from pydantic.dataclasses import dataclass
from torch import Tensor

from shared.conventions import Reference
from shared.errors import UserError
from shared.schema import CodecOptions
from train.models.autoencoder import Autoencoder
from train.models.block_autoencoder import active, from_blocks, principal, to_blocks
from train.models.layers import full_precision
from train.models.linear_codes import dct_matrix
from train.options import STRICT

_FRAMES_PER_BATCH = 16
"""Frames whose bases are held together, and kept from encoding to decoding: 3 MB each at 128x128.
The pictures they are computed from take five times that. On CPUs they are computed singly, which is
twice as fast: the allocator returns memory of that size and requests it anew at each use."""

_FAINT = 1 / 255
"""Mean absolute residual below which a block is left out of the fit of C: one grey level."""

_SEED = 0


@dataclass(frozen=True, config=STRICT)
class ContextualOptions:
    """Options of `ContextualAutoencoder`."""

    kind: Literal["contextual"] = "contextual"
    latent_channels: Annotated[int, Field(ge=1)] = 16
    fixed: Annotated[int, Field(ge=1)] = 32
    """Number of fixed pictures: leading eigenvectors of all residual blocks."""
    wave_order: Annotated[int, Field(ge=1)] = 3
    """Waves are DCT functions whose frequencies add up to less than this."""
    noise: Annotated[float, Field(gt=0)] = 2.0
    """Deviation of the unexplained part of a residual, grey levels."""
    em_rounds: Annotated[int, Field(ge=1)] = 5
    blocks: Annotated[int, Field(ge=1)] = 4000
    """Most training blocks that C is fitted to."""
    clips: Annotated[int, Field(ge=1)] = 48
    """Most training clips that they come from."""


NEIGHBOURS = {"above": (-1, 0), "below": (1, 0), "left": (0, -1), "right": (0, 1)}
"""Predictions by the vectors of each block's neighbour: rows and columns from block to neighbour.

Where a block straddles the edge of a moving object, a neighbour's vector may be right for a part of
it, the premise of overlapped block motion compensation (Orchard and Sullivan 1994).
"""


def context_names(reference: Reference) -> tuple[str, ...]:
    """Names of the pictures a decoder has of a frame before it reads the frame's latents.

    Where every frame is predicted from the first one, all are decoded in parallel, and there is no
    frame before.
    """
    before = () if reference == "first" else ("before",)
    return ("prediction", "first", *before, *NEIGHBOURS)


class ContextualAutoencoder(Autoencoder):
    """Code each block in a basis that depends on its context (see above).

    Args:
        options: sizes of the model.
        block: b, pixels.
        store: whose frames are coded; its reference decides on the pictures of the context.
    """

    options_type = ContextualOptions
    codes = "residuals"
    initial_fits = 2

    fixed: Tensor
    factor: Tensor
    waves: Tensor

    def __init__(self, options: ContextualOptions, block: int, store: CodecOptions) -> None:
        super().__init__()
        self.block, self.latent_channels = block, options.latent_channels
        context = context_names(store.reference)
        self.context, self.options, self.initial_clips = context, options, options.clips
        waves = smooth_waves(block, options.wave_order)
        values = 3 * block * block
        fixed = min(options.fixed, values)
        pictures = fixed + (len(context) + 1) * len(waves)
        if not self.latent_channels <= fixed:
            raise UserError(
                f"latent_channels is {self.latent_channels}; must be at most the number of fixed"
                f" pictures, {fixed}: take fewer, or set autoencoder.fixed"
            )
        self.register_buffer("fixed", torch.zeros(fixed, values))
        self.register_buffer("factor", torch.zeros(pictures, pictures))
        self.register_buffer("waves", waves.float(), persistent=False)
        self._last: tuple[Tensor, Tensor] | None = None

    def encode(self, picture: Tensor, context: Tensor | None = None) -> Tensor:
        """Coordinates of each block in the basis of its context."""
        assert context is not None, "a contextual code needs its context"
        rows = picture.shape[-2] // self.block
        coded = []
        for some, seen in _batches(picture, context):
            blocks = to_blocks(some.float(), self.block)
            latents = (self.basis(seen) @ blocks[..., None])[..., 0]
            coded.append(rearrange(latents, "(n h w) k -> n k h w", n=len(some), h=rows))
        return torch.cat(coded)

    def decode(self, latent: Tensor, context: Tensor | None = None) -> Tensor:
        """Blocks from coordinates in the basis of their context."""
        assert context is not None, "a contextual code needs its context"
        decoded = []
        for some, seen in _batches(latent, context):
            rows = rearrange(some.float(), "n k h w -> (n h w) k 1")
            blocks = (self.basis(seen).mT @ rows)[..., 0]
            decoded.append(from_blocks(blocks, len(some), some.shape[-2], self.block))
        return torch.cat(decoded)

    @torch.no_grad()
    def basis(self, context: Tensor) -> Tensor:
        """Orthonormal rows for each block, shape (N * h * w, K, 3 * b * b).

        Within the space that they span they are turned as near to the fixed code's as can be, so
        that a latent channel means much the same from block to block, and changes smoothly.
        """
        if self._last is not None and self._last[0] is context:
            return self._last[1]
        step = 1 if context.device.type == "cpu" else len(context)
        with full_precision(context.device):
            found = torch.cat([self._basis(some.float()) for some in context.split(step)])
        self._last = (context, found)  # decoding follows encoding
        return found

    def _basis(self, context: Tensor) -> Tensor:
        scaled = self.factor.T @ self._pictures(context)
        energy, turns = torch.linalg.eigh(scaled @ scaled.mT)
        kept = slice(-self.latent_channels, None)
        lengths = energy[:, kept].clamp_min(1e-12).sqrt()[..., None]
        leading = (turns[..., kept].mT @ scaled) / lengths
        u, _, v = torch.linalg.svd(self.fixed[: self.latent_channels] @ leading.mT)
        return (u @ v) @ leading

    def _pictures(self, context: Tensor) -> Tensor:
        """The rows of A for each block, shape (N * h * w, M, 3 * b * b)."""
        prediction, *others = context.split(3, dim=1)
        shown = [*gradients(prediction), *(other - prediction for other in others)]
        blocks = torch.stack([to_blocks(picture, self.block) for picture in shown], dim=1)
        coloured = rearrange(blocks, "n d (c p) -> n d 1 c p", c=3)
        waved = (coloured * self.waves[:, None]).flatten(3).flatten(1, 2)
        return torch.cat([self.fixed.expand(len(waved), -1, -1), waved], dim=1)

    @torch.no_grad()
    def fit_initial(self, picture: Tensor, context: Tensor | None = None) -> None:
        """Fit the fixed pictures and C."""
        assert context is not None, "a contextual code needs its context"
        basis, _ = principal(active(to_blocks(picture, self.block)), len(self.fixed))
        self.fixed.copy_(basis)
        covariance = fit_covariance(
            *self._observations(picture, context),
            noise_variance=(self.options.noise / 255) ** 2,
            rounds=self.options.em_rounds,
        )
        identity = torch.eye(len(covariance), device=covariance.device, dtype=torch.float64)
        self.factor.copy_(torch.linalg.cholesky(covariance.double() + 1e-12 * identity))
        self._last = None

    def _observations(self, picture: Tensor, context: Tensor) -> tuple[Tensor, Tensor]:
        """A A' and A r of blocks drawn at random among those that are not faint."""
        chosen = self._draw(picture)
        grams, projections = [], []
        for some, seen, wanted in zip(
            picture.split(1), context.split(1), chosen.split(1), strict=True
        ):
            mask = wanted.flatten()
            pictures = self._pictures(seen.float())[mask]
            blocks = to_blocks(some.float(), self.block)[mask]
            grams.append(pictures @ pictures.mT)
            projections.append((pictures @ blocks[..., None])[..., 0])
        return torch.cat(grams), torch.cat(projections)

    def _draw(self, picture: Tensor) -> Tensor:
        """Mask of the blocks to learn from: bool, shape (N, h * w)."""
        size = to_blocks(picture, self.block).abs().mean(1)
        candidates = (size > min(_FAINT, float(size.max()) / 2)).nonzero()[:, 0]
        order = torch.randperm(len(candidates), generator=torch.Generator().manual_seed(_SEED))
        chosen = torch.zeros(len(size), dtype=torch.bool, device=picture.device)
        chosen[candidates[order[: self.options.blocks].to(candidates.device)]] = True
        return chosen.view(len(picture), -1)


def _batches(codes: Tensor, context: Tensor) -> list[tuple[Tensor, Tensor]]:
    """Batches of frames; few frames stay one batch, so that the cached basis serves again."""
    if len(codes) <= _FRAMES_PER_BATCH:
        return [(codes, context)]
    return list(zip(codes.split(_FRAMES_PER_BATCH), context.split(_FRAMES_PER_BATCH), strict=True))


def smooth_waves(block: int, order: int) -> Tensor:
    """Two-dimensional DCT functions of low frequency, shape (order * (order + 1) / 2, b * b)."""
    waves = dct_matrix(block)[:order]
    pairs = [(k, i) for k in range(len(waves)) for i in range(len(waves)) if k + i < order]
    return torch.stack([torch.outer(waves[k], waves[i]).flatten() for k, i in pairs])


def gradients(picture: Tensor) -> tuple[Tensor, Tensor]:
    """Central differences across and down, edges replicated; each of the picture's shape."""
    wider = F.pad(picture, (1, 1, 1, 1), mode="replicate")
    across = (wider[..., 1:-1, 2:] - wider[..., 1:-1, :-2]) / 2
    down = (wider[..., 2:, 1:-1] - wider[..., :-2, 1:-1]) / 2
    return across, down


_OBSERVATIONS_PER_BATCH = 1024


def fit_covariance(
    gram: Tensor, projection: Tensor, *, noise_variance: float, rounds: int
) -> Tensor:
    """Maximise the likelihood of C by EM, from C = 0.01 I.

    Observations r = A' a + noise, a ~ N(0, C), noise ~ N(0, s^2 I), each with its own pictures A
    (Laird and Ware 1982; the EM of Bayesian linear regression, Bishop 2006, 9.3.4).

    Args:
        gram: A A' of each observation, shape (N, M, M).
        projection: A r of each, shape (N, M).
        noise_variance: s^2.
        rounds: number of EM steps; each raises the likelihood.

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
            gram.split(_OBSERVATIONS_PER_BATCH),
            projection.split(_OBSERVATIONS_PER_BATCH),
            strict=True,
        ):
            posterior = torch.linalg.inv(grams / noise_variance + precision)
            mean = (posterior @ projections[..., None])[..., 0] / noise_variance
            moments += posterior.sum(0) + mean.T @ mean
        covariance = (moments + moments.T) / (2 * len(gram))
    return covariance
