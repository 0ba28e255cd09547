"""Motion first: a target space of motion vectors alone. An addition of ours to ED-VDM.

The paper's x_0 joins vectors and residual latents (`train.spaces.codec`). There the residual can
say what motion should, and on people that the training never saw it paints others' clothes. Here
x_0 is the vectors: every pixel of a clip comes from its first frame. What vectors cannot show is
left to the refining network behind the decoder, which sees the predicted picture.
"""

from __future__ import annotations

from typing import Literal

import torch
from pydantic.dataclasses import dataclass
from torch import Tensor

from shared.conventions import motion_channels
from shared.schema import CodecOptions
from train.options import STRICT
from train.spaces.base import Known, Statistics
from train.spaces.predicted import DecoderContext, PredictedSpace


@dataclass(frozen=True, config=STRICT)
class VectorSpaceOptions:
    """Options of `VectorSpace`."""

    kind: Literal["vectors"] = "vectors"


class VectorSpace(PredictedSpace):
    """Vectors divided by the search range, and the reference index where blocks choose."""

    options_type = VectorSpaceOptions
    generates = "motion vectors"
    restored_from = "motion vectors"

    def __init__(
        self,
        store: CodecOptions,
        options: VectorSpaceOptions,
        autoencoder: None = None,
        statistics: Statistics | None = None,
    ) -> None:
        shape = (motion_channels(store.reference), store.frames - 1, *store.grid)
        super().__init__(store, shape, store.block, None, statistics)

    @property
    def reads(self) -> tuple[str, ...]:
        """First frame and vectors."""
        return ("first_frame", "motion")

    def unscaled(self, known: Known) -> Tensor:
        """Vectors, shape (B, 2 or 3, T-1, h, w)."""
        return self.scaled_vectors(known["motion"]).transpose(1, 2)

    def _residual(
        self, latents: Tensor, known: DecoderContext, context: Tensor | None = None
    ) -> Tensor:
        """No residual, int16 zeros (N, 3, H, W)."""
        return torch.zeros_like(known.prediction, dtype=torch.int16)
