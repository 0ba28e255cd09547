"""Which clips a step takes, how they are shared out, and where its random numbers come from.

All of it is a pure function of (seed, step, row): a resumed run sees the same clips and the same
noise as an undisturbed one, and so does a run on any number of processes, however it accumulates.
No state of a random generator is ever saved.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from itertools import pairwise

import numpy as np
import torch
from numpy.typing import NDArray


@dataclass(frozen=True)
class Share:
    """Rows [start, stop) of the `total` clips of step `step` (from 0): what one pass takes."""

    step: int
    start: int
    stop: int
    total: int

    def __len__(self) -> int:
        return self.stop - self.start

    def indices(self, among: NDArray[np.int64], seed: int) -> NDArray[np.int64]:
        """The clips of these rows: see `batch_at`; shape (len(self),)."""
        return batch_at(self.step, among, self.total, seed)[self.start : self.stop]

    def generators(self, seed: int, device: torch.device) -> list[torch.Generator]:
        """A generator for each row, on the device that will use its numbers."""
        rows = range(self.start, self.stop)
        return [generator_for(seed, self.step, row, device=device) for row in rows]


def shares(step: int, total: int, pieces: int) -> list[Share]:
    """A step's batch in consecutive shares, whose sizes differ by one at most.

    Args:
        step: from 0.
        total: clips in the step, at least `pieces`.
        pieces: how many shares.
    """
    bounds = [total * piece // pieces for piece in range(pieces + 1)]
    return [Share(step, *pair, total) for pair in pairwise(bounds)]


def batch_at(step: int, indices: NDArray[np.int64], batch: int, seed: int) -> NDArray[np.int64]:
    """The clips of a step: consecutive pieces of one permutation after another.

    Args:
        step: from 0.
        indices: to choose from, shape (N,).
        batch: clips in a step.
        seed: of the permutations.

    Returns:
        Shape (batch,).
    """
    positions = np.arange(step * batch, (step + 1) * batch)
    epochs, offsets = np.divmod(positions, len(indices))
    chosen = [_order(len(indices), seed, int(e))[o] for e, o in zip(epochs, offsets, strict=True)]
    return indices[chosen]


def generator_for(seed: int, *path: int, device: torch.device | str = "cpu") -> torch.Generator:
    """A generator whose stream depends on the seed and on each number of the path."""
    state = np.random.SeedSequence(seed, spawn_key=path).generate_state(1, np.uint64)[0]
    return torch.Generator(device).manual_seed(int(state >> np.uint64(1)))


@lru_cache(maxsize=4)  # a million clips take 20 ms to permute: once an epoch, not once a step
def _order(count: int, seed: int, epoch: int) -> NDArray[np.int64]:
    return np.random.default_rng([seed, epoch]).permutation(count)
