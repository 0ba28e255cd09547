"""Stage `encode`: the statistics of x_0, and the latents of every clip where there are any.

Latents are cached, so that diffusion never runs the autoencoder.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from shared.console import Progress
from shared.errors import UserError
from shared.reader import ClipReader
from shared.schema import CodecOptions
from train.checkpoint import load_config, save_config
from train.data import Clips
from train.latents import read_latents, write_latents
from train.recipe import Recipe
from train.spaces import COMPRESSED, CompressedSpace, Space, SpaceOptions, Statistics, build_space
from train.stages.autoencoder import FOLDER, load_autoencoder, refuse_other_store

STATISTICS = "statistics"

_COUNTED, _PART = 2048, 8
"""Training clips that statistics are taken from at most, and how many at once."""


@dataclass(frozen=True)
class EncodedClips:
    """The clips of a store in a target space.

    Attributes:
        clips: the store's clips.
        space: with statistics.
        x0: standardised, float16, shape (N, C, T-1, h, w), on the CPU; None where x_0 is made from
            the clips when it is needed.
    """

    clips: Clips
    space: Space
    x0: Tensor | None

    def targets(self, indices: NDArray[np.int64], device: torch.device) -> Tensor:
        """x_0 of some clips, float32, on a device."""
        if self.x0 is None:
            return self.space.encode(self.clips.batch(indices, device))
        return self.x0[torch.as_tensor(indices)].to(device).float()


def encode_store(recipe: Recipe, store: ClipReader, run: Path, device: torch.device) -> None:
    """Write RUN/statistics and, for spaces behind an autoencoder, the latent cache."""
    space = _bare_space(recipe.space, store, run, device)
    clips = Clips(store, recipe.split)
    if isinstance(space, CompressedSpace):
        write_latents(store, space, clips, device)
    statistics = Statistics.of(_training_targets(space, clips, device))
    config = {"space": recipe.to_dict()["space"], "latents": _identity(space)}
    save_config(run / STATISTICS, {**config, **asdict(statistics)})


def load_encoded(
    recipe: Recipe, store: ClipReader, run: Path, device: torch.device
) -> EncodedClips:
    """Everything the diffusion and refining stages train on."""
    clips = Clips(store, recipe.split)
    _bare_space(recipe.space, store, run, device)
    space = load_space(recipe.space, store.options, run, device)
    if not isinstance(space, CompressedSpace):
        return EncodedClips(clips, space, None)
    return EncodedClips(clips, space, space.standardise(_cached(space, clips)).half())


def load_space(
    options: SpaceOptions, store: CodecOptions, run: Path, device: torch.device
) -> Space:
    """The space of a run: its autoencoder and statistics.

    Raises:
        UserError: a stage is missing, or was done again or otherwise since.
    """
    remedy = "run first: python -m train encode"
    content = load_config(run / STATISTICS, remedy)
    autoencoder = load_autoencoder(options, run, device) if content["latents"] else None
    statistics = Statistics(tuple(content["mean"]), tuple(content["std"]))
    space = build_space(options, store, autoencoder, statistics)
    if content["space"] != asdict(options):
        raise UserError(f"{run / STATISTICS} is of another space; {remedy}")
    refuse_other_latents(content["latents"], space, run)
    return space


def refuse_other_latents(expected: str | None, space: Space, run: Path) -> None:
    """Notice an autoencoder that was trained again behind the back of later stages.

    Raises:
        UserError: it is not the expected one.
    """
    if _identity(space) != expected:
        raise UserError(
            f"{run / FOLDER} was trained again since the later stages of this run: give encode and"
            " diffusion again, into another --out or after deleting their folders"
        )


def _identity(space: Space) -> str | None:
    return space.identity if isinstance(space, CompressedSpace) else None


def _bare_space(options: SpaceOptions, store: ClipReader, run: Path, device: torch.device) -> Space:
    """A run's space without statistics, once run and store are known to belong together."""
    if options.kind not in COMPRESSED:
        return build_space(options, store.options)
    config = load_config(run / FOLDER, "run first: python -m train vae")
    refuse_other_store(config, store, run / FOLDER)
    return build_space(options, store.options, load_autoencoder(options, run, device))


def _cached(space: CompressedSpace, clips: Clips) -> Tensor:
    """Unscaled x_0 of all clips from the cache."""
    latents = torch.from_numpy(read_latents(clips.store, space.identity))
    motion = clips.read("motion", range(len(clips.store)))
    return space.assemble(motion, latents)


def _training_targets(space: Space, clips: Clips, device: torch.device) -> Iterator[Tensor]:
    """Unscaled x_0 of the training split in pieces; of some of it where it must be computed."""
    if isinstance(space, CompressedSpace):
        yield _cached(space, clips)[torch.from_numpy(clips.train)]
        return
    chosen = clips.train[:: -(-len(clips.train) // _COUNTED)]
    with Progress().bar("statistics", len(chosen), "clips") as bar:
        for indices in np.array_split(chosen, -(-len(chosen) // _PART)):
            yield space.unscaled(clips.batch(indices, device))
            bar(len(indices))
