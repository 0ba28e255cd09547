"""LFDM's target space: latent flow and occlusion from frame 0 (Ni et al., CVPR 2023, section 3.2).

x_0 has 3 channels on a grid of a quarter of the frame's size: the backward flow of frames 1...T-1
into frame 0, pixels, and their occlusion, 1 = visible; each channel is standardised by mean and
deviation of the training split, where the public code takes absolute grids in [-1, 1]. The denoiser
is conditioned on the first frame's features, which the flow then warps. Frame 0 is given, and is
not generated as in the public code.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar, Literal, NamedTuple

import torch
from pydantic.dataclasses import dataclass
from torch import Tensor

from shared.conventions import grid_shape
from shared.errors import UserError
from shared.schema import CodecOptions
from train.data.batches import BatchSlice
from train.data.clips import ClipBatch, chosen_frames, normalise_frame, stored_frames
from train.data.motion_compensation import vectors_at
from train.models.autoencoder import weights_hash
from train.models.flow_autoencoder import FlowAutoencoder
from train.models.flow_predictors import FLOW_CELL
from train.models.layers import constant
from train.models.warp import resize_field, warp
from train.options import STRICT
from train.spaces.base import Decoded, Derived, Drawing, Known, Space, Statistics, to_grey_levels

_JITTER = 0.1


@dataclass(frozen=True, config=STRICT)
class FlowSpaceOptions:
    """Options of `FlowSpace`."""

    kind: Literal["flow"] = "flow"
    pairs: Literal["any", "first"] = "any"
    """Frames that the autoencoder learns from: any two of a clip (the paper), or frame 0 and
    another one, as in generation."""
    augment: bool = True
    """Flip pairs left to right and jitter their colours, as the public code does."""


class Pairs(NamedTuple):
    """Reference and driving frames in [-1, 1], (N, 3, H, W), and the store's vectors, if any."""

    reference: Tensor
    driving: Tensor
    vectors: Tensor | None


