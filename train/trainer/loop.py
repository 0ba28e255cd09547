"""The training loop of every stage: batches, gradients, weight average, log, checkpoints, resume.

All randomness of a step comes from seeds (`train.data.batches`). A run that was stopped or killed,
or that ended on a number that is not finite, continues from its newest checkpoint bit for bit.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from shared.console import Progress, console
from shared.errors import UserError
from train.data.batches import BatchSlice, rank_slices, read_ahead
from train.data.clips import on_device
from train.trainer import checkpoint
from train.trainer.checkpoint import check_same_config
from train.trainer.distributed import World, sync_gradients, world
from train.trainer.monitor import (
    NonFiniteMonitor,
    RunLog,
    RunningMeans,
    Throughput,
    autocast,
    peak_memory,
)
from train.trainer.optimisers import Ema, make_optimisers
from train.trainer.schedule import TrainingOptions, budget_progress, learning_rate_scale
from train.trainer.signals import StoppedError, StopSignals

_BAR_UNITS = 1000
"""Resolution of the progress bar, which shows the fraction of the budget used."""
_FIRST_SECONDS, _WORTH_SAYING_SECONDS = 5, 90
"""By the steps of the first, a training of more than the second is announced with its length."""


class Read(Protocol):
    """Read clips as tensors by name, on the CPU; called in threads."""

    def __call__(self, indices: NDArray[np.int64], *, pinned: bool) -> dict[str, Tensor]:
        """Read the clips at `indices`, shape (B,), into page-locked memory if `pinned`."""


@dataclass(kw_only=True)
class Stage:
    """A network to train, and where its batches and its loss come from.

    A batch goes through `read`, in threads and ahead of time; to the device; through `prepare`;
    and into `loss`.

    Attributes:
        title: shown at the progress bar.
        folder: for checkpoints and logs.
        network: its parameters are learned.
        clips: indices to choose each step's clips from, int64, shape (N,).
        seed: of the order of clips.
        read: clips' tensors by name, such as `Clips.tensors` of some arrays.
        prepare: (tensors on the device, part of the batch) to the batch that `loss` takes, in full
            precision; by default the tensors themselves. Logged as waiting, as reading is.
        loss: (network, batch, part of the batch) to losses by name, under autocast. `loss`, a mean
            over the part's rows, is minimised. Random numbers come from `part.generators`, one for
            each row. A vector holds a number for each row, NaN for rows it does not apply to;
            means of all of them are logged.
        config: saved with the checkpoints; suffices to build the network again.
        options: budget, batch and rates.
        device: of the network.
        preview: (averaged network, log, step), called after each checkpoint on rank 0.
    """

    title: str
    folder: Path
    network: nn.Module
    clips: NDArray[np.int64]
    seed: int
    read: Read
    prepare: Callable[[dict[str, Tensor], BatchSlice], Any] = lambda tensors, part: tensors
    loss: Callable[[Any, Any, BatchSlice], dict[str, Tensor]]
    config: dict[str, Any]
    options: TrainingOptions
    device: torch.device
    preview: Callable[[nn.Module, RunLog, int], None] = lambda network, log, step: None


def fit(stage: Stage, *, clock: Callable[[], float] = time.monotonic) -> nn.Module:
    """Train a stage to the end of its budget, from its newest checkpoint if it has one.

    Args:
        stage: what to train.
        clock: seconds; budgets and rates are measured by it.

    Returns:
        The averaged network.

    Raises:
        UserError: the folder holds a run with another config, the batch has fewer clips than
            there are passes, a clip cannot be read, or a loss or its gradient is not finite.
        StoppedError: SIGINT or SIGTERM came; everything is saved.
    """
    check_same_config(stage.folder, stage.config)
    run = _Run(stage, world(), clock)
    done = int(_BAR_UNITS * run.progress)
    bar = Progress().bar(stage.title, _BAR_UNITS, "units", done=done)
    with StopSignals() as signals, bar as progress, closing(run):
        while run.should_continue(signals.received):
            run.train_step()
            progress.update(int(_BAR_UNITS * run.progress), note=run.note())
            run.announce()
            if run.step % stage.options.log_every == 0:
                run.write_line()
            if run.step % stage.options.checkpoint_every == 0 and run.progress < 1:
                run.save()
        run.write_last_line()
        run.save()
        run.should_continue(signals.received)  # a signal may have come while it was saved
    if run.stopped_by:
        raise StoppedError(run.stopped_by)
    return run.ema.network


class _Objective(nn.Module):
    """A stage's loss as a module, for `World.wrap`: a loss may call any method of its network."""

    def __init__(self, stage: Stage) -> None:
        super().__init__()
        self.network, self.loss = stage.network, stage.loss

    def forward(self, batch: Any, part: BatchSlice) -> dict[str, Tensor]:
        return self.loss(self.network, batch, part)


