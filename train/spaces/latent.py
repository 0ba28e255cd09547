"""LDM's target space: frames 1...T-1 through an image autoencoder (Rombach et al. 2022)."""

from __future__ import annotations

from typing import Annotated, Literal

import torch
from pydantic import Field
from pydantic.dataclasses import dataclass
from torch import Tensor

from shared.conventions import grid_shape
from shared.schema import CodecOptions
from train.data.clips import ClipBatch, normalise_frame, stored_frames
from train.models.autoencoder import Autoencoder, pad_to_blocks, weights_hash
from train.options import STRICT
from train.spaces.base import CompressedSpace, Decoded, Statistics, to_grey_levels

_EXAMPLES = 4


@dataclass(frozen=True, config=STRICT)
class LatentSpaceOptions:
    """Options of `LatentSpace`."""

    kind: Literal["latent"] = "latent"
    factor: Annotated[int, Field(ge=2, le=64)] = 8
    """Pixels that a latent covers in each direction, a power of two."""

    def __post_init__(self) -> None:
        if self.factor & (self.factor - 1):
            raise ValueError(f"factor {self.factor}: must be a power of two")


class LatentSpace(CompressedSpace):
    """x_0 has the autoencoder's K latent channels; frames are in [-1, 1] before it."""

    kind = "latent"

    def __init__(
        self,
        store: CodecOptions,
        options: LatentSpaceOptions,
        autoencoder: Autoencoder,
        statistics: Statistics | None = None,
    ) -> None:
        grid = grid_shape(store.size, store.size, options.factor)
        shape = (autoencoder.latent_channels, store.frames - 1, *grid)
        super().__init__(store, shape, options.factor, autoencoder, statistics)

    @property
    def identity(self) -> str:
        """See `CompressedSpace.identity`."""
        return weights_hash(self.autoencoder)

    def examples(self, batch: ClipBatch) -> tuple[Tensor, None]:
        """Four frames of each clip, spread evenly."""
        frames = stored_frames(batch, self.store)
        steps = torch.linspace(0, frames.shape[1] - 1, min(_EXAMPLES, frames.shape[1])).long()
        return self._pictures(frames[:, steps.to(frames.device)]), None

    def compress(self, batch: ClipBatch) -> Tensor:
        """See `CompressedSpace.compress`."""
        frames = stored_frames(batch, self.store)[:, 1:]
        return self.autoencoder.encode(self._pictures(frames)).unflatten(0, frames.shape[:2])

    def assemble(self, motion: Tensor, latents: Tensor) -> Tensor:
        """See `CompressedSpace.assemble`; vectors are of no use here."""
        return latents.float().transpose(1, 2)

    def restore(self, raw: Tensor, first_frame: Tensor) -> Decoded:
        """See `Space.decode`; no parts."""
        latents = raw.transpose(1, 2)
        pictures = self.autoencoder.decode(latents.flatten(0, 1)).float()
        height, width = first_frame.shape[-2:]
        frames = to_grey_levels(pictures[..., :height, :width]).unflatten(0, latents.shape[:2])
        return Decoded(torch.cat([first_frame[:, None], frames], dim=1), {})

    def _pictures(self, frames: Tensor) -> Tensor:
        return pad_to_blocks(normalise_frame(frames.flatten(0, 1)), self.cell)
