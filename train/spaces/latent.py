"""LDM's target space: frames 1...T-1 through an image autoencoder (Rombach et al. 2022)."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

import torch
from pydantic import Field
from pydantic.dataclasses import dataclass
from torch import Tensor

from shared.conventions import grid_shape
from shared.schema import CodecOptions
from train.data.clips import ClipBatch, chosen_frames, normalise_frame, stored_frames
from train.models.autoencoder import Autoencoder
from train.models.layers import pad_to_blocks
from train.options import STRICT
from train.spaces.base import CompressedSpace, Decoded, Known, Statistics, to_grey_levels

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

    options_type: ClassVar[type] = LatentSpaceOptions
    generates = "latents of frames"
    restored_from = "latents"

    def __init__(
        self,
        store: CodecOptions,
        options: LatentSpaceOptions,
        autoencoder: Autoencoder,
        statistics: Statistics | None = None,
    ) -> None:
        grid = grid_shape(*store.size, options.factor)
        shape = (autoencoder.latent_channels, store.frames - 1, *grid)
        super().__init__(store, shape, options.factor, autoencoder, statistics)

    @classmethod
    def latent_cell(cls, options: LatentSpaceOptions, store: CodecOptions) -> int:
        """The option `factor`."""
        return options.factor

    @property
    def reads(self) -> tuple[str, ...]:
        """First frame and latents."""
        return ("first_frame", "latent")

    def pictures(self, batch: ClipBatch, *, closed_loop: bool = False) -> tuple[Tensor, None]:
        """Four evenly spaced frames of each clip; there is no loop and no context."""
        first, last = batch.first_frame, self.store.frames - 1
        parts = min(_EXAMPLES - 1, last)
        steps = torch.arange(parts + 1, device=first.device) * last // parts
        shown = chosen_frames(batch, self.store, steps.expand(len(first), -1))
        return self._pictures(shown), None

    def compress(self, batch: ClipBatch) -> Tensor:
        """Latents of frames 1...T-1, shape (B, T-1, K, h, w)."""
        frames = stored_frames(batch, self.store)[:, 1:]
        return self.autoencoder.encode(self._pictures(frames)).unflatten(0, frames.shape[:2])

    def unscaled(self, known: Known) -> Tensor:
        """Latents, shape (B, K, T-1, h, w)."""
        return known["latent"].float().transpose(1, 2)

    def restore(self, raw: Tensor, known: Known) -> Decoded:
        """The given frame, then decoded latents; no parts."""
        latents, first_frame = raw.transpose(1, 2), known["first_frame"]
        pictures = self.autoencoder.decode(latents.flatten(0, 1)).float()  # (B (T-1), 3, ., .)
        height, width = first_frame.shape[-2:]
        frames = to_grey_levels(pictures[..., :height, :width]).unflatten(0, latents.shape[:2])
        return Decoded(torch.cat([first_frame[:, None], frames], dim=1), {})

    def _pictures(self, frames: Tensor) -> Tensor:
        return pad_to_blocks(normalise_frame(frames.flatten(0, 1)), self.cell)
