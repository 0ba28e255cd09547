"""What a protocol says: which test clips, how many samples, what is computed."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal


@dataclass(frozen=True)
class Protocol:
    """A way of scoring a run; the same protocol, seed and run give the same numbers.

    Attributes:
        name: as on the command line.
        follows: whose it is, and where we had to choose.
        count: first frames that clips are generated from (or real clips that are restored).
        samples: generated from each, with seeds of their own.
        real: real windows that distributions are compared with, at most: one random window of each
            test video, then a second one of each, and so on; None: all test clips.
        start: `windows`: the generated clips start from those windows, in turn; `first`: from the
            first window of each video; `labels`: from one clip of each label, subjects in turn.
        frames: that clips must have, where it matters.
        split: what the run's split must keep apart: `subjects`, nothing but videos (`random`), or
            whatever it does (`any`).
        frame_clips: clips that frame-wise measures are of, from the first on; None: all.
        reconstruct: real clips are encoded and decoded, none are generated.
        grouped: distances within classes and subjects, too.
        shrunk: whether `count` was made smaller than the protocol's own.
    """

    name: str
    follows: str
    count: int
    samples: int = 1
    real: int | None = None
    start: Literal["windows", "first", "labels"] = "windows"
    frames: int | None = None
    split: Literal["subjects", "random", "any"] = "any"
    frame_clips: int | None = None
    reconstruct: bool = False
    grouped: bool = False
    shrunk: bool = False

    @property
    def videos(self) -> int:
        """Clips in all."""
        return self.count * self.samples

    def with_fewer(self, count: int | None, samples: int | None = None) -> Protocol:
        """The same with fewer first frames, or samples of each; None leaves it as it is."""
        count = self.count if count is None else min(count, self.count)
        samples = self.samples if samples is None else min(samples, self.samples)
        shrunk = (count, samples) != (self.count, self.samples)
        return replace(self, count=count, samples=samples, shrunk=shrunk)
