"""Last part of stage `diffusion`: train the decoder along the flow, on real latents and motion."""

from __future__ import annotations

from typing import Any, cast

import torch
from torch import Tensor

from shared.errors import UserError
from shared.schema import LARGE
from shared.store.reader import ClipReader
from train.data.batches import BatchSlice
from train.data.clips import ClipBatch, normalise_frame, stored_frames
from train.models.flow_decoder import FlowDecoder, FlowDecoderOptions
from train.recipe import Recipe
from train.run import RunFolder
from train.spaces import Space
from train.spaces.guided import GuidedSpace
from train.stages.encode import load_encoded
from train.trainer.checkpoint import load_config, load_trained
from train.trainer.loop import Stage, fit


def train_decoder(recipe: Recipe, store: ClipReader, run: RunFolder, device: torch.device) -> None:
    """Train, or go on training, RUN/decoder; do nothing where the recipe has none."""
    if recipe.decoder is None:
        return
    encoded = load_encoded(recipe, store, run, device)
    space = cast(GuidedSpace, encoded.space)  # no other takes such a decoder
    torch.manual_seed(recipe.seed)
    network = build_decoder(recipe.decoder, space).to(device)
    names = (*LARGE, *(name for name in space.reads if name not in LARGE))

    def read(indices: Any, *, pinned: bool) -> dict[str, Tensor]:
        return encoded.clips.tensors(names, indices, pinned=pinned)

    def loss(network: Any, known: dict[str, Tensor], part: BatchSlice) -> dict[str, Tensor]:
        stored = ClipBatch(**{name: known[name] for name in (*LARGE, "label")})
        truth = normalise_frame(stored_frames(stored, store.options))
        made = space.decoded_by(network, space.unscaled(known), known)
        return network.loss(made, truth)

    config = {
        "decoder": recipe.to_dict()["decoder"],
        "store": store.attributes.model_dump(mode="json"),
        "latents": space.identity,
        "seed": recipe.seed,
    }
    stage = Stage(
        title="decoder",
        folder=run.decoder,
        network=network,
        clips=encoded.clips.train,
        seed=recipe.seed,
        read=read,
        loss=loss,
        config=config,
        options=recipe.decoder_training,
        device=device,
    )
    fit(stage)


def build_decoder(options: FlowDecoderOptions, space: Space) -> FlowDecoder:
    """An untrained decoder of a space's latents.

    Raises:
        UserError: it has more stages than the latents' cells can be halved.
    """
    try:
        return FlowDecoder(options, space.shape[0], space.cell)
    except ValueError as error:
        raise UserError(str(error)) from None


def load_decoder(space: Space, run: RunFolder, device: torch.device) -> FlowDecoder | None:
    """The trained decoder of a run; None if it has none.

    Raises:
        UserError: the autoencoder was trained again since.
    """
    if not (run.decoder / "config.json").exists():
        return None
    config = load_config(run.decoder, "")
    if config["latents"] != space.identity:
        raise UserError(
            f"{run.decoder} was trained on latents of another autoencoder than {run.autoencoder}:"
            " delete it and give diffusion again"
        )
    decoder = build_decoder(FlowDecoderOptions(**config["decoder"]), space)
    load_trained(run.decoder, decoder)
    return decoder.to(device)
