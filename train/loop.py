"""One training loop for every stage: budget, learning rate, EMA, log, checkpoints, resume.

All that is random in a step comes from seeds: see `train.share`.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any

import torch
from pydantic import Field
from pydantic.dataclasses import dataclass as options_dataclass
from torch import Tensor, nn

from shared.console import Progress
from shared.errors import UserError
from train import checkpoint
from train.ema import Ema
from train.log import RunLog
from train.machine import autocast
from train.optimisers import OptimiserName, make_optimisers
from train.options import STRICT
from train.share import Share

_BUDGET_PARTS = 1000
"""Of the progress bar: steps or seconds, whichever ends first."""


@options_dataclass(frozen=True, config=STRICT)
class TrainingOptions:
    """How long and how fast a stage learns."""

    steps: Annotated[int, Field(ge=1)] = 100_000
    """Optimiser steps at most."""
    seconds: Annotated[float, Field(gt=0)] | None = None
    """Wall-clock time at most; the learning rate follows whichever budget ends first."""
    batch: Annotated[int, Field(ge=1)] = 8
    """Clips in a step."""
    optimiser: OptimiserName = "adamw"
    learning_rate: Annotated[float, Field(gt=0)] = 1e-4
    """AdamW's; Muon's follows from it, see `train.optimisers`."""
    beta2: float = 0.999
    """Of AdamW's running mean of squared gradients; short runs want less."""
    warmup: Annotated[int, Field(ge=0)] = 100
    """Steps over which the learning rate rises."""
    decay: bool = False
    """Let the learning rate fall to zero along half a cosine."""
    weight_decay: float = 0.0
    ema: Annotated[float, Field(ge=0, lt=1)] = 0.999
    gradient_norm: float = 1.0
    """Gradients are clipped to this norm."""
    checkpoint_every: Annotated[int, Field(ge=1)] = 1000
    """Steps between checkpoints; one is written at the end in any case."""
    keep: Annotated[int, Field(ge=1)] = 2
    """Checkpoints kept."""
    log_every: Annotated[int, Field(ge=1)] = 10


@dataclass
class Stage:
    """What the loop is to train.

    Attributes:
        title: shown at the progress bar.
        folder: for checkpoints and logs.
        network: whose parameters are learned.
        load: a share's batch, whatever `loss` takes; the time it takes is logged as waiting.
        loss: (network, batch, share) to losses by name; `loss`, a mean over the share's rows, is
            minimised. Random numbers come from `share.generators`, a row each. A vector holds a
            number for each row, NaN where it says nothing of that row; its mean is logged.
        config: saved beside the checkpoints; must suffice to build the network again.
        options: budget and rates.
        device: where the network is.
        preview: (averaged network, log, step), called with each checkpoint.
    """

    title: str
    folder: Path
    network: nn.Module
    load: Callable[[Share], Any]
    loss: Callable[[Any, Any, Share], dict[str, Tensor]]
    config: dict[str, Any]
    options: TrainingOptions
    device: torch.device
    preview: Callable[[nn.Module, RunLog, int], None] = field(default=lambda *_: None)


def fit(stage: Stage) -> nn.Module:
    """Train a stage to the end of its budget, from its newest checkpoint if there is one.

    Returns:
        The averaged network.

    Raises:
        UserError: the folder holds a run with another config, or a loss is not finite.
    """
    _refuse_other_config(stage)
    checkpoint.save_config(stage.folder, stage.config)
    run = _Run(stage)
    log = RunLog(stage.folder)
    try:
        with Progress().bar(stage.title, _BUDGET_PARTS, "parts") as bar:
            while run.progress < 1:
                logs = run.step()
                bar.update(int(_BUDGET_PARTS * run.progress), note=run.note(logs))
                if run.steps_done % stage.options.log_every == 0:
                    log.scalars(run.steps_done, logs)
                if run.steps_done % stage.options.checkpoint_every == 0 and run.progress < 1:
                    run.save()
                    stage.preview(run.ema.network, log, run.steps_done)
        run.save()
        stage.preview(run.ema.network, log, run.steps_done)
    except KeyboardInterrupt:
        run.save()
        raise
    finally:
        log.close()
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


