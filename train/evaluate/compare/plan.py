"""Which runs a comparison consists of: pure, from options and what each system's clips cost."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from shared.errors import UserError
from train.evaluate.compare.systems import CompareOptions, System
from train.recipe import Recipe
from train.stages.autoencoder import FOLDER as AUTOENCODER
from train.stages.diffusion import FOLDER as DIFFUSION
from train.stages.latents import STATISTICS

Budget = Literal["flops", "steps"]
"""What a run has in common with the others of its table: operations, or optimiser steps."""

LEADING = "rgb"
"""The system whose number of steps at equal FLOPs is everyone's at equal steps."""

_LEARNED_FIRST = (AUTOENCODER, STATISTICS)


@dataclass(frozen=True)
class Run:
    """One training and the clips generated from it.

    Attributes:
        system: its row.
        budgets: the tables it belongs to.
        recipe: the system's, with this run's steps and seed.
        after: the run that has to be finished before, if any.
        takes: folders of that run which this one starts from.
    """

    system: System
    budgets: tuple[Budget, ...]
    recipe: Recipe
    after: str | None = None
    takes: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        """For its folder."""
        return _name(self.system, self.budgets[0], self.recipe.seed)

    @property
    def steps(self) -> int:
        """Of the denoiser."""
        return self.recipe.diffusion_training.steps


def plan_spaces(
    systems: list[System], options: CompareOptions, gflop: Mapping[str, float], seed: int
) -> list[Run]:
    """One seed of the table of spaces: each at equal FLOPs and at equal steps.

    Where both are the same number of steps, one run serves for both.

    Args:
        systems: of the table.
        options: of the comparison.
        gflop: forward and backward, of one clip, by system.
        seed: of weights, data order and noise.

    Raises:
        UserError: the budget is less than one step.
    """
    equal = equal_steps(options, gflop[LEADING])
    runs: list[Run] = []
    for system in systems:
        steps = equal_steps(options, gflop[system.name])
        budgets: tuple[Budget, ...] = ("flops", "steps") if steps == equal else ("flops",)
        long = _run(system, budgets, seed, steps)
        runs.append(long)
        if steps != equal:
            short = _run(system, ("steps",), seed, equal)
            takes = _LEARNED_FIRST if system.recipe.autoencoder else ()
            runs.append(replace(short, after=long.name if takes else None, takes=takes))
    return runs


def plan_codecs(
    systems: list[System], options: CompareOptions, gflop: Mapping[str, float], seed: int
) -> list[Run]:
    """One seed of the table within the codec, at equal FLOPs; arguments as of `plan_spaces`."""
    runs = []
    for system in systems:
        run = _run(system, ("flops",), seed, equal_steps(options, gflop[system.name]))
        if system.base is not None:
            base = next(other for other in systems if other.name == system.base)
            after = _name(base, "flops", seed)
            run = replace(run, after=after, takes=(*_LEARNED_FIRST, DIFFUSION))
        runs.append(run)
    return runs


def equal_steps(options: CompareOptions, gflop: float) -> int:
    """Steps that the budget pays for, of clips that cost so much each.

    Raises:
        UserError: not one.
    """
    steps = int(options.budget_tflop * 1000 / (gflop * options.batch))
    if not steps:
        raise UserError(
            f"--budget-tflop {options.budget_tflop:g} does not pay for one step of"
            f" {options.batch} clips of {gflop:.1f} GFLOP; give at least"
            f" {gflop * options.batch / 1000:.3g}"
        )
    return steps


def choose_clips(
    label: NDArray[np.int64],
    subject: NDArray[np.int64],
    test: NDArray[np.int64],
    per_label: int,
) -> NDArray[np.int64]:
    """The same number of test clips for every label, subjects taking turns.

    Args:
        label, subject: of all clips, shape (N,).
        test: positions of the test clips, sorted.
        per_label: how many.

    Returns:
        Positions, label by label.

    Raises:
        UserError: a label has fewer test clips.
    """
    chosen = []
    for turn, one in enumerate(np.unique(label[test][label[test] >= 0])):
        candidates = test[label[test] == one]
        if len(candidates) < per_label:
            raise UserError(
                f"--clips-a-label {per_label}: label {one} has {len(candidates)} test clips only"
            )
        order = candidates[_by_turns(subject[candidates])]
        chosen.append(np.roll(order, -turn)[:per_label])
    if not chosen:
        raise UserError("the stores have no labels; texts are what is compared")
    return np.concatenate(chosen)


def _by_turns(subject: NDArray[np.int64]) -> NDArray[np.int64]:
    """An order in which all subjects come once before one comes again."""
    seen: dict[int, int] = {}
    turns = []
    for one in subject.tolist():
        turns.append(seen.get(one, 0))
        seen[one] = turns[-1] + 1
    return np.lexsort((subject, np.array(turns)))


def _run(system: System, budgets: tuple[Budget, ...], seed: int, steps: int) -> Run:
    training = replace(system.recipe.diffusion_training, steps=steps)
    recipe = replace(system.recipe, seed=seed, diffusion_training=training)
    return Run(system, budgets, recipe)


def _name(system: System, budget: Budget, seed: int) -> str:
    return f"{system.name}-{budget}-seed{seed}"
