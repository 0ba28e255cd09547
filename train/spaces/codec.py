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

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from typing import ClassVar, Literal, NamedTuple

import torch
import torch.nn.functional as F
from einops import rearrange
from pydantic.dataclasses import dataclass as options_dataclass
from torch import Tensor

from shared.conventions import motion_channels
from shared.schema import CodecOptions
from train.data.clips import ClipBatch, normalise_frame, stored_frames
from train.data.motion_compensation import predict_from_first, predict_next
from train.models.autoencoder import Autoencoder
from train.models.contextual import NEIGHBOURS
from train.models.layers import pad_to_blocks
from train.models.refiner import Refiner
from train.options import STRICT
from train.spaces.base import CompressedSpace, Decoded, Drawing, Known, Statistics, to_grey_levels

_LEARNED_RESIDUALS = 4
"""Middle residuals of a clip that the autoencoder learns from (the paper, "Implementation
Details")."""


@dataclass(frozen=True)
class DecoderContext:
    """Pictures a decoder has of N frames before it reads their latents, and the vectors.

    Attributes:
        prediction: uint8, shape (N, 3, H, W).
        before: the decoded frame before each, likewise.
        first_frame: frame 0 of each one's clip, likewise.
        motion: int8, shape (N, 2 or 3, h, w).
    """

    prediction: Tensor
    before: Tensor
    first_frame: Tensor
    motion: Tensor

    def pictures(self, names: Sequence[str], store: CodecOptions) -> Tensor:
        """Pictures by the names of `context_names`, uint8, shape (N, 3 * len(names), H, W)."""
        own = {"prediction": self.prediction, "first": self.first_frame, "before": self.before}
        found = [
            own[name] if name in own else self._by_neighbour(store, *NEIGHBOURS[name])
            for name in names
        ]
        return torch.cat(found, dim=1)

    def _by_neighbour(self, store: CodecOptions, down: int, across: int) -> Tensor:
        """Predictions by the vector of each block's neighbour, one vector a block."""
        rows, columns = self.motion.shape[-2:]
        # Padding of integers by replication is not implemented; vectors are exact in float32.
        wider = F.pad(self.motion.float(), (1, 1, 1, 1), mode="replicate").to(self.motion.dtype)
        shifted = wider[..., 1 + down : 1 + down + rows, 1 + across : 1 + across + columns]
        alone = replace(store.codec, compensation="block")
        return predict_next(self.before, self.first_frame, shifted, alone)


@options_dataclass(frozen=True, config=STRICT)
class CodecSpaceOptions:
    """Options of `CodecSpace`."""

    kind: Literal["codec"] = "codec"
    closed_loop: bool = False
    """Residuals against the decoded frame before; the same as open loop where every frame is
    predicted from the first."""


