"""ED-VDM's target space: motion vectors and residual latents on the block grid (equation 8).

x_0 has 2 + K channels: vectors as a share of the search range, then K latents of the
residual autoencoder; each channel standardised by the mean and deviation of the training split.
Where blocks choose their reference it has 3 + K: the reference index, 0 or 1, stands behind the
vectors, and is decoded by whether it is above one half.

The latents are those of the stored residuals (open loop, the paper's), or of residuals against the
decoded frame before, as codecs have them (closed loop): what one frame's residual loses, the next
frame's makes good. Additions of ours, all off in the paper's recipes: the
autoencoder may see what the decoder knows already (`train.spaces.codec`), or its decoder the
prediction alone, and a refining network may stand in the loop behind it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from copy import copy
from dataclasses import dataclass
from itertools import islice
from typing import Literal, NamedTuple

import torch
import torch.nn.functional as F
from einops import rearrange
from pydantic.dataclasses import dataclass as options_dataclass
from torch import Tensor

from shared.conventions import Reference, motion_channels
from shared.schema import CodecOptions
from train.data.clips import ClipBatch, normalise_frame, stored_frames
from train.data.motion_compensation import predict_from_first, predict_next
from train.models.autoencoder import Autoencoder, pad_to_blocks, weights_hash
from train.models.refiner import Refiner
from train.options import STRICT
from train.spaces.base import CompressedSpace, Decoded, Statistics, to_grey_levels

# MERGED: What a decoder knows of a frame before it reads the frame's latents: pictures, by name.


NEIGHBOURS = {"above": (-1, 0), "below": (1, 0), "left": (0, -1), "right": (0, 1)}
"""Predictions by the vectors of each block's neighbour: rows and columns from block to neighbour.

Where a block straddles the edge of what moves, a neighbour's vector may be right for a part of it,
which is what overlapped block motion compensation (Orchard and Sullivan 1994) rests on.
"""


@dataclass(frozen=True)
class DecoderContext:
    """What the pictures are made of, for N frames.

    Attributes:
        prediction: uint8, shape (N, 3, H, W).
        before: the decoded frame before each, likewise.
        first_frame: of each one's clip, likewise.
        motion: int8, shape (N, 2 or 3, h, w).
    """

    prediction: Tensor
    before: Tensor
    first_frame: Tensor
    motion: Tensor


def known_pictures(reference: Reference) -> tuple[str, ...]:
    """Names of all pictures that differ; the prediction is the first.

    Where every frame is predicted from the first one, all are decoded at once, and there is no
    frame before.
    """
    before = () if reference == "first" else ("before",)
    return ("prediction", "first", *before, *NEIGHBOURS)


def context_pictures(names: Sequence[str], seen: DecoderContext, store: CodecOptions) -> Tensor:
    """Pictures side by side along the channels, uint8, shape (N, 3 * len(names), H, W)."""
    return torch.cat([_picture(name)(seen, store) for name in names], dim=1)


def _picture(name: str) -> Callable[[DecoderContext, CodecOptions], Tensor]:
    if name in NEIGHBOURS:
        return lambda seen, store: _by_neighbour(seen, store, *NEIGHBOURS[name])
    plain = {"prediction": "prediction", "first": "first_frame", "before": "before"}
    return lambda seen, _: getattr(seen, plain[name])


def _by_neighbour(seen: DecoderContext, store: CodecOptions, down: int, across: int) -> Tensor:
    rows, columns = seen.motion.shape[-2:]
    # Padding of integers by replication is not implemented; vectors are exact in float32.
    wider = F.pad(seen.motion.float(), (1, 1, 1, 1), mode="replicate").to(seen.motion.dtype)
    shifted = wider[..., 1 + down : 1 + down + rows, 1 + across : 1 + across + columns]
    return predict_next(
        seen.before,
        seen.first_frame,
        shifted,
        block=store.block,
        reference=store.reference,
        vector_unit=store.vector_unit,
    )


_MIDDLE = 4
"""Residuals of a clip that the autoencoder learns from (the paper, "Implementation Details")."""


@options_dataclass(frozen=True, config=STRICT)
class CodecSpaceOptions:
    """Options of `CodecSpace`."""

    kind: Literal["codec"] = "codec"
    closed_loop: bool = False
    """Residuals against the decoded frame before; the same as open loop where every frame is
    predicted from the first."""
    conditioned_decoder: bool = False
    """The autoencoder's decoder sees the prediction; an addition of ours."""


