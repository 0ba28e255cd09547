"""Last part of stage `diffusion`: train the refining network on the denoiser's errors.

Real clips are noised, denoised in a few steps and decoded: imperfect, yet aligned with the truth.
Where frames are predicted from the first one, a window of them is refined in parallel. Where they
are predicted from the one before, the network stands in the loop: it runs up to a window, and
learns on the window from its own output for the frame before.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from shared.console import Progress
from shared.schema import LARGE
from shared.store.reader import ClipReader
from train.data.batches import BatchSlice, batch_at, generator_for
from train.data.clips import ClipBatch, normalise_frame, on_device, stored_frames
from train.diffusion.objective import guided, renoise_and_denoise
from train.models import build_denoiser
from train.models.critic import adversarial_losses
from train.models.denoiser import Denoiser
from train.models.refiner import Refiner
from train.recipe import Recipe
from train.run import RunFolder
from train.spaces.predicted import PredictedSpace, add_residual
from train.stages.encode import EncodedClips, load_encoded
from train.stages.texts import load_texts
from train.trainer.checkpoint import load_trained
from train.trainer.loop import Stage, fit
from train.trainer.monitor import autocast

WINDOW = 6
"""Consecutive frames of a clip in a training step."""

_WINDOW_IN_LOOP = 3
"""The same where the frames before must be refined first."""

POOL, _PART = 256, 16
"""Clips with the denoiser's errors to learn from, and clips in a batch when they are made."""


def train_refiner(recipe: Recipe, store: ClipReader, run: RunFolder, device: torch.device) -> None:
    """Train, or go on training, RUN/refiner; do nothing where the recipe has none."""
    if recipe.refiner is None:
        return
    encoded = load_encoded(recipe, store, run, device)
    labels, texts = len(store.attributes.labels), load_texts(recipe, run)[0]
    denoiser = build_denoiser(recipe.denoiser, encoded.space.denoiser_input, labels, texts)
    load_trained(run.diffusion, denoiser).to(device)
    pool, imperfect = _imperfect_pool(recipe, recipe.refiner.times, encoded, denoiser, device)
    torch.manual_seed(recipe.seed)
    refiner = Refiner(recipe.refiner).to(device)

    def read(indices: NDArray[np.int64], *, pinned: bool) -> dict[str, Tensor]:
        x0 = imperfect[torch.from_numpy(indices)]
        return {**encoded.clips.tensors(LARGE, pool[indices], pinned=pinned), "x0": x0}

    def loss(refiner: Refiner, tensors: dict[str, Tensor], part: BatchSlice) -> dict[str, Tensor]:
        x0 = tensors.pop("x0")
        # One window for the whole step, so that it is the same however its clips are split.
        generator = generator_for(recipe.seed, part.step)
        return _refining_loss(refiner, encoded, ClipBatch(**tensors), x0, generator)

    config = {
        "refiner": recipe.to_dict()["refiner"],
        "store": store.attributes.model_dump(mode="json"),
        "seed": recipe.seed,
    }
    stage = Stage(
        title="refiner",
        folder=run.refiner,
        network=refiner,
        clips=np.arange(len(pool)),
        seed=recipe.seed,
        read=read,
        loss=loss,
        config=config,
        options=recipe.refiner_training,
        device=device,
    )
    fit(stage)


