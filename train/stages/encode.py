"""Stage `encode`: cache the latents of every clip, so that diffusion never runs the autoencoder."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from shared.errors import UserError
from shared.paths import Location
from shared.reader import ClipReader
from train.checkpoint import load_config, save_config
from train.data import Clips
from train.latents import autoencoder_hash, read_latents, write_latents
from train.models.autoencoder import ResidualAutoencoder
from train.recipe import Recipe
from train.spaces.codec import CodecSpace, Statistics
from train.stages.autoencoder import FOLDER, load_autoencoder, refuse_other_store

STATISTICS = "statistics"


@dataclass(frozen=True)
class EncodedClips:
    """All clips in the codec space, in memory.

    Attributes:
        clips: the store's clips.
        space: with statistics.
        x0: standardised, float16, shape (N, C, T-1, h, w), on the CPU.
        autoencoder_hash: of the weights that made the latents.
    """

    clips: Clips
    space: CodecSpace
    x0: Tensor
    autoencoder_hash: str

    def targets(self, indices: Any, device: torch.device) -> Tensor:
        """x_0 of some clips, float32, on a device."""
        return self.x0[torch.as_tensor(indices)].to(device).float()


def encode_store(recipe: Recipe, store: ClipReader, run: Path, device: torch.device) -> Location:
    """Write the latent cache and RUN/statistics; returns the cache's path."""
    autoencoder = load_autoencoder(run, device)
    refuse_other_store(load_config(run / FOLDER, ""), store, run / FOLDER)
    path = write_latents(store, autoencoder, device)
    clips = Clips(store, recipe.split)
    identity = autoencoder_hash(autoencoder)
    statistics = Statistics.of(_raw_targets(clips, identity)[torch.from_numpy(clips.train)])
    save_config(run / STATISTICS, {"autoencoder_hash": identity, **asdict(statistics)})
    return path


def load_encoded(
    recipe: Recipe, store: ClipReader, run: Path, device: torch.device
) -> EncodedClips:
    """Everything the diffusion and refining stages train on."""
    refuse_other_store(load_config(run / FOLDER, "run first: python -m train vae"), store, run)
    clips = Clips(store, recipe.split)
    space = load_space(store.options, run, device)
    identity = autoencoder_hash(space.autoencoder)
    x0 = space.standardise(_raw_targets(clips, identity)).half()
    return EncodedClips(clips, space, x0, identity)


def load_space(options: Any, run: Path, device: torch.device) -> CodecSpace:
    """The codec space of a run: its autoencoder and statistics."""
    content = load_config(run / STATISTICS, "run first: python -m train encode")
    statistics = Statistics(tuple(content["mean"]), tuple(content["std"]))
    autoencoder = load_autoencoder(run, device)
    refuse_other_autoencoder(content["autoencoder_hash"], autoencoder, run)
    return CodecSpace(options, autoencoder, statistics)


def refuse_other_autoencoder(expected: str, autoencoder: ResidualAutoencoder, run: Path) -> None:
    """Notice an autoencoder that was trained again behind the back of later stages.

    Raises:
        UserError: it is not the expected one.
    """
    if autoencoder_hash(autoencoder) != expected:
        raise UserError(
            f"{run / FOLDER} was trained again since the later stages of this run: give encode and"
            " diffusion again, into another --out or after deleting their folders"
        )


def _raw_targets(clips: Clips, identity: str) -> Tensor:
    latents = torch.from_numpy(read_latents(clips.store, identity))
    motion = clips.read("motion", range(len(clips.store)))
    scaled = motion.half() / max(1, clips.store.options.search_range)
    return torch.cat([scaled, latents], dim=2).transpose(1, 2).float()
