"""Batches that are read while the device works on those before.

The shares of the steps to come are known, so threads read them in advance. Threads suffice, and
share memory: reading waits for the disk or decompresses, both outside Python's lock. What a step
gets depends on its share alone, never on how many threads read or which was faster.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from functools import lru_cache
from itertools import pairwise
from types import TracebackType
from typing import Protocol, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from train.data.clips import on_device

# MERGED: Which clips a step takes, how they are shared out, and where its random numbers come from.
#
# All of it is a pure function of (seed, step, row): a resumed run sees the same clips and the same
# noise as an undisturbed one, and so does a run on any number of processes, however it accumulates.
# No state of a random generator is ever saved.


@dataclass(frozen=True)
class BatchSlice:
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


def split_batch(step: int, total: int, pieces: int) -> list[BatchSlice]:
    """A step's batch in consecutive shares, whose sizes differ by one at most.

    Args:
        step: from 0.
        total: clips in the step, at least `pieces`.
        pieces: how many shares.
    """
    bounds = [total * piece // pieces for piece in range(pieces + 1)]
    return [BatchSlice(step, *pair, total) for pair in pairwise(bounds)]


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


AHEAD, WORKERS = 4, 2

Indices = NDArray[np.int64]
Tensors = dict[str, Tensor]
Item = TypeVar("Item")
Result = TypeVar("Result")


class Read(Protocol):
    """Clips' tensors by name, on the CPU; called in threads."""

    def __call__(self, indices: Indices, *, pinned: bool) -> Tensors:
        """Of the clips at these positions; into pinned memory, or not."""


class Prefetch:
    """The batch of a part, on a device; the next ones are on their way when it returns.

    What share follows is learned from the calls: at first the same rows of the next step, then
    what followed the same rows in the step before. A wrong guess costs a reading, nothing else.

    Args:
        read: such as `Clips.tensors` of some names; pinned is asked for where a GPU copies.
        indices: the clips of a share; called in the caller's thread.
        device: where batches are wanted.
        ahead: shares read in advance.
        workers: threads.
    """

    def __init__(
        self,
        read: Read,
        indices: Callable[[BatchSlice], Indices],
        device: torch.device,
        *,
        ahead: int = AHEAD,
        workers: int = WORKERS,
    ) -> None:
        self._read, self._indices = read, indices
        self._device, self._ahead = device, ahead
        self._pool = ThreadPoolExecutor(workers, "prefetch")
        self._asked: dict[BatchSlice, Future[Tensors]] = {}
        self._follows: dict[tuple[int, int, int], tuple[int, int, int, int]] = {}
        self._last: BatchSlice | None = None

    def __call__(self, part: BatchSlice) -> Tensors:
        """The tensors of a share's clips, by name.

        Raises:
            UserError: a clip could not be read; it is named.
        """
        self._learn(part)
        self._ask(part)
        wanted = self._asked.pop(part)
        for _ in range(self._ahead):
            part = self._following(part)
            self._ask(part)
        return on_device(wanted.result(), self._device)

    def close(self) -> None:
        """End the threads; what they have begun is finished, the rest is dropped."""
        self._pool.shutdown(wait=True, cancel_futures=True)
        self._asked.clear()

    def __enter__(self) -> Prefetch:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def _ask(self, part: BatchSlice) -> None:
        if part not in self._asked:
            indices, pinned = self._indices(part), self._device.type == "cuda"
            self._asked[part] = self._pool.submit(self._read, indices, pinned=pinned)

    def _learn(self, part: BatchSlice) -> None:
        """Note what followed the last part, and drop what steps behind this one asked for."""
        if self._last is not None:
            steps = part.step - self._last.step
            self._follows[_rows(self._last)] = (steps, *_rows(part))
        self._last = part
        for asked in [asked for asked in self._asked if asked.step < part.step]:
            self._asked.pop(asked).cancel()

    def _following(self, part: BatchSlice) -> BatchSlice:
        steps, *rows = self._follows.get(_rows(part), (1, *_rows(part)))
        return BatchSlice(part.step + steps, *rows)


def read_ahead(
    read: Callable[[Item], Result],
    items: Iterable[Item],
    *,
    ahead: int = AHEAD,
    workers: int = WORKERS,
) -> Iterator[Result]:
    """`map(read, items)`, in order, with the next few items read in threads meanwhile."""
    pool = ThreadPoolExecutor(workers, "read-ahead")
    asked: list[Future[Result]] = []
    try:
        for item in items:
            asked.append(pool.submit(read, item))
            if len(asked) > ahead:
                yield asked.pop(0).result()
        while asked:
            yield asked.pop(0).result()
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


def _rows(part: BatchSlice) -> tuple[int, int, int]:
    return part.start, part.stop, part.total
