"""The clips and random numbers of each training step, and reading them ahead in threads.

Clips and random numbers are pure functions of (seed, step, row). A resumed run sees the same clips
and the same noise as an undisturbed one, and so does a run on any number of processes, however it
accumulates gradients. No state of a random generator is ever saved.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Generator, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from functools import lru_cache
from typing import TypeVar

import numpy as np
import torch
from numpy.typing import NDArray

Item = TypeVar("Item")
Result = TypeVar("Result")


@dataclass(frozen=True)
class BatchSlice:
    """Rows [start, stop) of the batch of a step, which one forward and backward pass takes.

    Attributes:
        step: optimiser step, from 0.
        start, stop: rows, half open.
        total: clips in the whole batch of the step, over all ranks.
    """

    step: int
    start: int
    stop: int
    total: int

    def __len__(self) -> int:
        return self.stop - self.start

    def indices(self, among: NDArray[np.int64], seed: int) -> NDArray[np.int64]:
        """The clips of these rows, chosen from `among` by `batch_at`; shape (rows,)."""
        return batch_at(self.step, among, self.total, seed)[self.start : self.stop]

    def generators(
        self, seed: int, device: torch.device, *, purpose: int = 0
    ) -> list[torch.Generator]:
        """A generator for each row, on the device that will use its numbers.

        Args:
            seed: of the training.
            device: of the generators.
            purpose: independent streams of the same row, such as augmentation and noise.
        """
        path = (purpose,) if purpose else ()
        return [
            generator_for(seed, self.step, row, *path, device=device)
            for row in range(self.start, self.stop)
        ]


def split_batch(step: int, total: int, count: int) -> list[BatchSlice]:
    """Split a step's batch into consecutive slices whose sizes differ by one at most.

    Args:
        step: from 0.
        total: clips in the step, at least `count`.
        count: number of slices.
    """
    bounds = [total * k // count for k in range(count + 1)]
    return [BatchSlice(step, *pair, total) for pair in itertools.pairwise(bounds)]


def rank_slices(
    step: int, total: int, *, passes: int = 1, rank: int = 0, ranks: int = 1
) -> Iterator[BatchSlice]:
    """The slices that one rank takes in step `step` and in all that follow, without end.

    Args:
        step: first step, from 0.
        total: clips in a step, at least `ranks * passes`.
        passes: slices that each rank takes in a step.
        rank: of this process.
        ranks: number of processes.
    """
    for current in itertools.count(step):
        yield from split_batch(current, total, ranks * passes)[rank * passes :][:passes]


def batch_at(step: int, among: NDArray[np.int64], batch: int, seed: int) -> NDArray[np.int64]:
    """The clips of a step: consecutive stretches of one permutation (epoch) after another.

    Args:
        step: from 0.
        among: clips to choose from, shape (N,).
        batch: clips in a step.
        seed: of the permutations.

    Returns:
        Shape (batch,).
    """
    positions = np.arange(step * batch, (step + 1) * batch)
    epochs, offsets = np.divmod(positions, len(among))
    chosen = [
        _permutation(len(among), seed, int(epoch))[offset]
        for epoch, offset in zip(epochs, offsets, strict=True)
    ]
    return among[chosen]


def generator_for(seed: int, *path: int, device: torch.device | str = "cpu") -> torch.Generator:
    """A generator whose stream depends on the seed and on each number of the path."""
    state = np.random.SeedSequence(seed, spawn_key=path).generate_state(1, np.uint64)[0]
    return torch.Generator(device).manual_seed(int(state >> np.uint64(1)))


@lru_cache(maxsize=4)  # a million clips take 20 ms to permute: once an epoch, not once a step
def _permutation(count: int, seed: int, epoch: int) -> NDArray[np.int64]:
    return np.random.default_rng([seed, epoch]).permutation(count)


def read_ahead(
    read: Callable[[Item], Result], items: Iterable[Item], *, ahead: int = 4, workers: int = 2
) -> Generator[Result, None, None]:
    """`map(read, items)` in order, with the next few items read in threads meanwhile.

    Threads suffice: reading waits for the disk or decompresses, both outside Python's lock. An
    error is raised when its item's turn comes. Closing the iterator, an error and the end of the
    items all end the threads; what they have begun is finished, the rest is dropped.

    Args:
        read: called in threads.
        items: may be endless; advanced in the caller's thread.
        ahead: items read in advance.
        workers: threads.
    """
    pool = ThreadPoolExecutor(workers, "read-ahead")
    pending: list[Future[Result]] = []
    try:
        for item in items:
            pending.append(pool.submit(read, item))
            if len(pending) > ahead:
                yield pending.pop(0).result()
        while pending:
            yield pending.pop(0).result()
    finally:
        pool.shutdown(wait=True, cancel_futures=True)
