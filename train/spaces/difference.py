"""D-VDM's target space: differences of frames (the paper, equation 7).

v_n - v_(n-1) as in the paper, or v_n - v_0 as an addition of ours: errors of differences to the
frame before add up over the clip, errors of differences to the first frame do not.
"""

from __future__ import annotations

from typing import Literal

import torch
from pydantic.dataclasses import dataclass
from torch import Tensor

from shared.schema import CodecOptions
from train.data.clips import stored_frames
from train.options import STRICT
from train.spaces.base import Decoded, Known, Space, Statistics, clip_batch


@dataclass(frozen=True, config=STRICT)
class DifferenceSpaceOptions:
    """Options of `DifferenceSpace`."""

    kind: Literal["difference"] = "difference"
    reference: Literal["previous", "first"] = "previous"
    """The frame that is subtracted; `first` is an addition of ours."""


class DifferenceSpace(Space):
    """x_0 has 3 channels, grey levels / 255; a cell is a pixel."""

    options_type = DifferenceSpaceOptions
    bounded = True
    generates = "differences of frames"
    restored_from = "differences"

    def __init__(
        self,
        store: CodecOptions,
        options: DifferenceSpaceOptions,
        autoencoder: None = None,
        statistics: Statistics | None = None,
    ) -> None:
        shape = (3, store.frames - 1, *store.size)
        super().__init__(store, shape, cell=1, statistics=statistics)
        self.options = options

    def unscaled(self, known: Known) -> Tensor:
        """Differences of frames 1...T-1 to their reference, shape (B, 3, T-1, H, W)."""
        frames = stored_frames(clip_batch(known), self.store).float() / 255
        before = frames[:, :-1] if self.options.reference == "previous" else frames[:, :1]
        return (frames[:, 1:] - before).transpose(1, 2)

    def restore(self, raw: Tensor, known: Known) -> Decoded:
        """Frames from differences; part `difference`: grey levels, int16, (B, T-1, 3, H, W)."""
        change, first_frame = raw.transpose(1, 2), known["first_frame"]
        if self.options.reference == "previous":
            change = change.cumsum(dim=1)
        grey = (first_frame[:, None] + 255 * change).round().clamp(0, 255).to(torch.uint8)
        frames = torch.cat([first_frame[:, None], grey], dim=1)
        difference = (255 * raw.transpose(1, 2)).round().clamp(-255, 255).to(torch.int16)
        return Decoded(frames, {"difference": difference})
