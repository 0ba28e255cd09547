"""One training loop for every stage: shares, gradients, EMA, log, checkpoints, resume.

All that is random in a step comes from seeds: see `train.data.batches`. A run that was stopped, killed or
met a number that is not finite goes on from its newest checkpoint as if nothing had happened.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from shared.console import Progress
from shared.errors import UserError
from train.data.batches import BatchSlice, split_batch
from train.trainer import checkpoint
from train.trainer.checkpoint import check_same_config
from train.trainer.distributed import World, sync_gradients, world
from train.trainer.monitor import Means, NonFiniteMonitor, RunLog, Throughput, autocast, peak_memory
from train.trainer.optimisers import Ema, make_optimisers
from train.trainer.schedule import TrainingOptions, budget_progress, learning_rate_scale
from train.trainer.signals import StoppedError, StopSignals

_BUDGET_PARTS = 1000
"""Of the progress bar: steps or seconds, whichever ends first."""


@dataclass
class Stage:
    """What the loop is to train.

    Attributes:
        title: shown at the progress bar.
        folder: for checkpoints and logs.
        network: whose parameters are learned.
        load: a share's batch, whatever `loss` takes; the time it takes is logged as waiting.
        loss: (network, batch, part) to losses by name; `loss`, a mean over the share's rows, is
            minimised. Random numbers come from `part.generators`, a row each. A vector holds a
            number for each row, NaN where it says nothing of that row; its mean is logged.
        config: saved beside the checkpoints; must suffice to build the network again.
        options: budget and rates.
        device: where the network is.
        preview: (averaged network, log, step), called with each checkpoint, by rank 0.
    """

    title: str
    folder: Path
    network: nn.Module
    load: Callable[[BatchSlice], Any]
    loss: Callable[[Any, Any, BatchSlice], dict[str, Tensor]]
    config: dict[str, Any]
    options: TrainingOptions
    device: torch.device
    preview: Callable[[nn.Module, RunLog, int], None] = field(default=lambda *_: None)


def fit(stage: Stage) -> nn.Module:
    """Train a stage to the end of its budget, from its newest checkpoint if there is one.

    Returns:
        The averaged network.

    Raises:
        UserError: the folder holds a run with another config, the batch is too small to be shared
            out, or a loss or its gradient is not finite.
        StoppedError: SIGINT or SIGTERM came; all is saved.
    """
    check_same_config(stage.folder, stage.config)
    run = _Run(stage, world())
    with StopSignals() as signals, Progress().bar(stage.title, _BUDGET_PARTS, "parts") as bar:
        try:
            while run.goes_on(signals.received):
                run.step()
                bar.update(int(_BUDGET_PARTS * run.progress), note=run.note())
                run.record()
            run.save()
            run.goes_on(signals.received)  # a signal may have come meanwhile
        finally:
            run.close()
    if run.stopped_by:
        raise StoppedError(run.stopped_by)
    return run.ema.network


def trained(folder: Path, network: nn.Module) -> nn.Module:
    """Fill a network with the averaged weights of a stage's newest checkpoint.

    Raises:
        UserError: the stage has none.
    """
    found = checkpoint.checkpoints(folder)
    if not found:
        raise UserError(f"no checkpoint in {folder}: its training did not get that far")
    checkpoint.load_network(found[-1], "ema", network)
    return network.eval().requires_grad_(False)


class _Objective(nn.Module):
    """A stage's loss as a module.

    What `World.wrap` adds then surrounds the loss itself, and a loss may call whatever methods its
    network has.
    """

    def __init__(self, stage: Stage) -> None:
        super().__init__()
        self.network, self.loss = stage.network, stage.loss

    def forward(self, batch: Any, part: BatchSlice) -> dict[str, Tensor]:
        return self.loss(self.network, batch, part)


class _Run:
    """The moving parts of a training run."""

    def __init__(self, stage: Stage, world: World) -> None:
        self.stage, self.world, self.network = stage, world, stage.network
        self._refuse_small_batch()
        world.broadcast_weights(stage.network)
        self.ema = Ema(stage.network, stage.options.ema)
        self.optimisers = make_optimisers(
            stage.network,
            stage.options.optimiser,
            learning_rate=stage.options.learning_rate,
            beta2=stage.options.beta2,
            weight_decay=stage.options.weight_decay,
        )
        self.means, self.guard = Means(world), NonFiniteMonitor(world, stage.device)
        self.steps_done, self._seconds_before, self.stopped_by = 0, 0.0, 0
        self._resume()
        if stage.options.compile:
            self.network.compile()  # in place: names in checkpoints stay as they are
        self._objective = world.wrap(_Objective(stage))
        self.log = self._open_log()
        self._started, self._steps_before = time.monotonic(), self.steps_done
        self._seconds, self._rate, self._last_loss = self._seconds_before, 0.0, ""
        self.pace = Throughput(world)

    @property
    def progress(self) -> float:
        """BatchSlice of the budget that was used when the ranks last agreed, 0...1 and beyond."""
        return budget_progress(self.stage.options, self.steps_done, self._seconds)

    def goes_on(self, received: int) -> bool:
        """Whether to take another step: all ranks call this, and all get the same answer.

        Args:
            received: the signal that asks this rank to stop, 0 for none.
        """
        own = self._seconds_before + time.monotonic() - self._started
        stopped_by, self._seconds = self.world.all_reduce_max(received, own)
        self.stopped_by = int(stopped_by)
        return not self.stopped_by and self.progress < 1

    def step(self) -> None:
        """One optimiser step."""
        options = self.stage.options
        self._set_rate(learning_rate_scale(options, self.steps_done, self.progress))
        self.network.zero_grad(set_to_none=True)
        losses = self._pass_shares()
        norm = nn.utils.clip_grad_norm_(self.network.parameters(), options.gradient_norm)
        for optimiser in self.optimisers.values():
            optimiser.step()
        self.ema.update(self.network, self.steps_done)
        self.steps_done += 1
        self.guard.watch(self.steps_done, *losses, norm)
        self.means.add({"gradient_norm": norm}, 1)
        self.pace.count(options.batch)

    def record(self) -> None:
        """A line of the log and a checkpoint, where they are due."""
        options = self.stage.options
        if self.steps_done % options.log_every == 0:
            self._write_line()
        if self.steps_done % options.checkpoint_every == 0 and self.progress < 1:
            self.save()

    def note(self) -> str:
        """Steps, their rate and the loss when it was last known, for the progress bar."""
        rate = (self.steps_done - self._steps_before) / (time.monotonic() - self._started)
        return f"step {self.steps_done}  {rate:.1f}/s{self._last_loss}"

    def save(self) -> None:
        """Write a checkpoint, and show what the network can do."""
        self._refuse_not_finite()
        with self.pace.paused():
            state = {
                "step": self.steps_done, "seconds": self._seconds, "means": self.means.state(),
            }  # fmt: skip
            if self.world.is_main:
                networks = {"network": self.network, "ema": self.ema.network}
                folder, keep = self.stage.folder, self.stage.options.keep
                checkpoint.save_checkpoint(folder, state, networks, self.optimisers, keep)
            self.world.barrier()
            if self.log and self.stage.options.preview and not self.stopped_by:
                self.stage.preview(self.ema.network, self.log, self.steps_done)

    def close(self) -> None:
        """Close the log."""
        if self.log:
            self.log.close()

    def _pass_shares(self) -> list[Tensor]:
        """Add up the gradients of this rank's shares; returns their losses."""
        options, world = self.stage.options, self.world
        pieces = split_batch(self.steps_done, options.batch, world.size * options.accumulate)
        own = pieces[world.rank * options.accumulate :][: options.accumulate]
        return [self._pass(part, last=part is own[-1]) for part in own]

    def _pass(self, part: BatchSlice, last: bool) -> Tensor:
        with self.pace.waiting():
            batch = self.stage.load(part)
        with sync_gradients(self._objective, now=last):
            with autocast(self.stage.device):
                losses = self._objective(batch, part)
            # Gradients are averaged over the ranks, and summed over the shares of each.
            weight = len(part) * self.world.size / part.total
            (losses["loss"] * weight).backward()
        self.means.add(losses, len(part))
        return losses["loss"]

    def _set_rate(self, scale: float) -> None:
        self._rate = scale * self.stage.options.learning_rate
        for group in (g for o in self.optimisers.values() for g in o.param_groups):
            group["lr"] = scale * group["full_rate"]

    def _write_line(self) -> None:
        self._refuse_not_finite()
        line = self.means.take() | {"lr": self._rate, "seconds": self._seconds} | self.pace.take()
        line["memory_gib"] = self.world.all_reduce_max(peak_memory(self.stage.device) / 1024**3)[0]
        self._last_loss = f"  loss {line['loss']:.4f}"
        if self.log:
            self.log.scalars(self.steps_done, line)

    def _refuse_not_finite(self) -> None:
        if (step := self.guard.first()) is None:
            return
        found = checkpoint.checkpoints(self.stage.folder)
        last = f"the last good checkpoint is {found[-1]}" if found else "there is no checkpoint yet"
        raise UserError(
            f"{self.stage.title}: the loss or its gradient is not finite in step {step}; {last};"
            " the same command goes on from there: give it a smaller learning_rate"
        )

    def _refuse_small_batch(self) -> None:
        options, size = self.stage.options, self.world.size
        if options.batch < size * options.accumulate:
            raise UserError(
                f"{self.stage.title}: batch is {options.batch}; {size} processes that accumulate"
                f" {options.accumulate} passes need {size * options.accumulate} at least"
            )

    def _resume(self) -> None:
        found = checkpoint.checkpoints(self.stage.folder)
        if found:
            state = checkpoint.load_state(found[-1])
            self.steps_done, self._seconds_before = state["step"], state["seconds"]
            self.means.restore(state.get("means", {}), self.stage.device)
            checkpoint.load_network(found[-1], "network", self.network)
            checkpoint.load_network(found[-1], "ema", self.ema.network)
            for name, optimiser in self.optimisers.items():
                checkpoint.load_optimiser(found[-1], name, optimiser)
        most, least = self.world.all_reduce_max(self.steps_done, -self.steps_done)
        if most != -least:
            raise UserError(
                f"{self.stage.folder}: the processes see different checkpoints, of steps"
                f" {-least:.0f} and {most:.0f}; it must be on storage that all of them share"
            )

    def _open_log(self) -> RunLog | None:
        if not self.world.is_main:
            return None
        checkpoint.save_config(self.stage.folder, self.stage.config)
        return RunLog(self.stage.folder, self.steps_done)
