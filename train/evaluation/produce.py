"""The clips that a protocol scores, and by what a run's clips are known."""

from __future__ import annotations

import hashlib
import json

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from train.data import ClipBatch, Clips
from train.evaluation.parts import Produce
from train.generate import Generator
from train.models.autoencoder import weights_hash
from train.spaces import Decoded, Space
from train.stages.diffusion import KEPT

_AT_ONCE = 8
_SHOWN = ("motion",)
"""Parts of a decoded clip that are worth keeping where all is kept."""


def generating(generator: Generator, clips: Clips) -> Produce:
    """Clips from first frames and labels of stored ones."""

    def produce(
        indices: NDArray[np.int64], seeds: NDArray[np.int64], keep_all: bool
    ) -> dict[str, Tensor]:
        first_frame = clips.read("first_frame", indices)
        asked = [None if label < 0 else int(label) for label in clips.label[indices]]
        return _kept(generator(first_frame, asked, seeds.tolist()), keep_all)

    return produce


def restoring(space: Space, clips: Clips, device: torch.device) -> Produce:
    """Stored clips encoded and decoded again, with all that the run has behind its decoder."""

    def produce(
        indices: NDArray[np.int64], seeds: NDArray[np.int64], keep_all: bool
    ) -> dict[str, Tensor]:
        pieces = [
            _kept(restore(space, clips.batch(piece, device)), keep_all)
            for piece in np.array_split(indices, -(-len(indices) // _AT_ONCE))
        ]
        return {name: torch.cat([piece[name] for piece in pieces]) for name in pieces[0]}

    return produce


def restore(space: Space, batch: ClipBatch) -> Decoded:
    """Clips encoded and decoded again."""
    return space.decode(space.encode(batch), batch.first_frame)


def _kept(decoded: Decoded, keep_all: bool) -> dict[str, Tensor]:
    kept = {"frames": decoded.frames.cpu()}
    if keep_all:
        kept["unrefined"] = decoded.parts.get("unrefined", decoded.frames).cpu()
        kept |= {name: decoded.parts[name].cpu() for name in _SHOWN if name in decoded.parts}
    return kept


def run_identity(generator: Generator, clips: Clips, *, restored: bool) -> str:
    """A hash of all that shapes a clip besides its start and seed.

    Weights, recipe and sampler, the store's clips and options, the kind of device, and whether
    clips are restored or generated. Not torch's version: bits may differ between versions.
    """
    store = clips.store.attributes
    recipe = generator.recipe.to_dict()
    content = {
        "weights": _weights(generator),
        "recipe": {name: recipe[name] for name in KEPT},
        "statistics": [generator.space.statistics.mean, generator.space.statistics.std],
        "store": [store.plan_hash, store.options.model_dump(mode="json"), list(store.labels)],
        "device": generator.device.type,
        "restored": restored,
    }
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


def _weights(generator: Generator) -> dict[str, str]:
    networks = {
        "denoiser": generator.network,
        "autoencoder": generator.space.autoencoder,
        "refiner": getattr(generator.space, "refiner", None),
    }
    return {name: weights_hash(n) for name, n in networks.items() if n is not None}