@torch.no_grad()
def _imperfect_pool(
    recipe: Recipe,
    fractions: Sequence[float],
    encoded: EncodedClips,
    denoiser: Denoiser,
    device: torch.device,
) -> tuple[NDArray[np.int64], Tensor]:
    """Positions of training clips, and their x_0 with the denoiser's errors, (N, C, T-1, h, w).

    Computed once: a training step then costs no run of the denoiser.
    """
    pool = batch_at(0, encoded.clips.train, min(POOL, len(encoded.clips.train)), recipe.seed)
    times = [round(fraction * (recipe.noise.steps - 1)) for fraction in fractions]
    made = []
    with Progress().bar("clips to refine", len(pool), "clips") as bar:
        for index, indices in enumerate(np.array_split(pool, -(-len(pool) // _PART))):
            known = on_device(encoded.read(indices), device)
            denoise = guided(denoiser, encoded.space.conditions(known), 1.0)
            x0, generator = encoded.space.target(known), generator_for(recipe.seed, 0, index)
            with autocast(device):
                again = renoise_and_denoise(denoise, recipe.noise, x0, times, generator)
            made.append(again.cpu())
            bar(len(indices))
    return pool, torch.cat(made)


@dataclass(frozen=True)
class _Window:
    """L consecutive frames as the network takes them, in [-1, 1].

    Attributes:
        estimate, prediction, truth: shape (B, L, 3, H, W).
        before: the frame before the window, (B, 3, H, W), where frames are refined in parallel;
            the frame before each, (B, L, 3, H, W), where they are refined one by one.
        first: shape (B, 3, H, W).
    """

    estimate: Tensor
    prediction: Tensor
    truth: Tensor
    before: Tensor
    first: Tensor

    def passes(self, refiner: Refiner) -> list[Tensor]:
        """Refined windows, one a pass of the network, shape (B, L, 3, H, W)."""
        if self.before.ndim == self.first.ndim:
            return refiner(self.estimate, self.prediction, self.before, self.first)
        rows = (self.estimate, self.prediction)
        alone = (frames.flatten(0, 1)[:, None] for frames in rows)
        first = self.first.repeat_interleave(self.estimate.shape[1], dim=0)
        made = refiner(*alone, self.before.flatten(0, 1), first)
        return [frames.reshape(self.estimate.shape) for frames in made]


def _refining_loss(
    refiner: Refiner,
    encoded: EncodedClips,
    batch: ClipBatch,
    x0: Tensor,
    generator: torch.Generator,
) -> dict[str, Tensor]:
    assert isinstance(encoded.space, PredictedSpace)  # no other has a refining network
    at_once = encoded.space.store.reference == "first"
    length = min(x0.shape[2], WINDOW if at_once else _WINDOW_IN_LOOP)
    start = int(torch.randint(x0.shape[2] - length + 1, (), generator=generator))
    frames = slice(start, start + length)
    if at_once:
        window = _window_at_once(encoded, batch, x0, frames)
    else:
        window = _window_in_loop(encoded.space.with_refiner(refiner), batch, x0, frames)
    passes = window.passes(refiner)
    errors = [(result - window.truth).abs().mean() for result in passes]
    before = (window.estimate - window.truth).abs().mean()
    losses = {"loss": torch.stack(errors).sum(), "l1": errors[-1].detach(), "l1_before": before}
    if refiner.critic is None:
        return losses
    return losses | _with_critic(refiner, losses["loss"], passes[-1], window)


def _window_at_once(encoded: EncodedClips, batch: ClipBatch, x0: Tensor, frames: slice) -> _Window:
    """A window of frames predicted from the first one: only its own frames are decoded."""
    shown = replace(batch, motion=batch.motion[:, frames], residual=batch.residual[:, frames])
    decoded = encoded.space.decode(x0[:, :, frames], vars(batch))
    first = normalise_frame(batch.first_frame)
    return _Window(
        normalise_frame(decoded.frames[:, 1:]),
        normalise_frame(decoded.parts["prediction"]),
        normalise_frame(encoded.clips.frames(shown)[:, 1:]),
        first,
        first,
    )


def _window_in_loop(loop: PredictedSpace, batch: ClipBatch, x0: Tensor, frames: slice) -> _Window:
    """A window whose frames follow those that the current network made of the ones before."""
    decoded = loop.decode(x0[:, :, : frames.stop], vars(batch))
    prediction, residual = (decoded.parts[name][:, frames] for name in ("prediction", "residual"))
    truth = stored_frames(batch, loop.store)[:, 1:]
    return _Window(
        normalise_frame(add_residual(prediction, residual)),
        normalise_frame(prediction),
        normalise_frame(truth[:, frames]),
        normalise_frame(decoded.frames[:, frames]),  # frame n of the clip stands before n + 1
        normalise_frame(batch.first_frame),
    )


def _with_critic(
    refiner: Refiner, loss: Tensor, refined: Tensor, window: _Window
) -> dict[str, Tensor]:
    assert refiner.critic is not None
    truth, first = window.truth, window.first
    for_critic, verdict, matching = adversarial_losses(refiner.critic, refined, truth, first)
    options = refiner.options
    total = loss + options.adversarial_weight * verdict
    total = total + options.matching_weight * matching + for_critic
    return {
        "loss": total,
        "critic": for_critic.detach(),
        "verdict": verdict.detach(),
        "matching": matching.detach(),
    }
