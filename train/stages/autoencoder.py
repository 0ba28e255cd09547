"""Stage `vae`: train the autoencoder of the target space, where it has one."""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from shared.console import Progress, console
from shared.errors import UserError
from shared.schema import LARGE, CodecOptions, StoreAttributes
from shared.store.export import ClipReader
from train.data.batches import BatchSlice
from train.data.clips import ClipBatch, Clips
from train.models.autoencoder import Autoencoder
from train.models.block_autoencoder import BlockAutoencoder, BlockAutoencoderOptions
from train.models.conditioned import ConditionedAutoencoder
from train.models.contextual import ContextualAutoencoder, ContextualOptions
from train.models.kl_autoencoder import KlAutoencoder, KlAutoencoderOptions
from train.models.linear_codes import (
    DctAutoencoder,
    DctOptions,
    KltAutoencoder,
    KltOptions,
    ZeroAutoencoder,
    ZeroOptions,
)
from train.recipe import AutoencoderOptions, Recipe, autoencoder_options
from train.spaces import CompressedSpace, SpaceOptions, autoencoder_factor, build_space
from train.spaces.codec import known_pictures
from train.trainer.checkpoint import (
    check_same_config,
    checkpoints,
    load_config,
    load_trained,
    save_checkpoint,
    save_config,
)
from train.trainer.loop import Stage, fit

FOLDER = "vae"
_AT_ONCE = 4
"""Clips that are looked at together."""


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
    config = {name: recipe.to_dict()[name] for name in ("autoencoder", "space", "split", "seed")}
    config["store"] = store.attributes.model_dump(mode="json")
    if not network.learns:
        _fit_once(space, clips, run / FOLDER, config)
        return
    _start(space, clips)
    network.to(device)

    def loss(
        network: Autoencoder, batch: tuple[Tensor, Tensor | None], part: BatchSlice
    ) -> dict[str, Tensor]:
        picture, context = batch
        of_clips = part.generators(recipe.seed, device)
        each = len(picture) // len(part)
        return network.loss(picture, context, [one for one in of_clips for _ in range(each)])

    stage = Stage(
        title="autoencoder",
        folder=run / FOLDER,
        network=network,
        clips=clips.train,
        seed=recipe.seed,
        read=partial(clips.tensors, LARGE),
        prepare=lambda tensors, part: space.examples(ClipBatch(**tensors)),
        loss=loss,
        config=config,
        options=recipe.autoencoder_training,
        device=device,
    )
    fit(stage)


def load_autoencoder(space: SpaceOptions, run: Path, device: torch.device) -> Autoencoder:
    """The trained autoencoder of a run, for a space.

    Raises:
        UserError: there is none.
    """
    config = load_config(run / FOLDER, "run first: python -m train vae")
    options = CodecOptions.model_validate(config["store"]["options"])
    network = build_autoencoder(autoencoder_options(config["autoencoder"]), space, options)
    load_trained(run / FOLDER, network)
    return network.to(device)


def check_same_store(config: dict[str, Any], store: ClipReader, folder: Path) -> None:
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
    plain = _plain(options, factor, store)
    conditioned = space.kind == "codec" and space.conditioned_decoder
    return ConditionedAutoencoder(plain) if conditioned else plain


def _plain(options: AutoencoderOptions, factor: int, store: CodecOptions) -> Autoencoder:
    if isinstance(options, ContextualOptions):
        return ContextualAutoencoder(options, factor, known_pictures(store.reference))
    kinds: dict[type, Callable[..., Autoencoder]] = {
        KlAutoencoderOptions: KlAutoencoder,
        BlockAutoencoderOptions: BlockAutoencoder,
        KltOptions: KltAutoencoder,
        DctOptions: DctAutoencoder,
        ZeroOptions: ZeroAutoencoder,
    }
    return kinds[type(options)](options, factor)


def _fit_once(space: CompressedSpace, clips: Clips, folder: Path, config: dict[str, Any]) -> None:
    """Write the checkpoint of a code that `start_from` finds, unless it is there."""
    check_same_config(folder, config)
    if not checkpoints(folder):
        save_config(folder, config)
        started = time.monotonic()
        _start(space, clips)
        state = {"step": 0, "seconds": time.monotonic() - started}
        networks: dict[str, nn.Module] = {"network": space.autoencoder, "ema": space.autoencoder}
        save_checkpoint(folder, state, networks, {}, keep=1)


def _start(space: CompressedSpace, clips: Clips) -> None:
    """Let the autoencoder start from pictures as stored, then from pictures as it meets them."""
    network = space.autoencoder
    every = -(-len(clips.train) // network.start_clips)
    for turn in range(network.rounds):
        network.start_from(*_start_pictures(space, clips, clips.train[::every], met=turn > 0))


def _start_pictures(
    space: CompressedSpace, clips: Clips, indices: np.ndarray, *, met: bool
) -> tuple[Tensor, Tensor | None]:
    """Examples of some clips, with their context, a few clips at once: whole clips are large."""
    cpu, give = torch.device("cpu"), space.met if met else space.examples
    pieces = np.array_split(indices, -(-len(indices) // _AT_ONCE))
    with Progress().bar("fitting the code", len(indices), "clips") as bar:
        pictures, contexts = [], []
        for piece in pieces:
            picture, context = give(clips.batch(piece, cpu))
            pictures.append(picture)
            contexts += [] if context is None else [context]
            bar(len(piece))
    return torch.cat(pictures), torch.cat(contexts) if contexts else None