class CodecSpace(CompressedSpace):
    """See the module's text.

    Attributes:
        refiner: a network behind the decoder, where one was trained; in the loop where frames are
            predicted from the one before.
    """

    kind = "codec"

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
        self.refiner: Refiner | None = None
        self.closed_loop = options.closed_loop and store.reference != "first"

    def with_refiner(self, refiner: Refiner | None) -> CodecSpace:
        """The same space with a refining network behind its decoder."""
        changed = copy(self)
        changed.refiner = refiner
        return changed

    @property
    def identity(self) -> str:
        """See `CompressedSpace.identity`."""
        return weights_hash(self.autoencoder) + ("-closed" if self.closed_loop else "")

    def examples(self, batch: ClipBatch) -> tuple[Tensor, Tensor | None]:
        """Middle four residuals / 255 of each clip, as stored, and the context of each."""
        middle = self._middle
        residual = batch.residual[:, middle].flatten(0, 1)
        if not self.autoencoder.context:
            return self._padded(residual), None
        return self._padded(residual), self._seen(self._of_stored(batch, middle))

    @torch.no_grad()
    def met(self, batch: ClipBatch) -> tuple[Tensor, Tensor | None]:
        """See `CompressedSpace.met`: in a closed loop, against decoded frames."""
        if not self.closed_loop:
            return self.examples(batch)
        steps = list(islice(self._loop(batch), self._middle.stop))[self._middle]
        # One clip's frames side by side, as `examples` has them.
        residual = torch.stack([step.residual for step in steps], dim=1).flatten(0, 1)
        contexts = [step.context for step in steps if step.context is not None]
        return residual, torch.stack(contexts, dim=1).flatten(0, 1) if contexts else None

    def compress(self, batch: ClipBatch) -> Tensor:
        """See `CompressedSpace.compress`."""
        if self.closed_loop:
            return torch.stack([step.latents for step in self._loop(batch)], dim=1)
        residual = self._padded(batch.residual.flatten(0, 1))
        whole = slice(0, batch.residual.shape[1])
        seen = self._of_stored(batch, whole) if self.autoencoder.context else None
        flat = self.autoencoder.encode(residual, None if seen is None else self._seen(seen))
        return flat.unflatten(0, batch.residual.shape[:2])

    def _loop(self, batch: ClipBatch) -> Iterator[_Step]:
        """Encode frame by frame, each against what the decoder has made of the one before."""
        truth = stored_frames(batch, self.store)
        decoded = truth[:, 0]
        for n in range(batch.motion.shape[1]):
            seen = self._next(decoded, truth[:, 0], batch.motion[:, n])
            context = self._seen(seen)
            residual = self._padded(truth[:, n + 1].to(torch.int16) - seen.prediction)
            latents = self.autoencoder.encode(residual, context)
            yield _Step(residual, context, latents)
            decoded = add_residual(seen.prediction, self._residual(latents, seen, context))

    @property
    def _middle(self) -> slice:
        first = max(0, (self.store.frames - 1 - _MIDDLE) // 2)
        return slice(first, min(first + _MIDDLE, self.store.frames - 1))

    def _of_stored(self, batch: ClipBatch, which: slice) -> DecoderContext:
        """What is known of some of the stored frames before each, clip by clip."""
        frames = stored_frames(batch, self.store)
        prediction = (frames[:, 1:] - batch.residual)[:, which].to(torch.uint8)
        return DecoderContext(
            prediction.flatten(0, 1),
            frames[:, :-1][:, which].flatten(0, 1),
            _for_each(batch.first_frame, prediction.shape[1]),
            batch.motion[:, which].flatten(0, 1),
        )

    def assemble(self, motion: Tensor, latents: Tensor) -> Tensor:
        """See `CompressedSpace.assemble`."""
        scaled = motion.float() / self._largest(motion.device).clamp_min(1)
        return rearrange(torch.cat([scaled, latents.float()], dim=2), "b t c h w -> b c t h w")

    def restore(self, raw: Tensor, first_frame: Tensor) -> Decoded:
        """See `Space.decode`.

        Parts: `motion` int8, (B, T-1, 2 or 3, h, w); `residual` int16 and `prediction` uint8,
        (B, T-1, 3, H, W); with a refining network also `unrefined`, the frames without it.
        """
        motion, latents = self.vectors_and_latents(raw)
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
        """Of each channel of the motion, shape (2 or 3, 1, 1): the index is at most 1."""
        limit = self.store.vector_limit
        of_all = [limit, limit, 1][: motion_channels(self.store.reference)]
        return torch.tensor(of_all, device=device)[:, None, None]

    def _from_first(
        self, motion: Tensor, latents: Tensor, first_frame: Tensor, refiner: Refiner | None
    ) -> Decoded:
        """All frames at once: none depends on another decoded one."""
        how = {"block": self.store.block, "vector_unit": self.store.vector_unit}
        prediction = predict_from_first(first_frame, motion, **how)
        first_frames = _for_each(first_frame, motion.shape[1])
        seen = DecoderContext(
            prediction.flatten(0, 1), first_frames, first_frames, motion.flatten(0, 1)
        )
        flat = self._residual(latents.flatten(0, 1), seen)
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
            seen = self._next(frames[-1], first_frame, motion[:, n])
            prediction, residual = seen.prediction, self._residual(latents[:, n], seen)
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
        store = self.store
        prediction = predict_next(
            before,
            first_frame,
            motion,
            block=store.block,
            reference=store.reference,
            vector_unit=store.vector_unit,
        )
        return DecoderContext(prediction, before, first_frame, motion)

    def _residual(
        self, latents: Tensor, seen: DecoderContext, context: Tensor | None = None
    ) -> Tensor:
        """Residuals int16 (N, 3, H, W) from latents (N, K, h, w) and what is known beside.

        `context`: that of `seen` where it was made already.
        """
        if context is None:
            context = self._seen(seen)
        grey = self.autoencoder.decode(latents, context).float() * 255
        height, width = seen.prediction.shape[-2:]
        return grey[..., :height, :width].round().clamp(-255, 255).to(torch.int16)

    def _padded(self, residual: Tensor) -> Tensor:
        return pad_to_blocks(residual.float() / 255, self.store.block)

    def _seen(self, seen: DecoderContext) -> Tensor | None:
        """The autoencoder's context, if it has any: in [-1, 1], whole blocks."""
        if not self.autoencoder.context:
            return None
        pictures = context_pictures(self.autoencoder.context, seen, self.store)
        return pad_to_blocks(normalise_frame(pictures), self.store.block)


class _Step(NamedTuple):
    """One frame of B clips in a closed loop: residual / 255, its context and latents."""

    residual: Tensor
    context: Tensor | None
    latents: Tensor


def refined(
    refiner: Refiner, frames: Tensor, prediction: Tensor, before: Tensor, first_frame: Tensor
) -> Tensor:
    """Frames behind the refining network, all of them uint8.

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
