"""Target spaces whose frames are predicted by motion vectors: what they decode in common."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import ClassVar

import torch
import torch.nn.functional as F
from einops import rearrange
from torch import Tensor

from shared.conventions import motion_channels
from shared.schema import CodecOptions
from train.data.clips import normalise_frame
from train.data.motion_compensation import decode_vectors, predict_from_first, predict_next
from train.models.contextual import NEIGHBOURS
from train.models.layers import constant
from train.models.refiner import Refiner
from train.spaces.base import Decoded, Drawing, Known, Space, to_grey_levels


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


class PredictedSpace(Space):
    """A space whose first channels are the vectors, divided by the search range.

    A refining network, if any, stands in the loop where frames are predicted from the one before;
    else it follows the decoder.
    """

    has_prediction = True
    drawn: ClassVar[Mapping[str, Drawing]] = {"motion": "arrows"}
    refiner: Refiner | None

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

    def moved(self, parts: Mapping[str, Tensor], first_frame: Tensor) -> Tensor:
        """Frames decoded from the vectors, without residuals: see `Space.moved`."""
        return decode_vectors(first_frame, parts["motion"], self.store.codec)

    def scaled_vectors(self, motion: Tensor) -> Tensor:
        """Motion divided by the search range, the index as it is, float32, shape of `motion`."""
        return motion.float() / self._largest(motion.device).clamp_min(1)

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
        of_all = (limit, limit, 1)[: motion_channels(self.store.reference)]
        return constant(of_all, device)[:, None, None]

    def _from_first(
        self, motion: Tensor, latents: Tensor, first_frame: Tensor, refiner: Refiner | None
    ) -> Decoded:
        """All frames in parallel: none depends on another decoded one."""
        prediction = predict_from_first(first_frame, motion, self.store.codec)
        first_frames = for_each(first_frame, motion.shape[1])
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

    @abstractmethod
    def _residual(
        self, latents: Tensor, known: DecoderContext, context: Tensor | None = None
    ) -> Tensor:
        """Residuals int16 (N, 3, H, W) from latents (N, K, h, w) and the decoder's context.

        `context`: its pictures, where they were made already.
        """


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


def for_each(first_frame: Tensor, count: int) -> Tensor:
    """First frames (B, 3, H, W) for each of a clip's frames, shape (B * count, 3, H, W)."""
    return first_frame[:, None].expand(-1, count, -1, -1, -1).flatten(0, 1)


def _parts(motion: Tensor, residual: Tensor, prediction: Tensor) -> dict[str, Tensor]:
    return {"motion": motion, "residual": residual, "prediction": prediction}


def add_residual(prediction: Tensor, residual: Tensor) -> Tensor:
    """Decoded frames, uint8, from uint8 predictions and int16 residuals of one shape."""
    return (prediction.to(torch.int16) + residual).clamp(0, 255).to(torch.uint8)
