"""The interface of all that clips are read from: a store, or an export of one."""

from __future__ import annotations

from typing import Protocol

import numpy as np

from shared.schema import CodecOptions, StoreAttributes
from shared.store.paths import Location, location, require_reachable


class ClipReader(Protocol):
    """Valid clips by position, of a store or an export.

    Attributes:
        path: of the store or export.
        attributes: its content and the options that made it.
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
            out: C-contiguous array of the entry's shape and dtype, to fill and return instead of a
                new one.

        Raises:
            StoreError: the file is missing or damaged.
        """


def open_clips(path: Location) -> ClipReader:
    """Open the sealed store or the finished export at a location.

    Raises:
        StoreError: there is neither, or it is not finished.
    """
    # Here, because zarr is slow to import, and recipes and their costs need none.
    from shared.store.export import DATASET, Export
    from shared.store.store import Store

    return Export(path) if (path / DATASET).exists() else Store(path)


def open_path(path: str) -> ClipReader:
    """Open a sealed store or a finished export, local or on S3.

    Raises:
        UserError: there is none, or it cannot be reached.
    """
    place = location(path)
    require_reachable(place)
    return open_clips(place)
