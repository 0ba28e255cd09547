"""Stage `distil`: a run that needs few sampling steps and no guidance, from one that needs many."""

from __future__ import annotations

import copy
from dataclasses import asdict
from functools import partial
from typing import Any

import torch
from torch import Tensor

from shared.console import console
from shared.errors import UserError
from shared.store.reader import ClipReader
from train.data.batches import BatchSlice
from train.diffusion.distillation import distillation_loss
from train.diffusion.objective import Denoise, guided
from train.diffusion.samplers import bounded
from train.models import build_denoiser
from train.models.autoencoder import weights_hash
from train.models.denoiser import Conditions, Denoiser
from train.recipe import Recipe, recipe_from_dict
from train.recipes import recipe_with
from train.run import RunFolder
from train.stages.diffusion import diffusion_config
from train.stages.encode import load_encoded
from train.stages.texts import load_texts
from train.trainer.checkpoint import load_config, load_trained
from train.trainer.loop import Stage, fit

SUBSTEPS = 4
"""Steps of the teacher in one of the student."""

_TRAINING = {"steps": 150, "seconds": None, "learning_rate": 3e-4, "warmup": 10}


def distilled_recipe(teacher: RunFolder, steps: int, overrides: list[str]) -> Recipe:
    """Recipe of the student: the teacher's with another sampler and a short training.

    Args:
        teacher: a trained run.
        steps: sampling steps of the student.
        overrides: of fields.

    Raises:
        UserError: the run was not trained, or its kind cannot be distilled.
    """
    named = f"--from {teacher.root}"
    load_config(teacher.diffusion, "give a run whose stage diffusion was trained")
    content = teacher.recipe()
    if content is None:
        raise UserError(f"{named}: no recipe.json in it; give a run that dvdm-train trained")
    if content.get("guide"):
        raise UserError(f"{named}: a run with a guide, of two networks, is not distilled")
    content["sampler"] |= {
        "name": "ddim", "steps": steps, "next_steps": None, "guidance": 1.0, "eta": 0.0
    }  # fmt: skip
    content["diffusion_training"] |= _TRAINING
    return recipe_with(content, overrides)


def copy_teacher(recipe: Recipe, store: ClipReader, run: RunFolder, device: torch.device) -> None:
    """Copy what the student shares with its teacher: all but the denoiser."""
    assert run.start is not None
    start = run.start
    shared = (start.texts, start.autoencoder, start.statistics, start.refiner, start.decoder)
    run.copy_missing(shared)


def train_distilled(
    recipe: Recipe, store: ClipReader, run: RunFolder, device: torch.device
) -> None:
    """Train, or go on training, RUN/diffusion from the denoiser of `run.start`."""
    assert run.start is not None
    content = run.start.recipe()
    assert content is not None
    sampler = recipe_from_dict(content).sampler
    encoded = load_encoded(recipe, store, run, device)
    space = encoded.space
    texts, identity = load_texts(recipe, run)
    labels = len(store.attributes.labels)

    student = build_denoiser(recipe.denoiser, space.denoiser_input, labels, texts)
    load_trained(run.start.diffusion, student).to(device)
    teacher, names = copy.deepcopy(student), tuple(recipe.dropout)
    student.train().requires_grad_(True)

    def teach(conditions: Conditions) -> Denoise:
        denoise = guided(teacher, conditions, sampler.guidance, names)
        return bounded(denoise, sampler, recipe.noise, space.raw, space.standardise)

    def loss(
        network: Denoiser, batch: tuple[Tensor, dict[str, Tensor]], part: BatchSlice
    ) -> dict[str, Tensor]:
        x0, conditions = batch
        return distillation_loss(
            network, teach(conditions), recipe.noise, x0, conditions,
            steps=recipe.sampler.steps, substeps=SUBSTEPS,
            generators=part.generators(recipe.seed, device),
        )  # fmt: skip

    taught: dict[str, Any] = {"weights": weights_hash(teacher), "sampler": asdict(sampler)}
    stage = Stage(
        title="distil",
        folder=run.diffusion,
        network=student,
        clips=encoded.clips.train,
        seed=recipe.seed,
        read=encoded.read,
        prepare=partial(encoded.prepare, recipe.seed, device),
        loss=loss,
        config=diffusion_config(recipe, store, encoded, identity)
        | {"teacher": taught, "substeps": SUBSTEPS},
        options=recipe.diffusion_training,
        device=device,
    )
    few = recipe.sampler.passes
    console.print(f"{sampler.passes} passes of the network a video become {few}")
    fit(stage)
