"""Make the clips of a protocol, part by part: a run that is killed loses the part it was making.

`parts/part-00000.safetensors` ... hold uint8 frames as they were made, `clip` and `seed` of each;
nothing is compressed again. A part is trusted only if its metadata name the same run, options and
rows; any other is made anew.
"""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from shared.console import Bar, Progress, byte_count, console
from shared.errors import UserError
from shared.schema import StoreAttributes
from shared.store.paths import write_whole
from train.data.clips import Clips
from train.evaluate.protocols import Plan
from train.generate.generator import Generator, given_clips, load_generator, real_guidance
from train.models.autoencoder import weights_hash
from train.recipe import Recipe, recipe_from_dict
from train.run import RunFolder
from train.spaces import Decoded, Space, build_space
from train.stages.autoencoder import load_autoencoder
from train.stages.derived import stored_and_derived
from train.stages.diffusion import saved_fields
from train.trainer.checkpoint import checkpoints, load_config

PART_CLIPS = 32
"""Clips in a part, and so the most that a kill costs."""

SHOWN_CLIPS = 24
"""Clips that are kept for the page, the first of all."""

_RECONSTRUCT_BATCH = 8
_IDENTITY = "identity"


@dataclass(frozen=True)
class TrainedRun:
    """A trained run, as far as evaluation needs it.

    Attributes:
        store: attributes of the store it was trained on.
        space: target space, with the autoencoder and the refiner where there are any.
        recipe: choices that matter at sampling.
        device: of the networks.
        generator: None where no denoiser was trained: such a run can only reconstruct.
        real_motion: the guide's conditions are those of the real clips, not generated.
    """

    store: StoreAttributes
    space: Space
    recipe: Recipe
    device: torch.device
    generator: Generator | None
    real_motion: bool = False


def load_run(folder: Path, device: torch.device, *, reconstruct: bool = False) -> TrainedRun:
    """Load a trained run.

    Args:
        folder: of the run.
        device: for the networks.
        reconstruct: accept a run of which only the stage `vae` was trained.

    Raises:
        UserError: a stage is missing, or the autoencoder is not the one that later stages saw.
    """
    run = RunFolder(folder)
    if reconstruct and checkpoints(run.autoencoder) and not checkpoints(run.diffusion):
        config = load_config(run.autoencoder, "run first: dvdm-train vae")
        names = ("autoencoder", "space", "split", "seed")
        recipe = recipe_from_dict({"name": "run", **{name: config[name] for name in names}})
        store = StoreAttributes.model_validate(config["store"])
        autoencoder = load_autoencoder(recipe.space, run, device)
        # Without statistics: what encoding scales, decoding scales back.
        space = build_space(recipe.space, store.options, autoencoder)
        return TrainedRun(store, space, recipe, device, None)
    generator = load_generator(folder, device)
    return TrainedRun(generator.store, generator.space, generator.recipe, device, generator)


def run_identity(run: TrainedRun, clips: Clips, *, reconstruct: bool) -> str:
    """Hash all that shapes a clip except its start and its seed.

    Weights, recipe and sampler, the store's clips and options, the kind of device, and whether
    clips are reconstructed or generated. Not torch's version: bits may differ between versions.
    """
    store = clips.store.attributes
    content = _learned(run.space, run.recipe, run.generator) | {
        "store": [store.plan_hash, store.options.model_dump(mode="json"), list(store.labels)],
        "device": run.device.type,
        "restored": reconstruct,
    }
    if run.real_motion:
        content["motion"] = "real"
    return _hash(content)


def _learned(space: Space, recipe: Recipe, generator: Generator | None) -> dict[str, Any]:
    """Weights, recipe and statistics of a run, its guide's included."""
    networks = {
        "denoiser": None if generator is None else generator.network,
        "autoencoder": space.autoencoder,
        "refiner": space.refiner,
        "decoder": space.decoder,
    }
    content: dict[str, Any] = {
        "weights": {name: weights_hash(n) for name, n in networks.items() if n is not None},
        "recipe": saved_fields(recipe.to_dict()),
        "statistics": [space.statistics.mean, space.statistics.std],
    }
    if generator is not None and generator.guide is not None:
        guide = generator.guide
        content["guide"] = _learned(guide.space, guide.recipe, guide)
    return content


