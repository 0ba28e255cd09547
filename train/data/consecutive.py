"""Consecutive clips: which clip of a store ends in its video where another one begins."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from shared.conventions import NO_INDEX
from shared.store.export import ClipReader
from train.data.clips import ClipArray


def clips_before(store: ClipReader) -> NDArray[np.int64]:
    """Index of the clip before each valid clip, shape (N,); -1 where there is none.

    It is of the same video and segment, has the same distance between frames, ends that distance
    before the clip begins, and lies on the same side of every split.
    """
    names = ("video", "segment", "frame_index", "split")
    video, segment, frames, side = (store.column(name) for name in names)
    step = frames[:, -1] - frames[:, -2]

    def key(clip: int, frame: int) -> tuple[object, ...]:
        return (
            video[clip], int(segment[clip]), int(step[clip]), side[clip].tobytes(), int(frame)
        )  # fmt: skip

    steady = (np.diff(frames, axis=1) == step[:, None]).all(axis=1)
    ends = {key(n, frames[n, -1] + step[n]): n for n in np.flatnonzero(steady).tolist()}
    found = [
        ends.get(key(n, frames[n, 0]), NO_INDEX) if steady[n] else NO_INDEX
        for n in range(len(frames))
    ]
    return np.array(found, np.int64)


def before_name(name: str) -> str:
    """Name of an array's entries of the clip before."""
    return f"{name}_before"


@dataclass(frozen=True)
class ClipBefore:
    """Entries of the clips before, of another array; zeros where there is none.

    Attributes:
        of: the other array.
        before: as `clips_before` gives it.
    """

    of: ClipArray
    before: NDArray[np.int64]

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of an entry."""
        return self.of.shape

    @property
    def dtype(self) -> np.dtype:
        """Type of an entry's values."""
        return self.of.dtype

    def read_into(self, index: int, out: np.ndarray) -> None:
        """Read the entry of the clip before the one at `index`, or zeros."""
        before = int(self.before[index])
        if before == NO_INDEX:
            out.fill(0)
        else:
            self.of.read_into(before, out)
