"""Stage `refine`: train the network behind the decoder on the diffusion model's own mistakes.

Real clips are noised, denoised in a few steps and decoded: imperfect, yet aligned with the truth.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from shared.console import Progress, console
from shared.reader import ClipReader
from train.data import ClipBatch, normalise_frame
from train.denoise import denoised_again, guided
from train.loop import Stage, fit, trained
from train.models.critic import adversarial_losses
from train.models.refiner import Refiner
from train.recipe import Recipe
from train.share import Share, batch_at, generator_for
from train.stages.diffusion import FOLDER as DIFFUSION
from train.stages.diffusion import build_denoiser, conditions
from train.stages.encode import EncodedClips, load_encoded

FOLDER = "refiner"
_WINDOW = 6
"""Consecutive frames of a clip in a training step."""

_POOL, _PART = 256, 16
"""Clips with mistakes to learn from, and how many are made at once."""

_TIMES = (0.5, 0.3, 0.1)
"""Where the clips are denoised again, as shares of the noise steps. From higher up, limbs come back
in other places than they were, and the network learns to smear between the two."""


def train_refiner(recipe: Recipe, store: ClipReader, run: Path, device: torch.device) -> None:
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
    denoiser = build_denoiser(recipe, encoded.space, store.attributes)
    trained(run / DIFFUSION, denoiser).to(device)
    pool, imperfect = _imperfect_pool(recipe, encoded, denoiser, device)
    torch.manual_seed(recipe.seed)
    refiner = Refiner(recipe.refiner).to(device)

    def load(share: Share) -> tuple[ClipBatch, Tensor]:
        picked = share.indices(np.arange(len(pool)), recipe.seed)
        x0 = imperfect[torch.from_numpy(picked)].to(device)
        return encoded.clips.batch(pool[picked], device), x0

    def loss(refiner: Refiner, loaded: tuple[ClipBatch, Tensor], share: Share) -> dict[str, Tensor]:
        # One window for the whole step, so that it is the same however its clips are shared out.
        generator = generator_for(recipe.seed, share.step)
        return _refining_loss(refiner, encoded, *loaded, generator)

    config = {
        "refiner": recipe.to_dict()["refiner"],
        "store": store.attributes.model_dump(mode="json"),
        "seed": recipe.seed,
    }
    options = recipe.refiner_training
    fit(Stage("refiner", run / FOLDER, refiner, load, loss, config, options, device))


@torch.no_grad()
def _imperfect_pool(
    recipe: Recipe,
    encoded: EncodedClips,
    denoiser: nn.Module,
    device: torch.device,
) -> tuple[NDArray[np.int64], Tensor]:
    """Some training clips, and their x_0 with the denoiser's mistakes; shape (N, C, T-1, h, w).

    Made once: a step of refining then costs no run of the denoiser.
    """
    pool = batch_at(0, encoded.clips.train, min(_POOL, len(encoded.clips.train)), recipe.seed)
    times = [round(share * (recipe.noise.steps - 1)) for share in _TIMES]
    made = []
    with Progress().bar("clips to refine", len(pool), "clips") as bar:
        for part, indices in enumerate(np.array_split(pool, -(-len(pool) // _PART))):
            label, first_frame = conditions(encoded, denoiser, indices, device)
            denoise = guided(denoiser, label, first_frame, 1.0)
            x0, generator = encoded.targets(indices, device), generator_for(recipe.seed, 0, part)
            made.append(denoised_again(denoise, recipe.noise, x0, times, generator).cpu())
            bar(len(indices))
    return pool, torch.cat(made)


def _refining_loss(
    refiner: Refiner,
    encoded: EncodedClips,
    batch: ClipBatch,
    x0: Tensor,
    generator: torch.Generator,
) -> dict[str, Tensor]:
    start = int(torch.randint(max(1, x0.shape[2] - _WINDOW + 1), (), generator=generator))
    window = slice(start, start + _WINDOW)
    # Frames predicted from the first one decode alone: only those of the window are needed.
    shown = replace(batch, motion=batch.motion[:, window], residual=batch.residual[:, window])
    decoded = encoded.space.decode(x0[:, :, window], batch.first_frame)
    truth = normalise_frame(encoded.clips.frames(shown)[:, 1:])
    estimate = normalise_frame(decoded.frames[:, 1:])
    prediction = normalise_frame(decoded.parts["prediction"])
    first = normalise_frame(batch.first_frame)
    passes = refiner(estimate, prediction, first)
    errors = [(result - truth).abs().mean() for result in passes]
    before = (estimate - truth).abs().mean()
    losses = {"loss": torch.stack(errors).sum(), "l1": errors[-1].detach(), "l1_before": before}
    if refiner.critic is None:
        return losses
    for_critic, verdict, matching = adversarial_losses(refiner.critic, passes[-1], truth, first)
    options = refiner.options
    total = losses["loss"] + options.adversarial_weight * verdict
    total = total + options.matching_weight * matching + for_critic
    return losses | {
        "loss": total,
        "critic": for_critic.detach(),
        "verdict": verdict.detach(),
        "matching": matching.detach(),
    }
