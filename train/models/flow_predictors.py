"""Flow predictors of LFDM's autoencoder: backward flow and occlusion between two frames."""

from __future__ import annotations

from abc import ABC, abstractmethod
from itertools import pairwise
from typing import Annotated, ClassVar

import torch
import torch.nn.functional as F
from pydantic import Field
from pydantic.dataclasses import dataclass
from torch import Tensor, nn

from train.models.layers import doubled, sampling_order, two_convolutions, zero_initialise
from train.models.warp import resize_field, warp
from train.options import STRICT

FLOW_CELL = 4
"""Side of a cell of flow and occlusion, pixels: H/4 x W/4 (Ni et al. 2023, section 4.2)."""

_FOLD = 2
_GROUPS = 8
_VISIBLE = 3.0  # sigmoid(3) = 0.95

Width = Annotated[int, Field(ge=_GROUPS, multiple_of=_GROUPS)]


class FlowPredictor(nn.Module, ABC):
    """F of LFDM; built as `type(options)`.

    Attributes:
        options_type: dataclass of its options.
        given: True if its flow is the store's vectors, and not learned.
    """

    options_type: ClassVar[type]
    given: ClassVar[bool] = False

    @abstractmethod
    def forward(
        self, reference: Tensor, driving: Tensor, vectors: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        """Predict where the driving frame's content is in the reference.

        Args:
            reference: in [-1, 1], shape (N, 3, H, W), H and W multiples of `FLOW_CELL`.
            driving: likewise.
            vectors: the store's, pixels, shape (N, 2, H/4, W/4); read where `given`.

        Returns:
            Backward flow in pixels, x and y, float32, shape (N, 2, H/4, W/4), and occlusion in
            (0, 1), 1 = visible in the reference, float32, shape (N, 1, H/4, W/4).
        """

    def equivariance_loss(self, driving: Tensor, generators: list[torch.Generator]) -> Tensor:
        """A loss of the predictor alone under deformations of the frame, shape (N,); here none.

        Args:
            driving: as in `forward`.
            generators: one a row, on its device.
        """
        return torch.zeros(len(driving), device=driving.device)


@dataclass(frozen=True, config=STRICT)
class DenseFlowOptions:
    """Options of `DenseFlow`."""

    widths: Annotated[tuple[Width, ...], Field(min_length=2)] = (32, 48, 64, 96)
    """Channels at 1/2, 1/4, ... of the frame's size."""
    reach: Annotated[float, Field(gt=0)] = 24.0
    """Largest displacement, pixels."""


class DenseFlow(FlowPredictor):
    """A U-Net on both frames; flow is `reach` tanh(x / `reach`).

    LFDM's paper leaves the network open ("modules are general"); its code takes MRAA's regions.
    At first flow is zero and everything visible.
    """

    options_type = DenseFlowOptions

    def __init__(self, options: DenseFlowOptions) -> None:
        super().__init__()
        self.reach = options.reach
        widths, outputs = options.widths, 1 if self.given else 3
        self.input = nn.Conv2d(2 * 3 * _FOLD**2, widths[0], 3, padding=1)
        self.down = nn.ModuleList(
            nn.Sequential(Block(before, width), Block(width, width))
            for before, width in zip([widths[0], *widths[:-1]], widths, strict=True)
        )
        self.up = nn.ModuleList(
            Block(width + before, before) for before, width in pairwise(widths[1:])
        )
        self.output = nn.Sequential(
            nn.GroupNorm(_GROUPS, widths[1]),
            nn.SiLU(),
            zero_initialise(nn.Conv2d(widths[1], outputs, 3, padding=1)),
        )

    def forward(
        self, reference: Tensor, driving: Tensor, vectors: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        """See `FlowPredictor.forward`."""
        flow, visible = self.cells(reference, driving).split([2, 1], dim=1)
        return self.reach * torch.tanh(flow / self.reach), torch.sigmoid(visible + _VISIBLE)

    def cells(self, reference: Tensor, driving: Tensor) -> Tensor:
        """Numbers of each cell, float32, shape (N, 3 or 1, H/4, W/4)."""
        rows, columns = (side // FLOW_CELL for side in reference.shape[-2:])
        both = pad_to_multiple(torch.cat([reference, driving], dim=1), _FOLD << len(self.down) - 1)
        x = self.input(sampling_order(F.pixel_unshuffle(both, _FOLD)))  # (N, C, H/2, W/2)
        skips = []
        for index, level in enumerate(self.down):
            x = level(F.avg_pool2d(x, 2) if index else x)
            skips.append(x)
        for level, skip in zip(reversed(self.up), reversed(skips[1:-1]), strict=True):
            x = level(torch.cat([doubled(x), skip], dim=1))
        return self.output(x).float()[..., :rows, :columns]


@dataclass(frozen=True, config=STRICT)
class StoreVectorsOptions(DenseFlowOptions):
    """Options of `StoreVectors`; `reach` is not used."""

    widths: Annotated[tuple[Width, ...], Field(min_length=2)] = (16, 24, 32)
    errors: bool = False
    """The U-Net sees by how much the vectors fail, |prediction - frame|, in place of what they
    predict: a sum of products of its weights would have to find that first. An addition of ours."""


class StoreVectors(DenseFlow):
    """The store's vectors as flow; the U-Net sees what they predict, and finds the occlusion.

    An addition of ours to ED-VDM: vectors carry the picture, the decoder fills in what frame 0 does
    not show.
    """

    options_type = StoreVectorsOptions
    given = True

    def __init__(self, options: StoreVectorsOptions) -> None:
        super().__init__(options)
        self.errors = options.errors

    def forward(
        self, reference: Tensor, driving: Tensor, vectors: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        """See `FlowPredictor.forward`."""
        assert vectors is not None
        predicted = warp(reference, resize_field(vectors, FLOW_CELL))  # (N, 3, H, W)
        seen = (predicted - driving).abs() if self.errors else predicted
        # Half visible at first: a decoder that is hardly seen would hardly learn.
        return vectors.float(), torch.sigmoid(self.cells(seen, driving))


class Block(nn.Module):
    """Two normalised convolutions around a shortcut; (N, C, h, w) to (N, C', h, w)."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.body = two_convolutions(inputs, outputs)
        self.shortcut = nn.Conv2d(inputs, outputs, 1) if inputs != outputs else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        """Features (N, C', h, w)."""
        return self.body(x) + self.shortcut(x)


def pad_to_multiple(picture: Tensor, multiple: int) -> Tensor:
    """Replicate the right and lower border up to multiples of a number of pixels."""
    height, width = picture.shape[-2:]
    return F.pad(picture, (0, -width % multiple, 0, -height % multiple), mode="replicate")
