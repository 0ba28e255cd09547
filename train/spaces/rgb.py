"""VDM's target space: frames 1...T-1 themselves, in [-1, 1] (Ho et al. 2022; the baseline)."""

from __future__ import annotations

from typing import Literal

import torch
from pydantic.dataclasses import dataclass
from torch import Tensor

from shared.schema import CodecOptions
from train.data.clips import ClipBatch, normalise_frame, stored_frames
from train.options import STRICT
from train.spaces.base import Decoded, Space, Statistics, to_grey_levels


@dataclass(frozen=True, config=STRICT)
class RgbSpaceOptions:
    """Options of `RgbSpace`: none."""

    kind: Literal["rgb"] = "rgb"


class RgbSpace(Space):
    """x_0 has 3 channels, a cell is a pixel."""

    kind = "rgb"
    bounded = True

    def __init__(
        self, store: CodecOptions, options: RgbSpaceOptions, statistics: Statistics | None = None
    ) -> None:
        shape = (3, store.frames - 1, store.size, store.size)
        super().__init__(store, shape, cell=1, statistics=statistics)

    def unscaled(self, batch: ClipBatch) -> Tensor:
        """See `Space.unscaled`."""
        return normalise_frame(stored_frames(batch, self.store)[:, 1:]).transpose(1, 2)

    def restore(self, raw: Tensor, first_frame: Tensor) -> Decoded:
        """See `Space.decode`; no parts."""
        frames = to_grey_levels(raw.transpose(1, 2))
        return Decoded(torch.cat([first_frame[:, None], frames], dim=1), {})
