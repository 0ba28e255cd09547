"""ED-VDM's target space: motion vectors and residual latents on the block grid (equation 8).

x_0 has 2 + K channels: vectors divided by the search range, then K latents of the residual
autoencoder; each channel is standardised by mean and deviation of the training split. Where blocks
choose their reference it has 3 + K: the reference index, 0 or 1, follows the vectors and is decoded
as 1 above one half.

The latents are those of the stored residuals (open loop, the paper's), or of residuals against the
decoded frame before (closed loop, as in codecs): the next frame's residual makes up for the losses
of the one before. Additions of ours, all off in the paper's recipes: the autoencoder may condition
on pictures that the decoder has already (`train.models.contextual`), and a refining network may
follow the decoder.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice
from typing import Literal, NamedTuple

import torch
from einops import rearrange
from pydantic.dataclasses import dataclass as options_dataclass
from torch import Tensor

from shared.conventions import motion_channels
from shared.schema import CodecOptions
from train.data.clips import ClipBatch, normalise_frame, stored_frames
from train.models.autoencoder import Autoencoder
from train.models.layers import pad_to_blocks
from train.options import STRICT
from train.spaces.base import CompressedSpace, Known, Statistics
from train.spaces.predicted import DecoderContext, PredictedSpace, add_residual, for_each

_LEARNED_RESIDUALS = 4
"""Middle residuals of a clip that the autoencoder learns from (the paper, "Implementation
Details")."""


@options_dataclass(frozen=True, config=STRICT)
class CodecSpaceOptions:
    """Options of `CodecSpace`."""

    kind: Literal["codec"] = "codec"
    closed_loop: bool = False
    """Residuals against the decoded frame before; the same as open loop where every frame is
    predicted from the first."""


class CodecSpace(PredictedSpace, CompressedSpace):
    """Vectors and residual latents."""

    options_type = CodecSpaceOptions
    coded = ("pictures", "residuals")
    generates = "motion vectors and residual latents"
    restored_from = "motion and residual latents"

    def __init__(
        self,
        store: CodecOptions,
        options: CodecSpaceOptions,
        autoencoder: Autoencoder,
        statistics: Statistics | None = None,
    ) -> None:
        channels = motion_channels(store.reference) + autoencoder.latent_channels
        shape = (channels, store.frames - 1, *store.grid)
        super().__init__(store, shape, store.block, autoencoder, statistics)
        self.closed_loop = options.closed_loop and store.reference != "first"

    @classmethod
    def latent_cell(cls, options: CodecSpaceOptions, store: CodecOptions) -> int:
        """The block size."""
        return store.block

    @property
    def identity(self) -> str:
        """Hash of the autoencoder's weights, and the loop."""
        return super().identity + ("-closed" if self.closed_loop else "")

    @property
    def reads(self) -> tuple[str, ...]:
        """First frame, vectors and latents."""
        return ("first_frame", "motion", "latent")

    @torch.no_grad()
    def pictures(
        self, batch: ClipBatch, *, closed_loop: bool = False
    ) -> tuple[Tensor, Tensor | None]:
        """Middle four residuals / 255 of each clip, and the context of each."""
        middle = self._middle
        if not (closed_loop and self.closed_loop):
            residual = self._padded(batch.residual[:, middle].flatten(0, 1))
            if not self.autoencoder.context:
                return residual, None
            return residual, self._context_pictures(self._open_loop_context(batch, middle))
        steps = list(islice(self._loop(batch), middle.stop))[middle]
        residual = torch.stack([step.residual for step in steps], dim=1).flatten(0, 1)
        contexts = [step.context for step in steps if step.context is not None]
        return residual, torch.stack(contexts, dim=1).flatten(0, 1) if contexts else None

    def compress(self, batch: ClipBatch) -> Tensor:
        """Latents of residuals, shape (B, T-1, K, h, w)."""
        if self.closed_loop:
            return torch.stack([step.latents for step in self._loop(batch)], dim=1)
        residual = self._padded(batch.residual.flatten(0, 1))
        whole = slice(0, batch.residual.shape[1])
        context = None
        if self.autoencoder.context:
            context = self._context_pictures(self._open_loop_context(batch, whole))
        flat = self.autoencoder.encode(residual, context)  # (B (T-1), K, h, w)
        return flat.unflatten(0, batch.residual.shape[:2])

    def _loop(self, batch: ClipBatch) -> Iterator[_Step]:
        """Encode frame by frame, each against what the decoder has made of the one before."""
        truth = stored_frames(batch, self.store)
        decoded = truth[:, 0]
        for n in range(batch.motion.shape[1]):
            known = self._next(decoded, truth[:, 0], batch.motion[:, n])
            context = self._context_pictures(known)
            residual = self._padded(truth[:, n + 1].to(torch.int16) - known.prediction)
            latents = self.autoencoder.encode(residual, context)
            yield _Step(residual, context, latents)
            decoded = add_residual(known.prediction, self._residual(latents, known, context))

    @property
    def _middle(self) -> slice:
        first = max(0, (self.store.frames - 1 - _LEARNED_RESIDUALS) // 2)
        return slice(first, min(first + _LEARNED_RESIDUALS, self.store.frames - 1))

    def _open_loop_context(self, batch: ClipBatch, which: slice) -> DecoderContext:
        """Context of some frames from stored frames, clip by clip."""
        frames = stored_frames(batch, self.store)
        prediction = (frames[:, 1:] - batch.residual)[:, which].to(torch.uint8)
        return DecoderContext(
            prediction.flatten(0, 1),
            frames[:, :-1][:, which].flatten(0, 1),
            for_each(batch.first_frame, prediction.shape[1]),
            batch.motion[:, which].flatten(0, 1),
        )

    def unscaled(self, known: Known) -> Tensor:
        """Vectors and latents, shape (B, 2 + K or 3 + K, T-1, h, w)."""
        motion = self.scaled_vectors(known["motion"])
        joined = torch.cat([motion, known["latent"].float()], dim=2)  # (B, T-1, C, h, w)
        return rearrange(joined, "b t c h w -> b c t h w")

    def _residual(
        self, latents: Tensor, known: DecoderContext, context: Tensor | None = None
    ) -> Tensor:
        """Residuals int16 (N, 3, H, W) from latents (N, K, h, w) and the decoder's context.

        `context`: its pictures, where they were made already.
        """
        if context is None:
            context = self._context_pictures(known)
        grey = self.autoencoder.decode(latents, context).float() * 255
        height, width = known.prediction.shape[-2:]
        return grey[..., :height, :width].round().clamp(-255, 255).to(torch.int16)

    def _padded(self, residual: Tensor) -> Tensor:
        return pad_to_blocks(residual.float() / 255, self.store.block)

    def _context_pictures(self, known: DecoderContext) -> Tensor | None:
        """Pictures that the autoencoder conditions on, if any: in [-1, 1], whole blocks."""
        if not self.autoencoder.context:
            return None
        pictures = known.pictures(self.autoencoder.context, self.store)
        return pad_to_blocks(normalise_frame(pictures), self.store.block)


class _Step(NamedTuple):
    """One frame of B clips in a closed loop: residual / 255, its context and latents."""

    residual: Tensor
    context: Tensor | None
    latents: Tensor
