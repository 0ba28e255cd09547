"""Stage `vae`: train the autoencoder of the target space, where it has one."""

from __future__ import annotations

import time
from functools import partial
from typing import Any, cast

import numpy as np
import torch
from torch import Tensor, nn

from shared.console import Progress, console
from shared.errors import UserError
from shared.schema import LARGE, CodecOptions
from shared.store.reader import ClipReader
from train.data.batches import BatchSlice
from train.data.clips import ClipBatch, Clips
from train.models import AUTOENCODERS, build_autoencoder
from train.models.autoencoder import Autoencoder, weights_hash
from train.options import read_options
from train.recipe import Recipe
from train.run import RunFolder
from train.spaces import SPACES, CompressedSpace, build_space
from train.trainer.checkpoint import (
    check_same_config,
    load_config,
    load_network,
    load_trained,
    newest_checkpoint,
    save_checkpoint,
    save_config,
)
from train.trainer.distributed import world
from train.trainer.loop import Stage, fit

_CLIPS_PER_BATCH = 4  # when the initial weights are fitted


def train_autoencoder(
    recipe: Recipe, store: ClipReader, run: RunFolder, device: torch.device
) -> None:
    """Train, or go on training, RUN/vae; say so where the space has no autoencoder.

    With a `run.start`, from the weights of that run's autoencoder. Its later stages are copied too
    where what they saw of the autoencoder is as it was: so a decoder is adapted to another store.

    Raises:
        UserError: `run.start` has no autoencoder, or one of other layers.
    """
    if recipe.autoencoder is None:
        console.print(f"space {recipe.space.kind}: no autoencoder to train")
        return
    clips = Clips(store, recipe.split)
    torch.manual_seed(recipe.seed)
    network = _build(recipe.autoencoder, recipe.space, store.options)
    space: Any = build_space(recipe.space, store.options, network)
    config = {name: recipe.to_dict()[name] for name in ("autoencoder", "space", "split", "seed")}
    config["store"] = store.attributes.model_dump(mode="json")
    if run.start is not None:
        _load_weights(run.start, network)
        config["from"] = weights_hash(network)
    if not network.learns:
        _fit_once(space, clips, run, config)
        return
    if run.start is None:
        _fit_initial(space, clips)
    network.to(device)

    def prepare(tensors: dict[str, Tensor], part: BatchSlice) -> Any:
        generators = part.generators(recipe.seed, device, purpose=1)
        return space.examples(ClipBatch(**tensors), generators)

    def loss(network: Autoencoder, examples: Any, part: BatchSlice) -> dict[str, Tensor]:
        return space.loss(network, examples, part, part.generators(recipe.seed, device))

    stage = Stage(
        title="autoencoder",
        folder=run.autoencoder,
        network=network,
        clips=clips.train,
        seed=recipe.seed,
        read=partial(clips.tensors, LARGE),
        prepare=prepare,
        loss=loss,
        config=config,
        options=recipe.autoencoder_training,
        device=device,
    )
    seen = None if run.start is None else space.identity
    trained = cast(Autoencoder, fit(stage))
    if run.start is None or not world().is_main:
        return
    if build_space(recipe.space, store.options, trained).identity == seen:
        run.copy_missing([run.start.texts, run.start.statistics, run.start.diffusion])


def load_autoencoder(options: Any, run: RunFolder, device: torch.device) -> Autoencoder:
    """The trained autoencoder of a run, for the space that `options` name.

    Raises:
        UserError: there is none.
    """
    config = load_config(run.autoencoder, "run first: dvdm-train vae")
    store = CodecOptions.model_validate(config["store"]["options"])
    network = _build(read_options(AUTOENCODERS, config["autoencoder"]), options, store)
    load_trained(run.autoencoder, network)
    return network.to(device)


def _load_weights(start: RunFolder, network: Autoencoder) -> None:
    """Fill an autoencoder with the averaged weights of another run's."""
    found = newest_checkpoint(start.autoencoder)
    if found is None:
        raise UserError(
            f"--from {start.root}: no checkpoint in {start.autoencoder}; give a run whose stage vae"
            " was trained"
        )
    try:
        load_network(found, "ema", network)
    except UserError:
        raise UserError(
            f"--from {start.root}: its autoencoder has other layers than the recipe's; give the"
            " --recipe and the --set of that run"
        ) from None


def _build(options: Any, space: Any, store: CodecOptions) -> Autoencoder:
    kind: Any = SPACES[space.kind]
    return build_autoencoder(options, kind.latent_cell(space, store), store)


def _fit_once(space: CompressedSpace, clips: Clips, run: RunFolder, config: dict[str, Any]) -> None:
    """Write the checkpoint of an autoencoder without gradients, unless it is there."""
    folder = run.autoencoder
    check_same_config(folder, config)
    if newest_checkpoint(folder) is None:
        save_config(folder, config)
        started = time.monotonic()
        _fit_initial(space, clips)
        state = {"step": 0, "seconds": time.monotonic() - started}
        networks: dict[str, nn.Module] = {"network": space.autoencoder, "ema": space.autoencoder}
        save_checkpoint(folder, state, networks, {}, keep=1)


def _fit_initial(space: CompressedSpace, clips: Clips) -> None:
    """Fit the initial weights open-loop, then refit them closed-loop."""
    network = space.autoencoder
    every = -(-len(clips.train) // network.initial_clips)
    for fit_index in range(network.initial_fits):
        indices = clips.train[::every]
        network.fit_initial(*_initial_pictures(space, clips, indices, closed_loop=fit_index > 0))


def _initial_pictures(
    space: CompressedSpace, clips: Clips, indices: np.ndarray, *, closed_loop: bool
) -> tuple[Tensor, Tensor | None]:
    """Pictures of some clips and their context, read a few clips at a time: clips are large."""
    cpu = torch.device("cpu")
    batches = np.array_split(indices, -(-len(indices) // _CLIPS_PER_BATCH))
    with Progress().bar("fitting the code", len(indices), "clips") as bar:
        pictures, contexts = [], []
        for batch in batches:
            picture, context = space.pictures(clips.batch(batch, cpu), closed_loop=closed_loop)
            pictures.append(picture)
            contexts += [] if context is None else [context]
            bar(len(batch))
    return torch.cat(pictures), torch.cat(contexts) if contexts else None