class FlowSpace(Space):
    """Flow and occlusion from the first frame, by the autoencoder's flow predictor."""

    options_type = FlowSpaceOptions
    needs_autoencoder = True
    coded = ("motion",)
    generates = "latent flow and occlusion"
    restored_from = "flow and occlusion"
    drawn: ClassVar[Mapping[str, Drawing]] = {"flow": "colours", "occlusion": "greys"}
    autoencoder: FlowAutoencoder

    def __init__(
        self,
        store: CodecOptions,
        options: FlowSpaceOptions,
        autoencoder: FlowAutoencoder,
        statistics: Statistics | None = None,
    ) -> None:
        grid = grid_shape(*store.size, FLOW_CELL)
        super().__init__(store, (3, store.frames - 1, *grid), FLOW_CELL, autoencoder, statistics)
        self.options = options
        if autoencoder.predictor.given and (store.reference, options.pairs) != ("first", "first"):
            raise UserError(
                "autoencoder.predictor=store takes the store's vectors into frame 0; these are"
                f" into {store.reference!r}, for pairs {options.pairs!r}: make a store with"
                " --reference first, and set space.pairs=first"
            )

    @property
    def identity(self) -> str:
        """Hash of the encoder's and the flow predictor's weights: the decoder is not in x_0."""
        return weights_hash(self.autoencoder.encoder) + weights_hash(self.autoencoder.predictor)

    @property
    def reads(self) -> tuple[str, ...]:
        """First frame and flow."""
        return ("first_frame", "flow")

    def derived(self) -> tuple[Derived, ...]:
        """Flow and occlusion, `flow`."""
        shape = (self.store.frames - 1, 3, *self.shape[-2:])
        return (Derived("flow", lambda: self.identity, shape, self._estimate),)

    def conditions(self, known: Known) -> dict[str, Tensor]:
        """Label, first frame, and `features`: the first frame's, (B, C, h, w)."""
        plain = super().conditions(known)
        with torch.no_grad():
            features = self.autoencoder.features(normalise_frame(known["first_frame"]))
        return {**plain, "features": features}

    def unscaled(self, known: Known) -> Tensor:
        """Flow and occlusion, shape (B, 3, T-1, h, w)."""
        return known["flow"].float().transpose(1, 2)

    def restore(self, raw: Tensor, known: Known) -> Decoded:
        """The given frame, then the frame 0 warped.

        Parts: `flow` in pixels, (B, T-1, 2, h, w), and `occlusion`, (B, T-1, 1, h, w).
        """
        latents, first_frame = raw.transpose(1, 2), known["first_frame"]
        made = self.autoencoder.decode(latents.flatten(0, 1), normalise_frame(first_frame))
        frames = to_grey_levels(made.float()).unflatten(0, latents.shape[:2])
        whole = torch.cat([first_frame[:, None], frames], dim=1)
        flow, occlusion = latents.split([2, 1], dim=2)
        return Decoded(whole, {"flow": flow, "occlusion": occlusion.clamp(0, 1)})

    def moved(self, parts: Mapping[str, Tensor], first_frame: Tensor) -> Tensor:
        """The first frame's pixels warped by the flow: see `Space.moved`."""
        flow = parts["flow"]
        height, width = first_frame.shape[-2:]
        still = normalise_frame(first_frame).repeat_interleave(flow.shape[1], dim=0)
        whole = resize_field(flow.flatten(0, 1), FLOW_CELL)[..., :height, :width]
        frames = to_grey_levels(warp(still, whole)).unflatten(0, flow.shape[:2])
        return torch.cat([first_frame[:, None], frames], dim=1)

    def examples(self, batch: ClipBatch, generators: list[torch.Generator]) -> Pairs:
        """A pair of frames of each clip, drawn by its generator."""
        from_first = self.options.pairs == "first"
        drawn = torch.stack([_draw_pair(self.store.frames, g, from_first) for g in generators])
        frames = chosen_frames(batch, self.store, drawn[:, 1:] if from_first else drawn)
        driving = normalise_frame(frames[:, -1])
        reference = normalise_frame(batch.first_frame if from_first else frames[:, 0])
        vectors = None
        if from_first and self.store.reference == "first":
            rows = torch.arange(len(drawn), device=drawn.device)
            vectors = self._vectors(batch)[rows, drawn[:, 1] - 1]
        if self.options.augment:
            reference, driving, vectors = _augment(reference, driving, vectors, generators)
        return Pairs(reference, driving, vectors)

    def loss(
        self, network: FlowAutoencoder, examples: Pairs, part: BatchSlice,
        generators: list[torch.Generator],
    ) -> dict[str, Tensor]:  # fmt: skip
        """See `FlowAutoencoder.pair_loss`."""
        reference, driving, vectors = examples
        return network.pair_loss(reference, driving, generators, vectors=vectors, step=part.step)

    def _estimate(self, batch: ClipBatch) -> Tensor:
        """Flow and occlusion of frames 1...T-1, shape (B, T-1, 3, h, w)."""
        frames = normalise_frame(stored_frames(batch, self.store))
        driving = frames[:, 1:]
        reference = frames[:, :1].expand_as(driving)
        vectors = self._vectors(batch).flatten(0, 1) if self.store.reference == "first" else None
        found = self.autoencoder.encode(driving.flatten(0, 1), reference.flatten(0, 1), vectors)
        return found.unflatten(0, driving.shape[:2])

    def _vectors(self, batch: ClipBatch) -> Tensor:
        """Vectors of the cells of frames 1...T-1, pixels, shape (B, T-1, 2, h, w)."""
        rows, columns = self.shape[-2:]
        return vectors_at(batch.motion, self.store, (rows, columns), FLOW_CELL)


def _draw_pair(frames: int, generator: torch.Generator, from_first: bool) -> Tensor:
    """Indices of a reference and a driving frame, int64, shape (2,)."""
    device = generator.device
    if from_first:
        other = torch.randint(1, frames, (), generator=generator, device=device)
        return torch.stack([torch.zeros_like(other), other])
    # With replacement, as in the public code: now and then a frame is its own reference.
    return torch.randint(frames, (2,), generator=generator, device=device)


def _augment(
    reference: Tensor, driving: Tensor, vectors: Tensor | None, generators: list[torch.Generator]
) -> tuple[Tensor, Tensor, Tensor | None]:
    """Flip some pairs left to right; jitter brightness, contrast and saturation of each."""
    numbers = torch.stack(
        [torch.rand(4, generator=g, device=g.device) for g in generators]
    )  # (N, 4)
    flipped = (numbers[:, 0] < 0.5).view(-1, 1, 1, 1)
    brightness, contrast, saturation = (
        (1 + _JITTER * (2 * numbers[:, k] - 1)).view(-1, 1, 1, 1) for k in (1, 2, 3)
    )
    # One change for both frames: what moves must keep its colour.
    grey = (reference.mean(dim=1, keepdim=True) + 1) / 2
    middle = grey.mean(dim=(2, 3), keepdim=True)

    def changed(frame: Tensor) -> Tensor:
        level = (frame + 1) / 2 * brightness
        level = middle + (level - middle) * contrast
        mean = level.mean(dim=1, keepdim=True)
        level = (mean + (level - mean) * saturation).clamp(0, 1)
        return 2 * torch.where(flipped, level.flip(-1), level) - 1

    if vectors is not None:
        mirrored = vectors.flip(-1) * constant((-1, 1), vectors.device).view(2, 1, 1)
        vectors = torch.where(flipped, mirrored, vectors)
    return changed(reference), changed(driving), vectors