@torch.no_grad()
def reconstruct(
    space: Space, clips: Clips, indices: NDArray[np.int64], device: torch.device
) -> Decoded:
    """Encode stored clips and decode them again."""
    known = stored_and_derived(space, clips, indices, device)
    return space.decode(space.target(known), known)


def unrefined_frames(decoded: Decoded) -> Tensor:
    """Frames before the refining network where there is one, uint8 (B, T, 3, H, W)."""
    return decoded.parts.get("unrefined", decoded.frames)


@dataclass(frozen=True)
class Part:
    """Rows of a plan, and the file they belong in."""

    rows: slice
    path: Path
    identity: str

    @property
    def clips(self) -> int:
        """Number of clips."""
        return self.rows.stop - self.rows.start

    def is_made(self) -> bool:
        """True if the file exists and holds these rows of this run."""
        from safetensors import SafetensorError, safe_open

        try:
            with safe_open(self.path, framework="pt") as file:
                return (file.metadata() or {}).get(_IDENTITY) == self.identity
        except (FileNotFoundError, SafetensorError):
            return False

    def tensors(self) -> dict[str, Tensor]:
        """Tensors of the file, by name; `frames` are uint8, shape (B, T, 3, H, W)."""
        from safetensors.torch import load_file

        return load_file(self.path)


def plan_parts(out: Path, plan: Plan, run_identity: str, size: int | None = None) -> list[Part]:
    """Divide a plan into parts: rows, files, and the identity that a part must have.

    Args:
        out: folder of the evaluation.
        plan: clips to make.
        run_identity: see the function of that name.
        size: clips in a part; None: `PART_CLIPS`.
    """
    size, parts = size or PART_CLIPS, []
    for start in range(0, len(plan.clip), size):
        rows = slice(start, min(start + size, len(plan.clip)))
        path = out / "parts" / f"part-{start // size:05d}.safetensors"
        content = [run_identity, plan.clip[rows].tolist(), plan.seed[rows].tolist(), start == 0]
        parts.append(Part(rows, path, _hash(content)))
    return parts


def make_parts(
    parts: list[Part], plan: Plan, run: TrainedRun, clips: Clips, *, reconstruct: bool = False
) -> int:
    """Make the parts that are missing or belong to another run.

    Args:
        parts: of the plan.
        plan: clips to make.
        run: generates them.
        clips: of the store.
        reconstruct: encode and decode stored clips instead.

    Returns:
        Number of parts that were there already.

    Raises:
        UserError: the disk has no room for them.
    """

    def make(part: Part, bar: Bar) -> dict[str, Tensor]:
        indices, seeds = plan.clip[part.rows], plan.seed[part.rows]
        if reconstruct:
            decoded = _reconstruct(run, clips, indices)
        else:
            decoded = _generate(run, clips, indices, seeds)
        tensors = {"frames": decoded.frames}
        if part is parts[0]:
            tensors["unrefined"] = unrefined_frames(decoded)
            tensors |= run.space.drawn_parts(decoded)
            moved = run.space.moved(decoded.parts, decoded.frames[:, 0])
            tensors |= {} if moved is None else {"moved": moved}
        bar(part.clips)
        return tensors | {"clip": torch.from_numpy(indices), "seed": torch.from_numpy(seeds)}

    store = clips.store.options
    clip_bytes = store.frames * 3 * store.size.pixels
    return fill_parts(parts, make, clip_bytes, [part.clips for part in parts], ("clips", "clips"))


