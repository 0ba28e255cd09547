"""Target spaces: in what diffusion runs. The systems compared differ in nothing else."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from torch import Tensor

from train.data import ClipBatch


@dataclass(frozen=True)
class Decoded:
    """A generated clip and the parts it was made of.

    Attributes:
        frames: uint8, shape (B, T, 3, H, W), frame 0 being the given one.
        parts: what the space can show beside, by name.
    """

    frames: Tensor
    parts: dict[str, Tensor]


class Space(Protocol):
    """What the trainer, the samplers and the reports ask of a target space.

    Attributes:
        channels: C of x_0.
        shape: of one clip's x_0, C first.
    """

    channels: int
    shape: tuple[int, ...]

    def encode(self, batch: ClipBatch) -> Tensor:
        """Standardised x_0 of stored clips, shape (B, *shape)."""

    def decode(self, x0: Tensor, first_frame: Tensor) -> Decoded:
        """Video from x_0 and uint8 first frames (B, 3, H, W)."""
