"""Stage `diffusion`: train the denoiser in the target space."""

from __future__ import annotations

from dataclasses import asdict
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from shared.errors import UserError
from shared.report.pictures import contact_sheet, evenly_spaced
from shared.store.reader import ClipReader
from train.data.batches import BatchSlice, generator_for
from train.diffusion.objective import diffusion_loss, guided
from train.diffusion.samplers import sample
from train.models import build_denoiser
from train.models.denoiser import Denoiser
from train.models.text_encoder import TextIdentity
from train.recipe import Recipe
from train.run import RunFolder
from train.stages.encode import EncodedClips, load_encoded
from train.stages.previews import Preview, save_preview
from train.stages.texts import load_texts
from train.trainer.loop import Stage, fit
from train.trainer.monitor import RunLog, autocast

_SAVED = (
    "space", "autoencoder", "denoiser", "noise", "label_dropout", "sampler", "split", "seed",
)  # fmt: skip
_SAVED_IF_SET = ("condition_dropout",)  # earlier runs do not have them

_PREVIEW_CLIPS = 4


def train_diffusion(
    recipe: Recipe, store: ClipReader, run: RunFolder, device: torch.device
) -> None:
    """Train, or go on training, RUN/diffusion."""
    encoded = load_encoded(recipe, store, run, device)
    space = encoded.space
    shapes = space.denoiser_input
    conditions = dict(shapes.conditions)
    if unknown := recipe.dropout.keys() - conditions.keys():
        raise UserError(
            f"condition_dropout: {', '.join(sorted(unknown))} is no condition of the space"
            f" {recipe.space.kind!r}; it has: {', '.join(conditions)}"
        )
    texts, identity = load_texts(recipe, run)
    torch.manual_seed(recipe.seed)
    labels = len(store.attributes.labels)
    network = build_denoiser(recipe.denoiser, shapes, labels, texts).to(device)

    def loss(
        network: Denoiser, batch: tuple[Tensor, dict[str, Tensor]], part: BatchSlice
    ) -> dict[str, Tensor]:
        return diffusion_loss(
            network,
            recipe.noise,
            *batch,
            dropout=recipe.dropout,
            generators=part.generators(recipe.seed, device),
        )

    def preview(averaged: nn.Module, log: RunLog, step: int) -> None:
        shown = preview_clips(recipe, encoded, averaged, device, step)
        films = [film for pair in zip(shown.real, shown.generated, strict=True) for film in pair]
        log.picture(step, "generated", contact_sheet(films))
        log.video(step, "generated_video", shown.columns())
        save_preview(run.diffusion, shown)

    stage = Stage(
        title="diffusion",
        folder=run.diffusion,
        network=network,
        clips=encoded.clips.train,
        seed=recipe.seed,
        read=encoded.read,
        prepare=partial(encoded.prepare, recipe.seed, device),
        loss=loss,
        config=diffusion_config(recipe, store, encoded, identity),
        options=recipe.diffusion_training,
        device=device,
        preview=preview,
    )
    fit(stage)


def diffusion_config(
    recipe: Recipe, store: ClipReader, encoded: EncodedClips, texts: TextIdentity | None
) -> dict[str, Any]:
    """All that sampling needs besides the weights, as JSON holds it."""
    return saved_fields(recipe.to_dict()) | {
        "store": store.attributes.model_dump(mode="json"),
        "text_encoder": None if texts is None else asdict(texts),
        "statistics": {n: list(v) for n, v in asdict(encoded.space.statistics).items()},
        "latents": encoded.space.identity,
    }


def saved_fields(content: dict[str, Any]) -> dict[str, Any]:
    """Fields that the diffusion stage saves, all that sampling needs, of a recipe or a config."""
    further = [name for name in _SAVED_IF_SET if content.get(name)]
    return {name: content[name] for name in (*_SAVED, *further)}


def preview_clips(
    recipe: Recipe, encoded: EncodedClips, network: Any, device: torch.device, step: int
) -> Preview:
    """Test clips, and clips generated from their first frames with the same seeds at each step."""
    test, space = encoded.clips.test, encoded.space
    indices = test[evenly_spaced(len(test), _PREVIEW_CLIPS)]
    batch = encoded.clips.batch(indices, device)
    known = {name: value.to(device) for name, value in encoded.read(indices).items()}
    generator = generator_for(recipe.seed, 0)
    noise = torch.randn(len(indices), *space.shape, generator=generator).to(device)
    names = tuple(recipe.dropout)
    denoise = guided(network, space.conditions(known), recipe.sampler.guidance, names)
    with autocast(device):
        x0 = sample(denoise, noise, recipe.sampler, recipe.noise, generator)
        decoded = space.decode(x0, known)
    return Preview(
        step,
        batch.label.cpu().numpy(),
        encoded.clips.frames(batch).cpu().numpy(),
        decoded.frames.cpu().numpy(),
        {name: part.cpu().numpy() for name, part in space.drawn_parts(decoded).items()},
    )