class _Run:
    """State of a training run: what a checkpoint holds, and what counts from one to the next."""

    def __init__(self, stage: Stage, world: World, clock: Callable[[], float]) -> None:
        options, passes = stage.options, world.size * stage.options.accumulate
        if options.batch < passes:
            raise UserError(
                f"{stage.title}: a batch of {options.batch} clips cannot be split into {passes}"
                f" passes ({world.size} processes, accumulate {options.accumulate}); raise batch or"
                " lower accumulate"
            )
        self.stage, self.world, self.network = stage, world, stage.network
        self.step, self.stopped_by = 0, 0
        self._seconds_before = 0.0
        world.broadcast_weights(self.network)
        self.ema = Ema(self.network, options.ema)
        self.optimisers = make_optimisers(self.network, options, world)
        self.means, self.non_finite = RunningMeans(world), NonFiniteMonitor(world, stage.device)
        self._resume()

        if options.compile:
            self.network.compile()  # in place: names in checkpoints stay as they are
        self._objective = world.wrap(_Objective(stage))
        self._batches = read_ahead(
            self._read,
            rank_slices(
                self.step, options.batch, passes=options.accumulate, rank=world.rank,
                ranks=world.size,
            ),
        )  # fmt: skip
        self.log: RunLog | None = None
        if world.is_main:
            checkpoint.save_config(stage.folder, stage.config)
            self.log = RunLog(stage.folder, self.step)
        self._clock, self._started, self._first_step = clock, clock(), self.step
        self._line_step = self.step
        self._seconds, self._rate, self._loss_note = self._seconds_before, 0.0, ""
        self.throughput, self._announced = Throughput(world, clock), False

    def _resume(self) -> None:
        if found := checkpoint.newest_checkpoint(self.stage.folder):
            state = checkpoint.load_state(found)
            self.step, self._seconds_before = state["step"], state["seconds"]
            self.means.restore(state.get("means", {}), self.stage.device)
            checkpoint.load_network(found, "network", self.network)
            checkpoint.load_network(found, "ema", self.ema.network)
            for name, optimiser in self.optimisers.items():
                checkpoint.load_optimiser(found, name, optimiser)
        last, first = self.world.all_reduce_max(self.step, -self.step)
        if last != -first:
            raise UserError(
                f"{self.stage.folder}: the processes found checkpoints of different steps"
                f" ({-first:.0f} to {last:.0f}); put the folder on storage that all of them share"
            )

    @property
    def progress(self) -> float:
        """Fraction of the budget used, 0 to 1 and beyond; seconds as the ranks last agreed."""
        return budget_progress(self.stage.options, self.step, self._seconds)

    def should_continue(self, received: int) -> bool:
        """Decide on another step; all ranks call this together and get the same answer.

        Args:
            received: number of the signal that asks this rank to stop, 0 for none.
        """
        seconds = self._seconds_before + self._clock() - self._started
        stopped_by, self._seconds = self.world.all_reduce_max(received, seconds)
        self.stopped_by = int(stopped_by)
        return not self.stopped_by and self.progress < 1

    def train_step(self) -> None:
        """Take one optimiser step."""
        options, world = self.stage.options, self.world
        scale = learning_rate_scale(options, self.step, self.progress)
        self._rate = scale * options.learning_rate
        for group in (g for optimiser in self.optimisers.values() for g in optimiser.param_groups):
            group["lr"] = scale * group["full_rate"]

        # Gradients: summed over the passes of a rank, then averaged over the ranks.
        self.network.zero_grad(set_to_none=True)
        watched = []
        for done in range(options.accumulate):
            with self.throughput.waiting():
                part, tensors = next(self._batches)
                batch = self.stage.prepare(on_device(tensors, self.stage.device), part)
            with sync_gradients(self._objective, now=done + 1 == options.accumulate):
                with autocast(self.stage.device):
                    losses = self._objective(batch, part)
                # The mean over the part's rows becomes its part of the mean over the batch.
                (losses["loss"] * (len(part) * world.size / part.total)).backward()
            self.means.add(losses, len(part))
            watched.append(losses["loss"])

        # Weights and their average.
        norm = nn.utils.clip_grad_norm_(self.network.parameters(), options.gradient_norm)
        for optimiser in self.optimisers.values():
            optimiser.step()
        self.ema.update(self.network, self.step)
        self.step += 1

        self.non_finite.watch(self.step, *watched, norm)
        self.means.add({"gradient_norm": norm}, 1)
        self.throughput.count(options.batch)

    def note(self) -> str:
        """Step, steps per second and the last logged loss, for the progress bar."""
        rate = (self.step - self._first_step) / max(self._clock() - self._started, 1e-9)
        return f"step {self.step}  {rate:.1f}/s{self._loss_note}"

    def announce(self) -> None:
        """Say once, after the first steps, how long a training of some length will take here."""
        seconds, taken = self._clock() - self._started, self.step - self._first_step
        if self._announced or seconds < _FIRST_SECONDS:
            return
        self._announced = True
        steps = self.stage.options.steps - self.step
        left = steps * seconds / taken
        by_steps = self.stage.options.seconds is None
        if self.world.is_main and by_steps and left > _WORTH_SAYING_SECONDS:
            console.print(
                f"{self.stage.title}: {steps:,} more steps, about {left / 60:.0f} minutes at the"
                f" rate of the first {taken:,} on this machine",
                markup=False,
            )

    def write_line(self) -> None:
        """Write a line of the log: means since the last one, rates and memory."""
        self._check_finite()
        memory = self.world.all_reduce_max(peak_memory(self.stage.device) / 1024**3)[0]
        line = self.means.pop() | {"lr": self._rate, "seconds": self._seconds}
        line |= self.throughput.pop() | {"memory_gib": memory}
        self._line_step, self._loss_note = self.step, f"  loss {line['loss']:.4f}"
        if self.log:
            self.log.scalars(self.step, line)

    def write_last_line(self) -> None:
        """Write what a finished stage has not logged: even the shortest one has a line."""
        if self.step > self._line_step and not self.stopped_by:
            self.write_line()

    def save(self) -> None:
        """Write a checkpoint, then the stage's preview."""
        self._check_finite()
        with self.throughput.paused():
            state = {"step": self.step, "seconds": self._seconds, "means": self.means.state()}
            if self.world.is_main:
                networks = {"network": self.network, "ema": self.ema.network}
                folder, keep = self.stage.folder, self.stage.options.keep
                checkpoint.save_checkpoint(folder, state, networks, self.optimisers, keep)
            self.world.barrier()
            if self.log and self.stage.options.preview and not self.stopped_by:
                self.stage.preview(self.ema.network, self.log, self.step)

    def close(self) -> None:
        """End the reading threads and close the log."""
        self._batches.close()
        if self.log:
            self.log.close()

    def _read(self, part: BatchSlice) -> tuple[BatchSlice, dict[str, Tensor]]:
        indices = part.indices(self.stage.clips, self.stage.seed)
        return part, self.stage.read(indices, pinned=self.stage.device.type == "cuda")

    def _check_finite(self) -> None:
        if (step := self.non_finite.first_step()) is None:
            return
        found = checkpoint.whole_checkpoints(self.stage.folder)
        last = f"the last good checkpoint is {found[-1]}" if found else "there is no checkpoint yet"
        raise UserError(
            f"{self.stage.title}: the loss or its gradient is not finite in step {step}; {last};"
            " the same command continues from there: give it a smaller learning_rate"
        )
