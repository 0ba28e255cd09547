"""Stage `refine`: train the network behind the decoder on the diffusion model's own mistakes.

Real clips are noised and denoised in one step, then decoded: imperfect, yet aligned with the truth.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from shared.console import console
from shared.store import Store
from train.data import normalise_frame
from train.denoise import guided, one_step
from train.loop import Stage, batch_at, fit, generator_for, trained
from train.models.refiner import Refiner
from train.noise import random_times
from train.recipe import Recipe
from train.stages.diffusion import FOLDER as DIFFUSION
from train.stages.diffusion import build_denoiser, conditions
from train.stages.encode import EncodedClips, load_encoded

FOLDER = "refiner"
_WINDOW = 6
"""Consecutive frames of a clip in a training step."""


def train_refiner(recipe: Recipe, store: Store, run: Path, device: torch.device) -> None:
    """Train, or go on training, RUN/refiner.

    Does nothing where the recipe has none, and says so where the store allows none: with frames
    predicted from the one before, refining would have to happen inside the loop.
    """
    if recipe.refiner is None:
        return
    if store.options.reference != "first":
        console.print(
            "no refining network: it needs a store whose frames are predicted from the first one"
            " (--reference first)"
        )
        return
    encoded = load_encoded(recipe, store, run, device)
    denoiser = build_denoiser(recipe, encoded.space.channels, store)
    trained(run / DIFFUSION, denoiser).to(device)
    torch.manual_seed(recipe.seed)
    refiner = Refiner(recipe.refiner).to(device)
    options = recipe.refiner_training

    def loss(step: int) -> dict[str, Tensor]:
        indices = batch_at(step, encoded.clips.train, options.batch, recipe.seed)
        generator = generator_for(recipe.seed, step)
        x0 = _imperfect(recipe, encoded, denoiser, indices, generator, device)
        return _refining_loss(refiner, encoded, indices, x0, generator, device)

    config = {
        "refiner": recipe.to_dict()["refiner"],
        "store": store.attributes.model_dump(mode="json"),
        "seed": recipe.seed,
    }
    fit(Stage("refiner", run / FOLDER, refiner, loss, config, options, device))


@torch.no_grad()
def _imperfect(
    recipe: Recipe,
    encoded: EncodedClips,
    denoiser: torch.nn.Module,
    indices: np.ndarray,
    generator: torch.Generator,
    device: torch.device,
) -> Tensor:
    label, first_frame = conditions(encoded, denoiser, indices, device)
    t = random_times(recipe.noise, len(indices), generator).to(device)
    denoise = guided(denoiser, label, first_frame, 1.0)
    return one_step(denoise, recipe.noise, encoded.targets(indices, device), t, generator)


def _refining_loss(
    refiner: Refiner,
    encoded: EncodedClips,
    indices: np.ndarray,
    x0: Tensor,
    generator: torch.Generator,
    device: torch.device,
) -> dict[str, Tensor]:
    batch = encoded.clips.batch(indices, device)
    decoded = encoded.space.decode(x0, batch.first_frame)
    start = int(torch.randint(max(1, x0.shape[2] - _WINDOW + 1), (), generator=generator))
    window = slice(start, start + _WINDOW)
    truth = normalise_frame(encoded.clips.frames(batch)[:, 1:][:, window])
    estimate = normalise_frame(decoded.frames[:, 1:][:, window])
    prediction = normalise_frame(decoded.parts["prediction"][:, window])
    passes = refiner(estimate, prediction, normalise_frame(batch.first_frame))
    errors = [(result - truth).abs().mean() for result in passes]
    before = (estimate - truth).abs().mean()
    return {"loss": torch.stack(errors).sum(), "l1": errors[-1].detach(), "l1_before": before}
