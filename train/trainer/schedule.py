"""How long a stage learns, and how fast: steps or seconds, and the learning rate's course."""

from __future__ import annotations

import math
from typing import Annotated

from pydantic import Field
from pydantic.dataclasses import dataclass

from train.options import STRICT
from train.trainer.optimisers import OptimiserName


@dataclass(frozen=True, config=STRICT)
class TrainingOptions:
    """How long and how fast a stage learns."""

    steps: Annotated[int, Field(ge=1)] = 100_000
    """Optimiser steps at most."""
    seconds: Annotated[float, Field(gt=0)] | None = None
    """Wall-clock time at most; the learning rate follows whichever budget ends first."""
    batch: Annotated[int, Field(ge=1)] = 8
    """Clips in a step, over all processes."""
    accumulate: Annotated[int, Field(ge=1)] = 1
    """Passes in which each process takes its clips of a step: less memory, the same gradient."""
    compile: bool = False
    """Let torch compile the network: minutes at first, faster steps then."""
    optimiser: OptimiserName = "adamw"
    learning_rate: Annotated[float, Field(gt=0)] = 1e-4
    """AdamW's; Muon's follows from it, see `train.trainer.optimisers`."""
    beta2: Annotated[float, Field(ge=0, lt=1)] = 0.999
    """Of AdamW's running mean of squared gradients; short runs want less."""
    warmup: Annotated[int, Field(ge=0)] = 100
    """Steps over which the learning rate rises."""
    decay: bool = False
    """Let the learning rate fall to zero along half a cosine."""
    weight_decay: Annotated[float, Field(ge=0)] = 0.0
    ema: Annotated[float, Field(ge=0, lt=1)] = 0.999
    gradient_norm: Annotated[float, Field(gt=0)] = 1.0
    """Gradients are clipped to this norm."""
    checkpoint_every: Annotated[int, Field(ge=1)] = 1000
    """Steps between checkpoints; one is written at the end in any case."""
    keep: Annotated[int, Field(ge=1)] = 2
    """Checkpoints kept."""
    preview: bool = True
    """Show with each checkpoint what the network can do, where the stage has something to show."""
    log_every: Annotated[int, Field(ge=1)] = 10
    """Steps between lines of the log; each line holds means since the one before."""


def budget_progress(options: TrainingOptions, steps: int, seconds: float) -> float:
    """BatchSlice of the budget that is used, 0...1 and beyond, after so many steps and seconds."""
    by_time = seconds / options.seconds if options.seconds else 0.0
    return max(steps / options.steps, by_time)


def learning_rate_scale(options: TrainingOptions, step: int, progress: float) -> float:
    """What part of the full learning rate step `step` (from 0) takes.

    It follows the steps alone, and a resumed run equals an undisturbed one, unless `decay` comes
    with a budget of seconds.
    """
    rising = min(1.0, (step + 1) / max(1, options.warmup))
    falling = 0.5 * (1 + math.cos(math.pi * min(1.0, progress))) if options.decay else 1.0
    return rising * falling
