"""Plan a comparison: steps that a budget pays for, by each system's cost, and the runs in order."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal

import torch

from shared.errors import UserError
from train.evaluate.compare.systems import CompareOptions, System, TableName
from train.evaluate.cost import autoencoder_training_gflop, refiner_gflop, run_cost
from train.recipe import Recipe
from train.recipes import load_recipe
from train.stages.refiner import POOL
from train.trainer.schedule import TrainingOptions

REFERENCE_SYSTEM = "rgb"
"""The system whose steps at equal FLOPs are everyone's at equal steps."""


@dataclass(frozen=True)
class SystemCost:
    """Cost in GFLOP, two operations a multiply-accumulate.

    Attributes:
        parameters: of the denoiser, with its first-frame encoder.
        training: forward and backward pass of the denoiser on a clip, and its conditions where a
            network of the space makes them.
        sampling: of a clip: all steps of the sampler, decoding, and refining where there is a
            network for it.
        autoencoder: forward and backward pass of the autoencoder's loss on a clip's examples.
        latents: of all clips of the store, encoded once.
        refiner: forward and backward pass of the refining network on a window of a clip.
        errors: the denoiser's on the clips that the refining network learns from.
    """

    parameters: int
    training: float
    sampling: float
    autoencoder: float = 0.0
    latents: float = 0.0
    refiner: float = 0.0
    errors: float = 0.0


def system_cost(recipe: Recipe, clips: int, training: int) -> SystemCost:
    """Count on the clips that the recipe is designed for; the same on any machine.

    Args:
        recipe: of the system.
        clips: number in the store.
        training: number in its training split.
    """
    given, denoiser, autoencoder = run_cost(recipe, torch.device("cpu"))
    denoising = recipe.sampler.passes * denoiser.forward_gflop
    refining, of_window = refiner_gflop(recipe)
    times = len(recipe.refiner.times) if recipe.refiner else 0
    encoding = autoencoder.encode_gflop if autoencoder else 0.0
    decoding = autoencoder.decode_gflop if autoencoder else 0.0
    return SystemCost(
        denoiser.parameters,
        denoiser.gflop + given.conditions_gflop,
        denoising + given.conditions_gflop + decoding + refining,
        autoencoder_training_gflop(recipe),
        encoding * clips,
        of_window,
        denoiser.forward_gflop * times * min(POOL, training),
    )


def stage_tflop(recipe: Recipe, cost: SystemCost) -> dict[str, float]:
    """Training operations of each stage by name, 10^12; 0 of those that a recipe does not have."""

    def trained(a_clip: float, training: TrainingOptions) -> float:
        return a_clip * training.steps * training.batch

    gflop = {
        "autoencoder": trained(cost.autoencoder, recipe.autoencoder_training),
        "latents": cost.latents,
        "denoiser": trained(cost.training, recipe.diffusion_training),
        "refining network": trained(cost.refiner, recipe.refiner_training) + cost.errors,
    }
    return {stage: count / 1000 for stage, count in gflop.items()}


def stage_steps(
    system: System, recipe: Recipe, cost: SystemCost, options: CompareOptions
) -> dict[str, int]:
    """Steps of the stages that the budget pays for: `diffusion`, `autoencoder`, `refiner`.

    Where it pays for all stages, each gets the system's share of it; cached latents are paid for by
    the denoiser's.

    Args:
        system: of the table.
        recipe: that of the system in the comparison.
        cost: of the system.
        options: of the comparison, with the budget.

    Raises:
        UserError: it does not pay for one step of some stage.
    """
    shares = system.shares if options.count == "all" else {}
    # Of a clip in a step, and once.
    further = {"autoencoder": (cost.autoencoder, 0.0), "refiner": (cost.refiner, cost.errors)}
    stages = {"diffusion": (cost.training, cost.latents if options.count == "all" else 0.0)}
    stages |= {name: further[name] for name in shares}
    return {
        name: affordable_steps(
            options.budget_tflop,
            a_clip * _training(recipe, name).batch,
            f"{system.title}, {name}",
            part=shares.get(name, 1 - sum(shares.values())),
            once=once,
        )
        for name, (a_clip, once) in stages.items()
    }


