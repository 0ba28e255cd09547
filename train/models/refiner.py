"""A refining network after the decoder, like the in-loop filter of a codec. Ours, not the paper's.

y = estimate + net(estimate, prediction, first frame, the two neighbouring estimates), applied
several times. With the first frame as reference no frame depends on a decoded one, and all are
refined in parallel; with the frame before as reference they are refined one by one, each predicted
from the refined frame before.
"""

from __future__ import annotations

from typing import Annotated

import torch
import torch.nn.functional as F
from pydantic import Field
from pydantic.dataclasses import dataclass
from torch import Tensor, nn

from train.models.critic import PatchCritic
from train.models.layers import zero_initialise
from train.options import STRICT

Fraction = Annotated[float, Field(gt=0, le=1)]


@dataclass(frozen=True, config=STRICT)
class RefinerOptions:
    """Options of `Refiner`."""

    width: Annotated[int, Field(ge=1)] = 32
    passes: Annotated[int, Field(ge=1)] = 2
    unshuffle: Annotated[int, Field(ge=1)] = 2
    """Pixels folded into channels before the first convolution."""
    adversarial_weight: Annotated[float, Field(ge=0)] = 0.0
    """Weight of the critic's loss, added to the absolute error; 0 trains without a critic."""
    matching_weight: Annotated[float, Field(ge=0)] = 0.0
    """Weight of the distance between the critic's features of refined and of real frames."""
    times: Annotated[tuple[Fraction, ...], Field(min_length=1)] = (0.5, 0.3, 0.1)
    """Times to which training clips are noised and denoised again, as fractions of the noise steps,
    falling; a single one gives the denoiser's one-step outputs. From larger times, limbs come back
    in other places, and the network learns to smear between the two."""

    def __post_init__(self) -> None:
        if list(self.times) != sorted(set(self.times), reverse=True):
            raise ValueError(f"times {list(self.times)}: must fall")


class Refiner(nn.Module):
    """Removes block edges, doubled limbs and flicker from decoded clips."""

    def __init__(self, options: RefinerOptions) -> None:
        super().__init__()
        self.options = options
        fold = options.unshuffle**2
        width = options.width
        self.input = nn.Conv2d(15 * fold, width, 3, padding=1)
        self.fine = nn.Sequential(_Residual(width))
        self.shrink = nn.Conv2d(width, 2 * width, 2, stride=2)
        self.coarse = nn.Sequential(_Residual(2 * width), _Residual(2 * width))
        self.grow = nn.ConvTranspose2d(2 * width, width, 2, stride=2)
        self.last = nn.Sequential(_Residual(width), nn.SiLU())
        self.output = nn.Conv2d(width, 3 * fold, 3, padding=1)
        zero_initialise(self.output)
        self.critic = PatchCritic() if options.adversarial_weight else None

    def forward(
        self, estimate: Tensor, prediction: Tensor, before: Tensor, first_frame: Tensor
    ) -> list[Tensor]:
        """Estimates after each pass, the last one the final.

        Args:
            estimate: L decoded frames in a row, in [-1, 1], shape (B, L, 3, H, W).
            prediction: from the vectors alone, likewise.
            before: the frame before the first of them, shape (B, 3, H, W).
            first_frame: of the clip, likewise.
        """
        first = first_frame[:, None].expand_as(estimate)
        passes = []
        for _ in range(self.options.passes):
            estimate = estimate + self._correction(estimate, prediction, before, first)
            passes.append(estimate)
        return passes

    def _correction(
        self, estimate: Tensor, prediction: Tensor, before: Tensor, first: Tensor
    ) -> Tensor:
        # The last frame serves as its own successor.
        before = torch.cat([before[:, None], estimate[:, :-1]], dim=1)
        after = torch.cat([estimate[:, 1:], estimate[:, -1:]], dim=1)
        seen = torch.cat([estimate, prediction, first, before, after], dim=2).flatten(0, 1)
        height, width = seen.shape[-2:]
        # Folding, then halving once: whole multiples are needed, the edge is repeated up to them.
        multiple = 2 * self.options.unshuffle
        margins = (0, -width % multiple, 0, -height % multiple)
        x = F.pixel_unshuffle(F.pad(seen, margins, mode="replicate"), self.options.unshuffle)
        x = self.fine(self.input(x.contiguous(memory_format=torch.channels_last)))
        x = self.last(x + self.grow(self.coarse(self.shrink(x))))
        change = F.pixel_shuffle(self.output(x), self.options.unshuffle)
        return change[..., :height, :width].unflatten(0, estimate.shape[:2])


class _Residual(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.body = nn.Sequential(
            nn.SiLU(),
            nn.Conv2d(width, width, 3, padding=1),
            nn.SiLU(),
            nn.Conv2d(width, width, 3, padding=1),
        )

    def forward(self, x: Tensor) -> Tensor:
        return x + self.body(x)
