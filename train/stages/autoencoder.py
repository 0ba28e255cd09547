"""Stage `vae`: train the autoencoder of the target space, where it has one."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from shared.console import console
from shared.errors import UserError
from shared.reader import ClipReader
from shared.schema import LARGE, CodecOptions, StoreAttributes
from train.checkpoint import load_config
from train.data import ClipBatch, Clips
from train.loop import Stage, fit, trained
from train.models.autoencoder import Autoencoder
from train.models.block_autoencoder import BlockAutoencoder
from train.models.conditioned import ConditionedAutoencoder
from train.models.residual_vae import ResidualVae
from train.prefetch import Prefetch
from train.recipe import AutoencoderOptions, Recipe, autoencoder_options
from train.share import Share
from train.spaces import CompressedSpace, SpaceOptions, autoencoder_factor, build_space

FOLDER = "vae"
_START_CLIPS = 512
"""Clips from which the linear code is computed."""


def train_autoencoder(recipe: Recipe, store: ClipReader, run: Path, device: torch.device) -> None:
    """Train, or go on training, RUN/vae. Spaces without an autoencoder say so."""
    if recipe.autoencoder is None:
        console.print(f"space {recipe.space.kind}: no autoencoder to train")
        return
    clips = Clips(store, recipe.split)
    torch.manual_seed(recipe.seed)
    network = build_autoencoder(recipe.autoencoder, recipe.space, store.options)
    space = build_space(recipe.space, store.options, network)
    assert isinstance(space, CompressedSpace)
    sample = clips.train[:: max(1, len(clips.train) // _START_CLIPS)]
    network.start_from(_start_pictures(space, clips, sample))
    network.to(device)

    prefetch = Prefetch(
        partial(clips.tensors, LARGE),
        lambda share: share.indices(clips.train, recipe.seed),
        device,
    )

    def load(share: Share) -> tuple[Tensor, Tensor | None]:
        return space.examples(ClipBatch(**prefetch(share)))

    def loss(
        network: Autoencoder, batch: tuple[Tensor, Tensor | None], share: Share
    ) -> dict[str, Tensor]:
        picture, prediction = batch
        of_clips = share.generators(recipe.seed, device)
        each = len(picture) // len(share)
        return network.loss(picture, prediction, [one for one in of_clips for _ in range(each)])

    config = {name: recipe.to_dict()[name] for name in ("autoencoder", "space", "split", "seed")}
    config["store"] = store.attributes.model_dump(mode="json")
    options = recipe.autoencoder_training
    with prefetch:
        fit(Stage("autoencoder", run / FOLDER, network, load, loss, config, options, device))


def load_autoencoder(space: SpaceOptions, run: Path, device: torch.device) -> Autoencoder:
    """The trained autoencoder of a run, for a space.

    Raises:
        UserError: there is none.
    """
    config = load_config(run / FOLDER, "run first: python -m train vae")
    options = CodecOptions.model_validate(config["store"]["options"])
    network = build_autoencoder(autoencoder_options(config["autoencoder"]), space, options)
    trained(run / FOLDER, network)
    return network.to(device)


def refuse_other_store(config: dict[str, Any], store: ClipReader, folder: Path) -> None:
    """Name what differs when a run and a store do not belong together.

    Raises:
        UserError: they do not.
    """
    # Completed, because a run may be older than an option: it then had what is now its default.
    then = StoreAttributes.model_validate(config["store"]).model_dump(mode="json")
    now = store.attributes.model_dump(mode="json")
    differing = [
        f"{key} (run: {then['options'].get(key)}, store: {value})"
        for key, value in now["options"].items()
        if then["options"].get(key) != value
    ]
    if then["labels"] != now["labels"]:
        differing.append("labels")
    if differing:
        raise UserError(
            f"{folder} was trained on a store with other {', '.join(differing)}; give the store it"
            " was trained on, or another --out"
        )


def build_autoencoder(
    options: AutoencoderOptions, space: SpaceOptions, store: CodecOptions
) -> Autoencoder:
    """The network that the options name, for a space and the clips of a store."""
    factor = autoencoder_factor(space, store)
    plain: Autoencoder
    if options.kind == "block":
        plain = BlockAutoencoder(options, factor)
    else:
        plain = ResidualVae(options, factor)
    conditioned = space.kind == "codec" and space.conditioned_decoder
    return ConditionedAutoencoder(plain) if conditioned else plain


def _start_pictures(space: CompressedSpace, clips: Clips, indices: np.ndarray) -> Tensor:
    """What the autoencoder may start from, clip by clip: whole clips are large."""
    cpu = torch.device("cpu")
    return torch.cat([space.examples(clips.batch([int(i)], cpu))[0] for i in indices])