class _Run:
    """The moving parts of a training run."""

    def __init__(self, stage: Stage) -> None:
        self.stage, self.network = stage, stage.network
        self.ema = Ema(stage.network, stage.options.ema)
        self.optimisers = make_optimisers(
            stage.network,
            stage.options.optimiser,
            learning_rate=stage.options.learning_rate,
            beta2=stage.options.beta2,
            weight_decay=stage.options.weight_decay,
        )
        self.steps_done, self._seconds_before = 0, 0.0
        self._resume()
        self._started, self._steps_before = time.monotonic(), self.steps_done

    @property
    def seconds(self) -> float:
        """Time spent in this stage, earlier runs included."""
        return self._seconds_before + time.monotonic() - self._started

    @property
    def progress(self) -> float:
        """Share of the budget that is used, 0...1 and beyond."""
        options = self.stage.options
        by_time = self.seconds / options.seconds if options.seconds else 0.0
        return max(self.steps_done / options.steps, by_time)

    def step(self) -> dict[str, float]:
        """One optimiser step; returns what to log."""
        options = self.stage.options
        share = self._rate_share()
        for group in (g for o in self.optimisers.values() for g in o.param_groups):
            group["lr"] = share * group["full_rate"]
        whole = Share(self.steps_done, 0, options.batch, options.batch)
        batch = self.stage.load(whole)
        with autocast(self.stage.device):
            losses = self.stage.loss(self.network, batch, whole)
        if not bool(losses["loss"].isfinite()):
            raise UserError(
                f"{self.stage.title}: the loss is not finite at step {self.steps_done}; the last"
                " checkpoint is kept; try a smaller learning rate"
            )
        self.network.zero_grad(set_to_none=True)
        losses["loss"].backward()
        norm = nn.utils.clip_grad_norm_(self.network.parameters(), options.gradient_norm)
        for optimiser in self.optimisers.values():
            optimiser.step()
        self.ema.update(self.network, self.steps_done)
        self.steps_done += 1
        means = {name: float(value.detach().nanmean()) for name, value in losses.items()}
        logs = {name: mean for name, mean in means.items() if not math.isnan(mean)}
        return logs | {
            "gradient_norm": float(norm),
            "lr": share * options.learning_rate,
            "seconds": self.seconds,
        }

    def note(self, logs: dict[str, float]) -> str:
        """Steps, their rate and the loss, for the progress bar."""
        rate = (self.steps_done - self._steps_before) / (time.monotonic() - self._started)
        return f"step {self.steps_done}  {rate:.1f}/s  loss {logs['loss']:.4f}"

    def save(self) -> None:
        """Write a checkpoint."""
        checkpoint.save_checkpoint(
            self.stage.folder,
            {"step": self.steps_done, "seconds": self.seconds},
            {"network": self.network, "ema": self.ema.network},
            self.optimisers,
            self.stage.options.keep,
        )

    def _resume(self) -> None:
        found = checkpoint.checkpoints(self.stage.folder)
        if not found:
            return
        state = checkpoint.load_state(found[-1])
        self.steps_done, self._seconds_before = state["step"], state["seconds"]
        checkpoint.load_network(found[-1], "network", self.network)
        checkpoint.load_network(found[-1], "ema", self.ema.network)
        for name, optimiser in self.optimisers.items():
            checkpoint.load_optimiser(found[-1], name, optimiser)

    def _rate_share(self) -> float:
        """What part of the full learning rate this step takes."""
        options = self.stage.options
        rising = min(1.0, (self.steps_done + 1) / max(1, options.warmup))
        falling = 0.5 * (1 + math.cos(math.pi * min(1.0, self.progress))) if options.decay else 1.0
        return rising * falling


def _refuse_other_config(stage: Stage) -> None:
    if not (stage.folder / "config.json").exists():
        return
    remedy = "choose another --out, or delete that folder to train anew"
    found = checkpoint.load_config(stage.folder, remedy)
    differing = sorted(
        key for key in stage.config.keys() | found.keys() if stage.config.get(key) != found.get(key)
    )
    if differing:
        raise UserError(f"{stage.folder} holds a run with another {', '.join(differing)}; {remedy}")