def fill_parts(
    parts: list[Part],
    make: Callable[[Part, Bar], dict[str, Tensor]],
    clip_bytes: int,
    units: Sequence[int],
    shown: tuple[str, str],
) -> int:
    """Write the parts that are missing or belong to another run.

    Args:
        parts: all of them.
        make: gives the tensors of a part, and counts its units on the bar.
        clip_bytes: size of a clip's frames.
        units: of work, of each part.
        shown: what the progress bar shows, and the name of its units.

    Returns:
        Number of parts that were there already.

    Raises:
        UserError: the disk has no room for them.
    """
    wanted = [part for part in parts if not part.is_made()]
    if others := sum(part.path.exists() for part in wanted):
        console.print(f"{others} parts are of another run or other options; they are made anew")
    folder = parts[0].path.parent
    folder.mkdir(parents=True, exist_ok=True)
    for torn in folder.glob(".part-*"):
        torn.unlink()
    _require_room(folder, sum(part.clips for part in wanted) * clip_bytes)
    done = sum(n for part, n in zip(parts, units, strict=True) if part not in wanted)
    title, unit = shown
    with Progress().bar(title, sum(units), unit, done=done) as bar:
        for part in wanted:
            write_tensors(part.path, make(part, bar), {_IDENTITY: part.identity})
    return len(parts) - len(wanted)


def _generate(
    run: TrainedRun, clips: Clips, indices: NDArray[np.int64], seeds: NDArray[np.int64]
) -> Decoded:
    """Generate clips from the given frames and labels of stored ones."""
    generator = run.generator
    assert generator is not None
    labels = [None if label < 0 else int(label) for label in clips.label[indices]]
    if run.real_motion:
        known = real_guidance(generator, clips, indices)
        generator = replace(generator, guide=None)
    else:
        known = given_clips(run.space, clips, indices)
    return generator(known.pop("first_frame"), labels, seeds.tolist(), known=known)


def _reconstruct(run: TrainedRun, clips: Clips, indices: NDArray[np.int64]) -> Decoded:
    """Reconstruct stored clips batch by batch; frames and parts on the CPU."""
    batches = [
        reconstruct(run.space, clips, rows, run.device)
        for rows in np.array_split(indices, -(-len(indices) // _RECONSTRUCT_BATCH))
    ]
    return Decoded(
        torch.cat([batch.frames.cpu() for batch in batches]),
        {
            name: torch.cat([batch.parts[name].cpu() for batch in batches])
            for name in ("unrefined", *run.space.draws)
            if name in batches[0].parts
        },
    )


def _require_room(folder: Path, needed: int) -> None:
    free = shutil.disk_usage(folder).free
    if needed > free:
        raise UserError(
            f"{folder}: {byte_count(needed)} of clips are to be kept, and {byte_count(free)} are"
            " free; give another --out, or fewer with --count"
        )


def write_tensors(
    path: Path, tensors: dict[str, Tensor], metadata: dict[str, str] | None = None
) -> None:
    """Write a safetensors file, whole or not at all."""
    from safetensors.torch import save

    # Clones, because a file may not name the same memory twice.
    whole = {name: tensor.cpu().contiguous().clone() for name, tensor in tensors.items()}
    write_whole(path, save(whole, metadata))


def shown_clips(
    first: Part, plan: Plan, clips: Clips, read_as: NDArray[np.int64] | None
) -> dict[str, Tensor]:
    """Gather the first clips and their real ones for the page.

    Args:
        first: part of the plan.
        plan: of the clips.
        clips: of the store.
        read_as: label that the classifier reads in each clip, shape (N,), or more of them.

    Returns:
        By name: frames, real, unrefined (before the refining network), moved (what motion alone
        gives, where the space has motion), decoded parts that the space draws, clip, seed, label,
        read_as.
    """
    shown = {name: tensor[:SHOWN_CLIPS] for name, tensor in first.tensors().items()}
    start: NDArray[np.int64] = plan.clip[first.rows][:SHOWN_CLIPS]
    shown["real"] = clips.frames(clips.batch(start, torch.device("cpu")))
    shown["label"] = torch.from_numpy(clips.label[start])
    if read_as is not None:
        shown["read_as"] = torch.from_numpy(read_as[: len(start)])
    return shown


def _hash(content: object) -> str:
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()