class CodecSpace(CompressedSpace):
    """Vectors and residual latents.

    A refining network, if any, stands in the loop where frames are predicted from the one before;
    else it follows the decoder.
    """

    options_type = CodecSpaceOptions
    coded = ("pictures", "residuals")
    has_prediction = True
    generates = "motion vectors and residual latents"
    restored_from = "motion and residual latents"
    drawn: ClassVar[Mapping[str, Drawing]] = {"motion": "arrows"}
    refiner: Refiner | None

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
            _for_each(batch.first_frame, prediction.shape[1]),
            batch.motion[:, which].flatten(0, 1),
        )

    def unscaled(self, known: Known) -> Tensor:
        """Vectors and latents, shape (B, 2 + K or 3 + K, T-1, h, w)."""
        motion = known["motion"]
        scaled = motion.float() / self._largest(motion.device).clamp_min(1)
        joined = torch.cat([scaled, known["latent"].float()], dim=2)  # (B, T-1, C, h, w)
        return rearrange(joined, "b t c h w -> b c t h w")

    def restore(self, raw: Tensor, known: Known) -> Decoded:
        """Frames from vectors and latents.

        Parts: `motion` int8, (B, T-1, 2 or 3, h, w); `residual` int16 and `prediction` uint8,
        (B, T-1, 3, H, W); with a refining network also `unrefined`, the frames without it.
        """
        motion, latents = self.vectors_and_latents(raw)
        first_frame = known["first_frame"]
        parallel = self.store.reference == "first"
        decode = self._from_first if parallel else self._one_by_one
        plain = decode(motion, latents, first_frame, None)
        if self.refiner is None:
            return plain
        refined = decode(motion, latents, first_frame, self.refiner)
        return Decoded(refined.frames, {**refined.parts, "unrefined": plain.frames})

    def vectors_and_latents(self, raw: Tensor) -> tuple[Tensor, Tensor]:
        """Motion int8 as the store has it, (B, T-1, 2 or 3, h, w); latents (B, T-1, K, h, w)."""
        raw = rearrange(raw, "b c t h w -> b t c h w")
        largest = self._largest(raw.device)
        smallest = -largest
        smallest[2:] = 0
        motion, latents = raw.tensor_split([len(largest)], dim=2)
        motion = (motion * largest.clamp_min(1)).round().clamp(smallest, largest)
        return motion.to(torch.int8), latents

    def _largest(self, device: torch.device) -> Tensor:
        """Largest value of each motion channel, shape (2 or 3, 1, 1); 1 for the index."""
        limit = self.store.vector_limit
        of_all = [limit, limit, 1][: motion_channels(self.store.reference)]
        return torch.tensor(of_all, device=device)[:, None, None]

    def _from_first(
        self, motion: Tensor, latents: Tensor, first_frame: Tensor, refiner: Refiner | None
    ) -> Decoded:
        """All frames in parallel: none depends on another decoded one."""
        prediction = predict_from_first(first_frame, motion, self.store.codec)
        first_frames = _for_each(first_frame, motion.shape[1])
        known = DecoderContext(
            prediction.flatten(0, 1), first_frames, first_frames, motion.flatten(0, 1)
        )
        flat = self._residual(latents.flatten(0, 1), known)  # (B (T-1), 3, H, W)
        residual = flat.unflatten(0, motion.shape[:2])
        rest = add_residual(prediction, residual)
        if refiner is not None:
            rest = refined(refiner, rest, prediction, first_frame, first_frame)
        frames = torch.cat([first_frame[:, None], rest], dim=1)
        return Decoded(frames, _parts(motion, residual, prediction))

    def _one_by_one(
        self, motion: Tensor, latents: Tensor, first_frame: Tensor, refiner: Refiner | None
    ) -> Decoded:
        frames, residuals, predictions = [first_frame], [], []
        for n in range(motion.shape[1]):
            known = self._next(frames[-1], first_frame, motion[:, n])
            prediction, residual = known.prediction, self._residual(latents[:, n], known)
            frame = add_residual(prediction, residual)
            if refiner is not None:
                alone = (frame[:, None], prediction[:, None])
                frame = refined(refiner, *alone, frames[-1], first_frame)[:, 0]
            frames.append(frame)
            residuals.append(residual)
            predictions.append(prediction)
        stacked = [torch.stack(films, dim=1) for films in (frames, residuals, predictions)]
        return Decoded(stacked[0], _parts(motion, *stacked[1:]))

    def _next(self, before: Tensor, first_frame: Tensor, motion: Tensor) -> DecoderContext:
        prediction = predict_next(before, first_frame, motion, self.store.codec)
        return DecoderContext(prediction, before, first_frame, motion)

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


def refined(
    refiner: Refiner, frames: Tensor, prediction: Tensor, before: Tensor, first_frame: Tensor
) -> Tensor:
    """Refined frames, uint8, from uint8 pictures.

    Args:
        refiner: see `train.models.refiner`.
        frames: decoded, shape (B, L, 3, H, W).
        prediction: likewise.
        before: the frame before the first of them, shape (B, 3, H, W).
        first_frame: of the clip, likewise.

    Returns:
        Shape of `frames`.
    """
    scaled = (normalise_frame(pixels) for pixels in (frames, prediction, before, first_frame))
    return to_grey_levels(refiner(*scaled)[-1].float())


def _for_each(first_frame: Tensor, count: int) -> Tensor:
    """First frames (B, 3, H, W) for each of a clip's frames, shape (B * count, 3, H, W)."""
    return first_frame[:, None].expand(-1, count, -1, -1, -1).flatten(0, 1)


def _parts(motion: Tensor, residual: Tensor, prediction: Tensor) -> dict[str, Tensor]:
    return {"motion": motion, "residual": residual, "prediction": prediction}


def add_residual(prediction: Tensor, residual: Tensor) -> Tensor:
    """Decoded frames, uint8, from uint8 predictions and int16 residuals of one shape."""
    return (prediction.to(torch.int16) + residual).clamp(0, 255).to(torch.uint8)
