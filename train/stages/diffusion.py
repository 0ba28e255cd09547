"""Stage `diffusion`: train the 3D U-Net in the target space."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from shared.report.pictures import contact_sheet
from shared.schema import StoreAttributes
from shared.store.export import ClipReader
from train.data.batches import BatchSlice, generator_for
from train.data.clips import normalise_frame
from train.diffusion.objective import diffusion_loss, guided
from train.diffusion.samplers import sample
from train.models.autoencoder import pad_to_blocks
from train.models.text_encoder import TextIdentity
from train.models.unet3d import UNet3D
from train.recipe import Recipe
from train.spaces import CompressedSpace, Space
from train.stages.latents import EncodedClips, load_encoded
from train.stages.previews import Preview, save_preview
from train.stages.texts import load_texts
from train.trainer.loop import Stage, fit
from train.trainer.monitor import RunLog, autocast

FOLDER = "diffusion"

KEPT = ("space", "autoencoder", "denoiser", "noise", "label_dropout", "sampler", "split", "seed")
"""Fields of a recipe that its diffusion stage records."""

_PREVIEWS = 4


def train_diffusion(recipe: Recipe, store: ClipReader, run: Path, device: torch.device) -> None:
    """Train, or go on training, RUN/diffusion."""
    encoded = load_encoded(recipe, store, run, device)
    texts, identity = load_texts(recipe, run)
    torch.manual_seed(recipe.seed)
    network = build_denoiser(recipe, encoded.space, store.attributes, texts).to(device)

    def prepare(tensors: dict[str, Tensor], part: BatchSlice) -> tuple[Tensor, Tensor, Tensor]:
        return encoded.targets(tensors), *conditions(network, tensors, encoded.space.cell)

    def loss(
        network: nn.Module, batch: tuple[Tensor, Tensor, Tensor], part: BatchSlice
    ) -> dict[str, Tensor]:
        return diffusion_loss(
            network,
            recipe.noise,
            *batch,
            label_dropout=recipe.label_dropout,
            generators=part.generators(recipe.seed, device),
        )

    def preview(averaged: nn.Module, log: RunLog, step: int) -> None:
        shown = preview_clips(recipe, encoded, averaged, device, step)
        films = [film for pair in zip(shown.real, shown.generated, strict=True) for film in pair]
        log.picture(step, "generated", contact_sheet(films))
        log.video(step, "generated_video", shown.columns())
        save_preview(run / FOLDER, shown)

    stage = Stage(
        title="diffusion",
        folder=run / FOLDER,
        network=network,
        clips=encoded.clips.train,
        seed=recipe.seed,
        read=encoded.read,
        prepare=prepare,
        loss=loss,
        config=diffusion_config(recipe, store, encoded, identity),
        options=recipe.diffusion_training,
        device=device,
        preview=preview,
    )
    fit(stage)


def build_denoiser(
    recipe: Recipe, space: Space, store: StoreAttributes, texts: Tensor | None
) -> UNet3D:
    """An untrained U-Net for a space's targets and a store's labels, or embeddings of them."""
    channels, time, height, width = space.shape
    shape = (time, height, width)
    return UNet3D(recipe.denoiser, channels, space.cell, len(store.labels), shape, texts)


def conditions(network: nn.Module, tensors: dict[str, Tensor], cell: int) -> tuple[Tensor, Tensor]:
    """What the network is told of clips, of their `label` and `first_frame`.

    Returns:
        Labels (B,), the null one where a clip has none, and first frames in [-1, 1], padded.
    """
    label = tensors["label"]
    label = torch.where(label < 0, network.null_label, label)  # type: ignore[arg-type]
    return label, network_frame(tensors["first_frame"], cell)


def network_frame(first_frame: Tensor, cell: int) -> Tensor:
    """uint8 first frames as the U-Net takes them: [-1, 1], whole cells."""
    return pad_to_blocks(normalise_frame(first_frame), cell)


def diffusion_config(
    recipe: Recipe, store: ClipReader, encoded: EncodedClips, texts: TextIdentity | None
) -> dict:
    """All that generation needs to know, beside the weights."""
    whole = recipe.to_dict()
    return {name: whole[name] for name in KEPT} | {
        "store": store.attributes.model_dump(mode="json"),
        "text_encoder": None if texts is None else asdict(texts),
        # Lists, as JSON gives them back.
        "statistics": {n: list(v) for n, v in asdict(encoded.space.statistics).items()},
        "latents": encoded.space.identity if isinstance(encoded.space, CompressedSpace) else None,
    }


def preview_clips(
    recipe: Recipe, encoded: EncodedClips, network: nn.Module, device: torch.device, step: int
) -> Preview:
    """A few test clips, and what is generated from their first frames: the same for every step."""
    test = encoded.clips.test
    indices = test[np.linspace(0, len(test) - 1, _PREVIEWS).astype(int)]
    batch = encoded.clips.batch(indices, device)
    label, first_frame = conditions(network, vars(batch), encoded.space.cell)
    generator = generator_for(recipe.seed, 0)
    noise = torch.randn(len(indices), *encoded.space.shape, generator=generator).to(device)
    denoise = guided(network, label, first_frame, recipe.sampler.guidance)
    with autocast(device):
        x0 = sample(denoise, noise, recipe.sampler, recipe.noise, generator)
        decoded = encoded.space.decode(x0, batch.first_frame)
    motion = decoded.parts.get("motion")
    return Preview(
        step,
        batch.label.cpu().numpy(),
        encoded.clips.frames(batch).cpu().numpy(),
        decoded.frames.cpu().numpy(),
        None if motion is None else motion.cpu().numpy(),
    )
