"""VDM's target space: frames 1...T-1 themselves, in [-1, 1] (Ho et al. 2022; the baseline)."""

from __future__ import annotations

from typing import Literal

import torch
from pydantic.dataclasses import dataclass
from torch import Tensor

from shared.schema import CodecOptions
from train.data.clips import normalise_frame, stored_frames
from train.options import STRICT
from train.spaces.base import Decoded, Known, Space, Statistics, clip_batch, to_grey_levels


@dataclass(frozen=True, config=STRICT)
class RgbSpaceOptions:
    """Options of `RgbSpace`: none."""

    kind: Literal["rgb"] = "rgb"


class RgbSpace(Space):
    """x_0 has 3 channels, a cell is a pixel."""

    options_type = RgbSpaceOptions
    bounded = True
    generates = "pixels"
    restored_from = "pixels"

    def __init__(
        self,
        store: CodecOptions,
        options: RgbSpaceOptions,
        autoencoder: None = None,
        statistics: Statistics | None = None,
    ) -> None:
        shape = (3, store.frames - 1, *store.size)
        super().__init__(store, shape, cell=1, statistics=statistics)

    def unscaled(self, known: Known) -> Tensor:
        """Frames 1...T-1, shape (B, 3, T-1, H, W)."""
        frames = stored_frames(clip_batch(known), self.store)[:, 1:]
        return normalise_frame(frames).transpose(1, 2)

    def restore(self, raw: Tensor, known: Known) -> Decoded:
        """The given frame, then x_0; no parts."""
        frames = to_grey_levels(raw.transpose(1, 2))  # (B, T-1, 3, H, W)
        return Decoded(torch.cat([known["first_frame"][:, None], frames], dim=1), {})
