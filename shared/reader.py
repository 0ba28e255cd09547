"""What the trainer reads clips from: a sealed store, or an export of one."""

from __future__ import annotations

from typing import Protocol

import numpy as np

from shared.export import DATASET, Export
from shared.paths import Location
from shared.schema import CodecOptions, StoreAttributes
from shared.store import Store


class ClipReader(Protocol):
    """Valid clips by position, whatever they lie in.

    Attributes:
        path: where they lie.
        attributes: what is there and how it was made.
    """

    path: Location
    attributes: StoreAttributes

    @property
    def options(self) -> CodecOptions:
        """The options that shaped the bytes."""

    def __len__(self) -> int:
        """Number of valid clips."""

    def column(self, name: str) -> np.ndarray:
        """A whole small array: label, video, frame_index, split..., clip axis first."""

    def clip(self, name: str, index: int, out: np.ndarray | None = None) -> np.ndarray:
        """One clip's entry of a large array: first_frame, motion or residual.

        Args:
            name: of the array.
            index: among the valid clips.
            out: filled and returned where given; C-contiguous, of the entry's shape and dtype.

        Raises:
            StoreError: the file is missing or damaged.
        """


def open_clips(path: Location) -> ClipReader:
    """Open a sealed store or a finished export, whichever lies there.

    Raises:
        StoreError: neither does, or it is not finished.
    """
    return Export(path) if (path / DATASET).exists() else Store(path)
