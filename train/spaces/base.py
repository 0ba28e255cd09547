"""What a target space is: in what diffusion runs. The systems compared differ in nothing else.

Shapes: B clips, T frames, H x W pixels; x_0 has C channels on a grid of h x w cells.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from shared.schema import CodecOptions
from train.data.clips import ClipBatch
from train.models.autoencoder import Autoencoder


@dataclass(frozen=True)
class Decoded:
    """A generated clip and the parts it was made of.

    Attributes:
        frames: uint8, shape (B, T, 3, H, W), frame 0 being the given one.
        parts: what the space can show beside, by name.
    """

    frames: Tensor
    parts: dict[str, Tensor]


@dataclass(frozen=True)
class Statistics:
    """Mean and standard deviation of each channel of x_0 over the training split."""

    mean: tuple[float, ...]
    std: tuple[float, ...]

    @classmethod
    def plain(cls, channels: int) -> Statistics:
        """Those that change nothing."""
        return cls((0.0,) * channels, (1.0,) * channels)

    @classmethod
    def of(cls, pieces: Iterable[Tensor]) -> Statistics:
        """Of unscaled x_0 in pieces of shape (N, C, T-1, h, w).

        A constant channel gets deviation 1.
        """
        count, total, squares = 0, torch.zeros(()), torch.zeros(())
        for piece in pieces:
            rows = piece.transpose(0, 1).flatten(1).double().cpu()
            count += rows.shape[1]
            total, squares = total + rows.sum(1), squares + rows.square().sum(1)
        mean = total / count
        std = (squares / count - mean.square()).clamp_min(0).sqrt()
        std = torch.where(std > 1e-6, std, torch.ones_like(std))
        return cls(tuple(mean.tolist()), tuple(std.tolist()))


class Space(ABC):
    """What the trainer, the samplers, evaluation and reports ask of a target space.

    Attributes:
        kind: its name in recipes.
        bounded: whether unscaled x_0 lies in [-1, 1], so that a sampler can keep it there.
        store: the options of the store whose clips it encodes.
        shape: (C, T-1, h, w) of one clip's x_0.
        cell: pixels that a cell of the grid covers, in each direction.
        autoencoder: what has to be trained first, if anything.
        statistics: of the training split; encoding scales by them, decoding undoes it.
    """

    kind: ClassVar[str]
    bounded: ClassVar[bool] = False

    def __init__(
        self,
        store: CodecOptions,
        shape: tuple[int, int, int, int],
        cell: int,
        autoencoder: Autoencoder | None = None,
        statistics: Statistics | None = None,
    ) -> None:
        self.store, self.shape, self.cell = store, shape, cell
        self.autoencoder = autoencoder
        self.statistics = statistics or Statistics.plain(shape[0])

    @torch.no_grad()
    def encode(self, batch: ClipBatch) -> Tensor:
        """Standardised x_0 of stored clips, float32, shape (B, C, T-1, h, w)."""
        return self.standardise(self.unscaled(batch))

    @torch.no_grad()
    def decode(self, x0: Tensor, first_frame: Tensor) -> Decoded:
        """Video from x_0 and uint8 first frames (B, 3, H, W)."""
        return self.restore(self.raw(x0.float()), first_frame)

    @abstractmethod
    def unscaled(self, batch: ClipBatch) -> Tensor:
        """x_0 of stored clips before it is standardised; shape as in `encode`."""

    @abstractmethod
    def restore(self, raw: Tensor, first_frame: Tensor) -> Decoded:
        """Inverse of `unscaled`, as far as the space allows: see `decode`."""

    def standardise(self, raw: Tensor) -> Tensor:
        """Scale x_0 by the statistics; inverse of `raw`."""
        mean, std = self._statistics(raw.device)
        return (raw - mean) / std

    def raw(self, x0: Tensor) -> Tensor:
        """Undo `standardise`."""
        mean, std = self._statistics(x0.device)
        return x0 * std + mean

    def _statistics(self, device: torch.device) -> tuple[Tensor, Tensor]:
        mean, std = (
            torch.tensor(values, device=device).view(-1, 1, 1, 1)
            for values in (self.statistics.mean, self.statistics.std)
        )
        return mean, std


class CompressedSpace(Space):
    """A space behind an autoencoder, whose latents are worth keeping.

    Attributes:
        autoencoder: one latent vector a cell.
    """

    autoencoder: Autoencoder

    @property
    @abstractmethod
    def identity(self) -> str:
        """What the latents depend on besides the clips: names their cache."""

    @abstractmethod
    def examples(self, batch: ClipBatch) -> tuple[Tensor, Tensor | None]:
        """What the autoencoder learns from: pictures of shape (N, 3, h * cell, w * cell).

        The second is the context it sees beside, if any: see `Autoencoder.context`.
        """

    def met(self, batch: ClipBatch) -> tuple[Tensor, Tensor | None]:
        """As `examples`, but as the autoencoder, as it is, would meet them in use."""
        return self.examples(batch)

    @abstractmethod
    def compress(self, batch: ClipBatch) -> Tensor:
        """Latents of stored clips, shape (B, T-1, K, h, w)."""

    @abstractmethod
    def assemble(self, motion: Tensor, latents: Tensor) -> Tensor:
        """Unscaled x_0 from stored motion (B, T-1, 2 or 3, ...) and latents (B, T-1, K, h, w)."""

    def unscaled(self, batch: ClipBatch) -> Tensor:
        """See `Space.unscaled`."""
        return self.assemble(batch.motion, self.compress(batch))


def to_grey_levels(frames: Tensor) -> Tensor:
    """Frames in [-1, 1] to uint8 grey levels."""
    return ((frames + 1) * 127.5).round().clamp(0, 255).to(torch.uint8)
