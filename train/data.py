"""A sealed store as batches of tensors."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from shared.reader import ClipReader
from shared.schema import CodecOptions
from train.compensate import decode_clips
from train.splits import split_clips

_IN_MEMORY_BYTES = 2 * 1024**3


@dataclass(frozen=True)
class ClipBatch:
    """B clips as the store holds them.

    Attributes:
        first_frame: uint8, shape (B, 3, H, W).
        motion: int8, shape (B, T-1, 2, h, w).
        residual: int16, shape (B, T-1, 3, H, W).
        label: int64, shape (B,); -1 = none.
    """

    first_frame: Tensor
    motion: Tensor
    residual: Tensor
    label: Tensor


class Clips:
    """The valid clips of a store, in memory once read where they fit.

    Attributes:
        store: the sealed store.
        train, test: positions of the training and test clips.
        label: int64, shape (N,).
    """

    def __init__(self, store: ClipReader, split: str | None) -> None:
        self.store = store
        self.train, self.test = split_clips(store, split)
        self.label = store.column("label").astype(np.int64)
        self._kept: dict[tuple[str, int], np.ndarray] = {}
        self._kept_bytes = 0

    def read(self, name: str, indices: Sequence[int] | NDArray[np.int64]) -> Tensor:
        """Entries of one array, shape (B, ...), on the CPU."""
        return torch.from_numpy(np.stack([self._entry(name, int(index)) for index in indices]))

    def batch(self, indices: Sequence[int] | NDArray[np.int64], device: torch.device) -> ClipBatch:
        """Everything of some clips, on a device."""
        return ClipBatch(
            first_frame=self.read("first_frame", indices).to(device),
            motion=self.read("motion", indices).to(device),
            residual=self.read("residual", indices).to(device),
            label=torch.from_numpy(self.label[indices]).to(device),
        )

    def frames(self, batch: ClipBatch) -> Tensor:
        """The clips themselves, exact: uint8, shape (B, T, 3, H, W)."""
        return stored_frames(batch, self.store.options)

    def _entry(self, name: str, index: int) -> np.ndarray:
        if (kept := self._kept.get((name, index))) is not None:
            return kept
        entry = self.store.clip(name, index)
        if self._kept_bytes + entry.nbytes <= _IN_MEMORY_BYTES:
            self._kept[name, index] = entry
            self._kept_bytes += entry.nbytes
        return entry


def stored_frames(batch: ClipBatch, options: CodecOptions) -> Tensor:
    """The clips themselves, exact, on the batch's device: uint8, shape (B, T, 3, H, W)."""
    return decode_clips(
        batch.first_frame,
        batch.motion,
        batch.residual,
        block=options.block,
        reference=options.reference,
        vector_unit=options.vector_unit,
    )


def normalise_frame(first_frame: Tensor) -> Tensor:
    """uint8 grey levels to [-1, 1], as the first frame's encoder takes them."""
    return first_frame.float() / 127.5 - 1
