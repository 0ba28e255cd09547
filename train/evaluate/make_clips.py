"""The clips that a protocol scores, and by what a run's clips are known."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from shared.console import Progress, console
from shared.errors import UserError
from shared.report.html import byte_count
from shared.store.paths import put_in_place
from train.data.clips import ClipBatch, Clips
from train.evaluate.metrics.score import Measures
from train.evaluate.protocols import Plan
from train.generate.generator import Generator
from train.models.autoencoder import weights_hash
from train.spaces import Decoded, Space
from train.stages.diffusion import SAVED_RECIPE_FIELDS

# MERGED: Generated clips on disk, part by part: a run that is killed loses the part it was at, no more.
#
# `parts/part-00000.safetensors` ... hold uint8 frames as they were generated, `clip` and `seed` of
# each; nothing is compressed again. A part is trusted only if its metadata name the same run, options
# and rows; any other is made anew.


PART_CLIPS = 32
"""Clips in a part, and so the most that a kill costs."""

FOLDER = "parts"
_IDENTITY = "identity"

Produce = Callable[[NDArray[np.int64], NDArray[np.int64], bool], dict[str, Tensor]]
"""(clips, seeds, whether to keep what frames are made of) to tensors, `frames` among them."""


@dataclass(frozen=True)
class Part:
    """Rows of a plan, and the file they belong in."""

    rows: slice
    path: Path
    identity: str

    def is_made(self) -> bool:
        """Whether the file is there and holds these very rows of this very run."""
        from safetensors import SafetensorError, safe_open

        try:
            with safe_open(self.path, framework="pt") as file:
                return (file.metadata() or {}).get(_IDENTITY) == self.identity
        except (FileNotFoundError, SafetensorError):
            return False

    def frames(self) -> Tensor:
        """uint8, shape (B, T, 3, H, W)."""
        return self.tensors()["frames"]

    def tensors(self) -> dict[str, Tensor]:
        """All that the file holds, by name."""
        from safetensors.torch import load_file

        return load_file(self.path)


def plan_parts(out: Path, plan: Plan, run_identity: str) -> list[Part]:
    """The parts of a plan: their rows, files, and what they must be made by.

    Args:
        out: the evaluation's folder.
        plan: what is generated.
        run_identity: of all that shapes a clip besides its start and its seed.
    """
    parts = []
    for start in range(0, len(plan.clip), PART_CLIPS):
        rows = slice(start, min(start + PART_CLIPS, len(plan.clip)))
        path = out / FOLDER / f"part-{start // PART_CLIPS:05d}.safetensors"
        content = [run_identity, plan.clip[rows].tolist(), plan.seed[rows].tolist(), start == 0]
        digest = hashlib.sha256(json.dumps(content).encode()).hexdigest()
        parts.append(Part(rows, path, digest))
    return parts


def make_parts(parts: list[Part], plan: Plan, produce: Produce, clip_bytes: int) -> int:
    """Make those that are missing or belong to something else.

    Args:
        parts: of the plan.
        plan: what is generated.
        produce: makes the clips of one part; of the first one with all that is worth showing.
        clip_bytes: of one clip.

    Returns:
        How many parts were there already.

    Raises:
        UserError: the disk has no room for them.
    """
    wanted = [part for part in parts if not part.is_made()]
    others = sum(part.path.exists() for part in wanted)
    if others:
        console.print(f"{others} parts are of another run or other options; they are made anew")
    folder = parts[0].path.parent
    folder.mkdir(parents=True, exist_ok=True)
    for torn in folder.glob(".part-*"):
        torn.unlink()
    _require_room(folder, sum(_count(part) for part in wanted) * clip_bytes)
    done = sum(_count(part) for part in parts) - sum(_count(part) for part in wanted)
    with Progress().bar("clips", len(plan.clip), "clips", done=done) as bar:
        for part in wanted:
            first = part.rows.start == 0
            tensors = produce(plan.clip[part.rows], plan.seed[part.rows], first)
            _write(part, tensors, plan)
            bar(_count(part))
    return len(parts) - len(wanted)


def _count(part: Part) -> int:
    return part.rows.stop - part.rows.start


def _require_room(folder: Path, needed: int) -> None:
    free = shutil.disk_usage(folder).free
    if needed > free:
        raise UserError(
            f"{folder}: {byte_count(needed)} of clips are to be kept, and {byte_count(free)} are"
            " free; give another --out, or fewer with --count"
        )


def _write(part: Part, tensors: dict[str, Tensor], plan: Plan) -> None:
    """Aside, to the disk, then to its name: what has a name is whole."""
    from safetensors.torch import save_file

    kept = {name: tensor.contiguous().clone() for name, tensor in tensors.items()}
    kept["clip"] = torch.from_numpy(plan.clip[part.rows].copy())
    kept["seed"] = torch.from_numpy(plan.seed[part.rows].copy())
    scratch = part.path.with_name(f".{part.path.name}.{os.getpid()}")
    save_file(kept, scratch, metadata={_IDENTITY: part.identity})
    put_in_place(scratch, part.path)


# MERGED: The clips of an evaluation that are kept to be looked at.


SHOWN = 24
"""The first of all."""


def kept_clips(first: Part, plan: Plan, clips: Clips, measures: Measures) -> dict[str, Tensor]:
    """The first clips with their real ones, for `save_clips`: lossless, to be looked at.

    By name: frames, real, unrefined (before the refining network), motion where vectors were
    generated, clip, seed, label, and read_as: the label that the classifier reads.
    """
    shown = {name: tensor[:SHOWN] for name, tensor in first.tensors().items()}
    start: NDArray[np.int64] = plan.clip[first.rows][:SHOWN]
    shown["real"] = clips.frames(clips.batch(start, torch.device("cpu")))
    shown["label"] = torch.from_numpy(clips.label[start])
    if "gesture_logits" in measures:
        read = measures["gesture_logits"][: len(start)].argmax(axis=1)
        shown["read_as"] = torch.from_numpy(read)
    return shown


def save_clips(kept: dict[str, Tensor], path: Path) -> None:
    """As safetensors, whole or not at all."""
    from safetensors.torch import save_file

    scratch = path.with_name(f".{path.name}.{os.getpid()}")
    # Clones, because a file may not name the same memory twice.
    save_file({name: t.contiguous().clone() for name, t in kept.items()}, scratch)
    put_in_place(scratch, path)


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
    return space.decode(space.encode(batch), vars(batch))


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
        "recipe": {name: recipe[name] for name in SAVED_RECIPE_FIELDS},
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
