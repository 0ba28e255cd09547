"""Stage `encode`: the statistics of x_0, and the latents of every clip where there are any.

Latents are cached, so that diffusion never runs the autoencoder.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from shared.console import Progress
from shared.errors import UserError
from shared.schema import LARGE, CodecOptions
from shared.store.export import ClipReader
from train.data.batches import read_ahead
from train.data.clips import ClipBatch, Clips, on_device
from train.recipe import Recipe
from train.spaces import COMPRESSED, CompressedSpace, Space, SpaceOptions, Statistics, build_space
from train.stages.autoencoder import FOLDER, check_same_store, load_autoencoder
from train.stages.latent_store import NAME as LATENT
from train.stages.latent_store import Latents, write_latents
from train.trainer.checkpoint import load_config, save_config

STATISTICS = "statistics"

_FROM_CACHE = ("first_frame", "motion", LATENT)
"""Arrays that training reads where latents are cached; else all that the store has."""

_COUNTED, _PART = 2048, 8
"""Training clips that statistics are taken from at most, and how many at once."""


@dataclass(frozen=True)
class EncodedClips:
    """The clips of a store in a target space.

    Attributes:
        clips: the store's clips, with their latents where the space has any.
        space: with statistics.
    """

    clips: Clips
    space: Space

    def read(
        self, indices: Sequence[int] | NDArray[np.int64], *, pinned: bool = False
    ) -> dict[str, Tensor]:
        """What `targets` takes and conditions are made of, by name, on the CPU."""
        compressed = isinstance(self.space, CompressedSpace)
        return self.clips.tensors(_FROM_CACHE if compressed else LARGE, indices, pinned=pinned)

    def targets(self, tensors: dict[str, Tensor]) -> Tensor:
        """x_0 of what was read, float32, on its device."""
        if isinstance(self.space, CompressedSpace):
            raw = self.space.assemble(tensors["motion"], tensors[LATENT])
            return self.space.standardise(raw)
        return self.space.encode(ClipBatch(**tensors))


def encode_store(recipe: Recipe, store: ClipReader, run: Path, device: torch.device) -> None:
    """Write RUN/statistics and, for spaces behind an autoencoder, the latent cache."""
    space = _bare_space(recipe, store, run, device)
    if isinstance(space, CompressedSpace):
        write_latents(Clips(store, recipe.split), space, device)
    clips = _with_latents(recipe, store, space)
    statistics = Statistics.of(_training_targets(EncodedClips(clips, space), device))
    config = {
        "space": recipe.to_dict()["space"],
        "split": recipe.split,
        "store": store.attributes.model_dump(mode="json"),
        "latents": _identity(space),
    }
    save_config(run / STATISTICS, {**config, **asdict(statistics)})


def load_encoded(
    recipe: Recipe, store: ClipReader, run: Path, device: torch.device
) -> EncodedClips:
    """Everything the diffusion and refining stages train on, as the `encode` stage left it.

    Raises:
        UserError: a stage is missing, was done again or otherwise since, or on another store.
    """
    _bare_space(recipe, store, run, device)
    content = _statistics_of(recipe, store, run / STATISTICS)
    space = space_with(content, content["latents"], recipe.space, store.options, run, device)
    return EncodedClips(_with_latents(recipe, store, space), space)


def _statistics_of(recipe: Recipe, store: ClipReader, folder: Path) -> dict[str, Any]:
    """What `encode_store` wrote, once it is known to be of the same clips in the same space."""
    remedy = "run first: python -m train encode"
    content = load_config(folder, remedy)
    if "store" not in content:
        raise UserError(f"{folder} does not say of which store it is, as now it would; {remedy}")
    if content["space"] != recipe.to_dict()["space"]:
        raise UserError(f"{folder} is of another space; {remedy}")
    check_same_store(content, store, folder)
    _check_same_split(content, recipe, folder)
    return content


def space_with(
    statistics: dict[str, list[float]],
    latents: str | None,
    options: SpaceOptions,
    store: CodecOptions,
    run: Path,
    device: torch.device,
) -> Space:
    """A run's space with statistics that were kept, by the names of `Statistics`.

    Raises:
        UserError: its autoencoder is not the one whose latents were named `latents`.
    """
    autoencoder = load_autoencoder(options, run, device) if latents else None
    kept = Statistics(tuple(statistics["mean"]), tuple(statistics["std"]))
    space = build_space(options, store, autoencoder, kept)
    check_same_latents(latents, space, run)
    return space


def check_same_latents(expected: str | None, space: Space, run: Path) -> None:
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


def _bare_space(recipe: Recipe, store: ClipReader, run: Path, device: torch.device) -> Space:
    """A run's space without statistics, once run and store are known to belong together."""
    if recipe.space.kind not in COMPRESSED:
        return build_space(recipe.space, store.options)
    config = load_config(run / FOLDER, "run first: python -m train vae")
    check_same_store(config, store, run / FOLDER)
    _check_same_split(config, recipe, run / FOLDER)
    autoencoder = load_autoencoder(recipe.space, run, device)
    return build_space(recipe.space, store.options, autoencoder)


def _check_same_split(config: dict[str, Any], recipe: Recipe, folder: Path) -> None:
    """Notice test clips among those that an earlier stage of the run has learned from.

    Raises:
        UserError: the stage took another split.
    """
    if config["split"] != recipe.split:
        then, now = (name or "the store's first" for name in (config["split"], recipe.split))
        raise UserError(
            f"{folder} learned from the training clips of another split (then: {then}, now: {now});"
            " give --set split=NAME to every stage, or choose another --out"
        )


def _with_latents(recipe: Recipe, store: ClipReader, space: Space) -> Clips:
    beside = {LATENT: Latents(store, space.identity)} if isinstance(space, CompressedSpace) else {}
    return Clips(store, recipe.split, beside)


def _training_targets(encoded: EncodedClips, device: torch.device) -> Iterator[Tensor]:
    """x_0 of the training split in pieces; of some of it where it must be computed."""
    train = encoded.clips.train
    compressed = isinstance(encoded.space, CompressedSpace)
    chosen = train if compressed else train[:: -(-len(train) // _COUNTED)]
    pieces = np.array_split(chosen, -(-len(chosen) // _PART))
    with Progress().bar("statistics", len(chosen), "clips") as bar:
        for piece, tensors in zip(pieces, read_ahead(encoded.read, pieces), strict=True):
            yield encoded.targets(on_device(tensors, device))
            bar(len(piece))