def affordable_steps(
    budget_tflop: float, gflop: float, title: str, *, part: float = 1.0, once: float = 0.0
) -> int:
    """Training steps that a part of the budget pays for.

    Args:
        budget_tflop: in all.
        gflop: of a step.
        title: of what is trained, for the message.
        part: of the budget, 0...1.
        once: GFLOP besides the steps.

    Raises:
        UserError: not one.
    """
    steps = int((budget_tflop * part * 1000 - once) / gflop)
    if steps < 1:
        raise UserError(
            f"--budget-tflop {budget_tflop:g} does not pay for one step of {title}: {gflop:.1f}"
            f" GFLOP{f' and {once:.1f} before' if once else ''}; give at least"
            f" {(gflop + once) / part / 1000:.3g}"
        )
    return steps


def _training(recipe: Recipe, stage: str) -> TrainingOptions:
    training: TrainingOptions = getattr(recipe, f"{stage}_training")
    return training


@dataclass(frozen=True)
class Run:
    """One training, and the clips generated from it.

    Attributes:
        system: name of its system.
        budget: which other runs it has in common with: training operations, or optimiser steps.
        tables: that its scores go into.
        recipe, overrides: as `dvdm-train` takes them.
        store: path of the store.
        seed: of weights, data order and noise.
        steps: of the denoiser's training.
        after: name of the run from which it copies what it need not learn again, if any.
        takes_denoiser: whether that includes the denoiser.
    """

    system: str
    budget: Literal["flops", "steps"]
    tables: tuple[TableName, ...]
    recipe: str
    overrides: tuple[str, ...]
    store: str
    seed: int
    steps: int
    after: str | None = None
    takes_denoiser: bool = False

    @property
    def name(self) -> str:
        """Name of its folder."""
        return f"{self.system}-{self.budget}-seed{self.seed}"

    def load_recipe(self) -> Recipe:
        """Recipe with this run's overrides, seed and steps."""
        own = [f"seed={self.seed}", f"diffusion_training.steps={self.steps}"]
        if load_recipe(self.recipe, []).guide is not None:  # both denoisers take as many steps
            own += [f"guide.{change}" for change in own]
        return load_recipe(self.recipe, [*self.overrides, *own])


_QUICK_GFLOP = 20
"""Systems that cost less than this to train on a clip are also sampled quickly."""


def plan_runs(
    table: Mapping[str, System],
    settings: Mapping[str, tuple[str, ...]],
    stores: Mapping[str, str],
    gflop: Mapping[str, float],
    steps: Mapping[str, int],
    options: CompareOptions,
) -> list[Run]:
    """Plan every system's runs at equal FLOPs and, where they differ in steps, at equal steps.

    The order, seed by seed and quick systems first, decides what can be looked at soon.

    Args:
        table: of the selected systems.
        settings: overrides of each.
        stores: path of the store of each.
        gflop: of training on one clip, of each.
        steps: of the denoiser at equal FLOPs, of each and of `REFERENCE_SYSTEM`.
        options: of the comparison.
    """
    equal, runs = steps[REFERENCE_SYSTEM], list[Run]()
    spaces = options.seeds
    steps_seeds = spaces if options.count == "denoiser" else 0
    seeds = {"equal_flops": spaces, "equal_steps": steps_seeds, "codec": options.codec_seeds}
    for seed in range(max(seeds.values())):
        for name, system in table.items():
            tables = [each for each in system.tables if seed < seeds[each]]
            # Where both budgets are the same number of steps, one run serves for both.
            short = "equal_steps" in tables and steps[name] != equal
            of_long = tuple(each for each in tables if each != "equal_steps" or not short)
            # A budget for all stages leaves each system other steps of every network.
            base = system.starts_from if options.count == "denoiser" else None
            run = Run(
                name, "flops", of_long, system.recipe, settings[name], stores[name], seed,
                steps[name],
                after=f"{base}-flops-seed{seed}" if base else None, takes_denoiser=bool(base),
            )  # fmt: skip
            runs += [run] if tables else []
            if short:
                own: dict[str, Any] = {"budget": "steps", "tables": ("equal_steps",)}
                runs.append(replace(run, **own, steps=equal, after=run.name))
    return sorted(runs, key=lambda run: (run.seed, gflop[run.system] > _QUICK_GFLOP))
