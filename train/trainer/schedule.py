"""Length of a training, in steps or seconds, and the course of its learning rate."""

from __future__ import annotations

import math
from typing import Annotated, Literal

from pydantic import Field
from pydantic.dataclasses import dataclass

from train.options import STRICT

OptimiserName = Literal["adamw", "muon"]


@dataclass(frozen=True, config=STRICT)
class TrainingOptions:
    """Budget, batch, optimiser and checkpoints of a stage."""

    steps: Annotated[int, Field(ge=1)] = 100_000
    """Optimiser steps at most."""
    seconds: Annotated[float, Field(gt=0)] | None = None
    """Wall-clock seconds at most; the learning rate follows the budget that ends first."""
    batch: Annotated[int, Field(ge=1)] = 8
    """Clips in a step, over all processes."""
    accumulate: Annotated[int, Field(ge=1)] = 1
    """Passes in which each process takes its clips of a step: less memory, the same gradient."""
    compile: bool = False
    """Compile the network with torch: minutes at first, faster steps then."""
    optimiser: OptimiserName = "adamw"
    learning_rate: Annotated[float, Field(gt=0)] = 1e-4
    """AdamW's; Muon's is a multiple of it (`train.trainer.optimisers`)."""
    beta1: Annotated[float, Field(ge=0, lt=1)] = 0.9
    """Decay of AdamW's running mean of gradients."""
    beta2: Annotated[float, Field(ge=0, lt=1)] = 0.999
    """Decay of AdamW's running mean of squared gradients; short runs want less."""
    warmup: Annotated[int, Field(ge=0)] = 100
    """Steps over which the learning rate rises."""
    decay: bool = False
    """Let the learning rate fall to zero along half a cosine."""
    rate_steps: tuple[
        tuple[Annotated[float, Field(ge=0, le=1)], Annotated[float, Field(ge=0)]], ...
    ] = ()
    """(progress, factor) points: from that fraction of the budget on, the rate times the factor."""
    weight_decay: Annotated[float, Field(ge=0)] = 0.0
    """AdamW's weight decay, decoupled from the gradient."""
    ema: Annotated[float, Field(ge=0, lt=1)] = 0.999
    """Decay of the moving average of the weights; 0 for none."""
    gradient_norm: Annotated[float, Field(gt=0)] = 1.0
    """Gradients are clipped to this norm."""
    checkpoint_every: Annotated[int, Field(ge=1)] = 1000
    """Steps between checkpoints; one is written at the end in any case."""
    keep: Annotated[int, Field(ge=1)] = 2
    """Number of checkpoints kept, the newest."""
    preview: bool = True
    """Log examples of the network's output with each checkpoint, in stages that have any."""
    log_every: Annotated[int, Field(ge=1)] = 10
    """Steps between lines of the log; each line holds means since the one before."""


def budget_progress(options: TrainingOptions, steps: int, seconds: float) -> float:
    """Fraction of the budget that steps and seconds have used: 0 to 1, and beyond."""
    return max(steps / options.steps, seconds / (options.seconds or math.inf))


def learning_rate_scale(options: TrainingOptions, step: int, progress: float) -> float:
    """Factor of the learning rate in step `step` (from 0), at a fraction `progress` of the budget.

    It depends on the step alone, and a resumed run equals an undisturbed one, unless `decay` or
    `rate_steps` comes with a budget of seconds.
    """
    warmup = min(1.0, (step + 1) / max(1, options.warmup))
    cosine = 0.5 * (1 + math.cos(math.pi * min(1.0, progress))) if options.decay else 1.0
    reached = [point for point in options.rate_steps if point[0] <= progress]
    return warmup * cosine * (max(reached)[1] if reached else 1.0)
