"""What is measured between two lines of the log: means, pace, and whether all is finite.

Sums stay on the device until a line is due, so that no step waits for the one before.
"""

from __future__ import annotations

import math
import time
from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor

from train.distributed import World


class Means:
    """Means over rows, by name, since they were last taken."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._sums: dict[str, Tensor] = {}

    def add(self, values: dict[str, Tensor], rows: int) -> None:
        """Count values: a scalar is the mean of `rows` rows, a vector holds one a row or NaN."""
        for name, value in values.items():
            each = value.detach().double().expand(rows) if value.ndim == 0 else value.double()
            new = torch.stack([each.nansum(), (~each.isnan()).sum()])
            self._sums[name] = self._sums[name] + new if name in self._sums else new

    def state(self) -> dict[str, list[float]]:
        """[sum, count] by name over all ranks, for a checkpoint. All ranks must call it."""
        if not self._sums:
            return {}
        sums = self._world.total(torch.stack(list(self._sums.values())))
        return dict(zip(self._sums, sums.tolist(), strict=True))

    def restore(self, state: dict[str, list[float]], device: torch.device) -> None:
        """Go on from `state`: on one rank, since it holds the sums of all."""
        if self._world.leads:
            pairs = torch.tensor(list(state.values()), dtype=torch.float64, device=device)
            self._sums = dict(zip(state, pairs, strict=True))

    def take(self) -> dict[str, float]:
        """The means of all ranks; names that no row had are left out. All ranks must call it."""
        state = self.state()
        self._sums = {name: torch.zeros_like(pair) for name, pair in self._sums.items()}
        return {name: total / count for name, (total, count) in state.items() if count}


class Pace:
    """Clips a second and the share of the time spent waiting for data, since last taken.

    Pauses (checkpoints, previews) do not count.
    """

    def __init__(self, world: World) -> None:
        self._world = world
        self._start()

    @contextmanager
    def waiting(self) -> Iterator[None]:
        """Count the time in this context as waiting for data."""
        started = time.perf_counter()
        yield
        self._waited += time.perf_counter() - started

    @contextmanager
    def paused(self) -> Iterator[None]:
        """Leave out the time in this context."""
        started = time.perf_counter()
        yield
        self._started += time.perf_counter() - started

    def count(self, clips: int) -> None:
        """Count the clips of a step, those of all ranks."""
        self._clips += clips

    def take(self) -> dict[str, float]:
        """`clips_per_second`, and `wait`: the largest share of any rank. All must call it."""
        seconds = max(time.perf_counter() - self._started, 1e-9)
        (wait,) = self._world.largest(self._waited / seconds)
        rate = self._clips / seconds
        self._start()
        return {"clips_per_second": rate, "wait": wait}

    def _start(self) -> None:
        self._started, self._waited, self._clips = time.perf_counter(), 0.0, 0


class FiniteGuard:
    """Remembers the first step that had a number which is not finite, on any rank."""

    def __init__(self, world: World, device: torch.device) -> None:
        self._world = world
        self._first = torch.full((), math.inf, device=device)

    def watch(self, step: int, *values: Tensor) -> None:
        """Look at scalars of step `step`, without waiting for the device."""
        finite = torch.stack([value.detach().isfinite() for value in values]).all()
        self._first = self._first.minimum(torch.where(finite, math.inf, float(step)))

    def first(self) -> int | None:
        """The first bad step, None where all was finite. All ranks must call it."""
        (latest,) = self._world.largest(-float(self._first))
        return None if latest == -math.inf else int(-latest)
