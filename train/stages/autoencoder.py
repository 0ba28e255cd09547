"""Stage `vae`: train the residual autoencoder on the middle four residuals of each clip."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from shared.errors import UserError
from shared.reader import ClipReader
from train.checkpoint import load_config
from train.data import Clips
from train.loop import Stage, fit, trained
from train.models.autoencoder import ResidualAutoencoder, pad_to_blocks
from train.models.block_autoencoder import BlockAutoencoder
from train.models.residual_vae import ResidualVae
from train.recipe import AutoencoderOptions, Recipe, autoencoder_options
from train.share import Share

FOLDER = "vae"
_MIDDLE = 4
_KLT_CLIPS = 512


def train_autoencoder(recipe: Recipe, store: ClipReader, run: Path, device: torch.device) -> None:
    """Train, or go on training, RUN/vae."""
    clips = Clips(store, recipe.split)
    torch.manual_seed(recipe.seed)
    network = build_autoencoder(recipe.autoencoder, store.options.block)
    sample = clips.train[:: max(1, len(clips.train) // _KLT_CLIPS)]
    network.start_from(_residuals(clips, sample, network.block))
    network.to(device)

    def load(share: Share) -> Tensor:
        indices = share.indices(clips.train, recipe.seed)
        return _residuals(clips, indices, network.block).to(device)

    def loss(network: ResidualAutoencoder, residual: Tensor, share: Share) -> dict[str, Tensor]:
        of_clips = share.generators(recipe.seed, device)
        each = len(residual) // len(share)
        return network.loss(residual, [one for one in of_clips for _ in range(each)])

    config = {
        "autoencoder": recipe.to_dict()["autoencoder"],
        "store": store.attributes.model_dump(mode="json"),
        "split": recipe.split,
        "seed": recipe.seed,
    }
    options = recipe.autoencoder_training
    fit(Stage("autoencoder", run / FOLDER, network, load, loss, config, options, device))


def load_autoencoder(run: Path, device: torch.device) -> ResidualAutoencoder:
    """The trained autoencoder of a run.

    Raises:
        UserError: there is none.
    """
    config = load_config(run / FOLDER, "run first: python -m train vae")
    network = build_autoencoder(
        autoencoder_options(config["autoencoder"]), config["store"]["options"]["block"]
    )
    trained(run / FOLDER, network)
    return network.to(device)


def refuse_other_store(config: dict[str, Any], store: ClipReader, folder: Path) -> None:
    """Name what differs when a run and a store do not belong together.

    Raises:
        UserError: they do not.
    """
    then, now = config["store"], store.attributes.model_dump(mode="json")
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


def build_autoencoder(options: AutoencoderOptions, block: int) -> ResidualAutoencoder:
    """The network that the options name."""
    if options.kind == "block":
        return BlockAutoencoder(options, block)
    return ResidualVae(options, block)


def _residuals(clips: Clips, indices: np.ndarray, block: int) -> Tensor:
    """Middle residuals / 255 of some clips, padded to whole blocks: float, (N, 3, H', W')."""
    residual = clips.read("residual", indices)
    first = max(0, (residual.shape[1] - _MIDDLE) // 2)
    middle = residual[:, first : first + _MIDDLE].flatten(0, 1)
    return pad_to_blocks(middle.float() / 255, block)
