"""Stage `encode`: the derived arrays of every clip, then the statistics of x_0.

Derived arrays, such as latents, are cached: training never runs the autoencoder again.
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
from shared.schema import CodecOptions
from shared.store.reader import ClipReader
from train.data.batches import BatchSlice, read_ahead
from train.data.clips import (
    ClipArray,
    ClipBefore,
    Clips,
    before_name,
    check_same_store,
    clips_before,
    on_device,
    untrained_labels,
)
from train.recipe import Recipe
from train.run import RunFolder
from train.spaces import SPACES, Space, Statistics, build_space
from train.stages.autoencoder import load_autoencoder
from train.stages.derived import DerivedArray, write_derived
from train.trainer.checkpoint import load_config, save_config

_COUNTED, _PART = 2048, 8
"""Most training clips that statistics of computed x_0 are taken from, and clips in a batch."""


@dataclass(frozen=True)
class EncodedClips:
    """The clips of a store in a target space.

    Attributes:
        clips: the store's clips with their derived arrays.
        space: with statistics.
    """

    clips: Clips
    space: Space

    def read(
        self, indices: Sequence[int] | NDArray[np.int64], *, pinned: bool = False
    ) -> dict[str, Tensor]:
        """Arrays that `Space.target` and `Space.conditions` take, by name, on the CPU."""
        before = (before_name(name) for name in self.space.reads_before)
        return self.clips.tensors((*self.space.reads, *before), indices, pinned=pinned)

    def prepare(
        self, seed: int, device: torch.device, known: dict[str, Tensor], part: BatchSlice
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """x_0 of a part of a batch and its conditions, with what is drawn anew in every step."""
        drawn = self.space.drawn_known(known, part.generators(seed, device, purpose=1))
        return self.space.target(known), self.space.conditions(drawn)


def encode_store(recipe: Recipe, store: ClipReader, run: RunFolder, device: torch.device) -> None:
    """Write the caches of derived arrays next to the store, and RUN/statistics."""
    space = _space_of_run(recipe, store, run, device)
    for array in space.derived():
        write_derived(Clips(store, recipe.split), array, device)
    encoded = EncodedClips(_with_derived(recipe, store, space), space)
    statistics = Statistics.of(_training_targets(encoded, device))
    config = {
        "space": recipe.to_dict()["space"],
        "split": recipe.split,
        "store": store.attributes.model_dump(mode="json"),
        "latents": space.identity,
        "untrained_labels": untrained_labels(store, recipe.split),
    }
    save_config(run.statistics, {**config, **asdict(statistics)})


def load_encoded(
    recipe: Recipe, store: ClipReader, run: RunFolder, device: torch.device
) -> EncodedClips:
    """Load what the diffusion and refining stages train on, as the stage `encode` left it.

    Raises:
        UserError: a stage is missing, was trained again or otherwise since, or on another store.
    """
    bare = _space_of_run(recipe, store, run, device)
    content = _statistics_of(recipe, store, run.statistics)
    _check_same_latents(content["latents"], bare, run)
    space = bare.with_statistics(_read_statistics(content))
    return EncodedClips(_with_derived(recipe, store, space), space)


def load_space(
    statistics: dict[str, list[float]],
    latents: str | None,
    options: Any,
    store: CodecOptions,
    run: RunFolder,
    device: torch.device,
) -> Space:
    """A run's space, for sampling.

    Args:
        statistics: saved fields of `Statistics`.
        latents: identity of the space when it was trained.
        options: of the space.
        store: options of the store it was trained on.
        run: holds the autoencoder.
        device: for the autoencoder.

    Raises:
        UserError: the autoencoder was trained again since.
    """
    needed = SPACES[options.kind].needs_autoencoder
    autoencoder = load_autoencoder(options, run, device) if needed else None
    space = build_space(options, store, autoencoder, _read_statistics(statistics))
    _check_same_latents(latents, space, run)
    return space


def _space_of_run(recipe: Recipe, store: ClipReader, run: RunFolder, device: torch.device) -> Space:
    """A run's space without statistics, once run and store are known to belong together."""
    if not SPACES[recipe.space.kind].needs_autoencoder:
        return build_space(recipe.space, store.options)
    config = load_config(run.autoencoder, "run first: dvdm-train vae")
    check_same_store(config, store, run.autoencoder)
    _check_same_split(config, recipe, run.autoencoder)
    autoencoder = load_autoencoder(recipe.space, run, device)
    return build_space(recipe.space, store.options, autoencoder)


def _statistics_of(recipe: Recipe, store: ClipReader, folder: Path) -> dict[str, Any]:
    """Content that `encode_store` wrote, checked to be of the same clips in the same space."""
    remedy = "run first: dvdm-train encode"
    content = load_config(folder, remedy)
    if "store" not in content:
        raise UserError(f"{folder} is of an earlier version and does not name its store; {remedy}")
    if content["space"] != recipe.to_dict()["space"]:
        raise UserError(f"{folder} is of another space; {remedy}")
    check_same_store(content, store, folder)
    _check_same_split(content, recipe, folder)
    return content


def _read_statistics(content: dict[str, Any]) -> Statistics:
    return Statistics(tuple(content["mean"]), tuple(content["std"]))


def _check_same_latents(expected: str | None, space: Space, run: RunFolder) -> None:
    """Refuse an autoencoder that was trained again after later stages had used it."""
    if space.identity != expected:
        raise UserError(
            f"{run.autoencoder} was trained again since the later stages of this run: give encode"
            " and diffusion again, into another --out or after deleting their folders"
        )


def _check_same_split(config: dict[str, Any], recipe: Recipe, folder: Path) -> None:
    """Refuse another split than an earlier stage's, which has learned from its training clips."""
    if config["split"] != recipe.split:
        then, now = (name or "the store's first" for name in (config["split"], recipe.split))
        raise UserError(
            f"{folder} learned from the training clips of another split (then: {then}, now: {now});"
            " give --set split=NAME to every stage, or choose another --out"
        )


def _with_derived(recipe: Recipe, store: ClipReader, space: Space) -> Clips:
    arrays: dict[str, ClipArray] = {a.name: DerivedArray(store, a) for a in space.derived()}
    before = clips_before(store) if space.reads_before else None
    for name in space.reads_before:
        assert before is not None
        arrays[before_name(name)] = ClipBefore(arrays[name], before)
    return Clips(store, recipe.split, arrays)


def _training_targets(encoded: EncodedClips, device: torch.device) -> Iterator[Tensor]:
    """x_0 of the training split in batches; of a part of the split where x_0 is not cached."""
    train = encoded.clips.train
    cached = bool(encoded.space.derived())
    chosen = train if cached else train[:: -(-len(train) // _COUNTED)]
    batches = np.array_split(chosen, -(-len(chosen) // _PART))
    with Progress().bar("statistics", len(chosen), "clips") as bar:
        for batch, known in zip(batches, read_ahead(encoded.read, batches), strict=True):
            yield encoded.space.target(on_device(known, device))
            bar(len(batch))
