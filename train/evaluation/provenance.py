"""What stands beside every score: where it comes from, so that anyone can get it again."""

from __future__ import annotations

import hashlib
import platform
import shlex
import sys
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from train.additions import additions
from train.data import Clips
from train.evaluation.produce import run_identity
from train.generate import Generator
from train.machine import processor
from train.metrics.i3d import I3D
from train.metrics.judges import Judges
from train.protocols.plan import Plan

_PACKAGES = ("torch", "torchmetrics", "scipy", "numpy")


def provenance(
    generator: Generator,
    run: Path,
    clips: Clips,
    plan: Plan,
    judges: Judges,
    i3d: I3D | None,
    seed: int,
) -> dict[str, Any]:
    """Windows, seeds, counts, split, stride, hashes, hardware, versions, command."""
    store, recipe = clips.store.attributes, generator.recipe
    options = store.options
    return {
        "command": shlex.join(["python", "-m", "train", *sys.argv[1:]]),
        "hardware": processor(),
        "device": generator.device.type,
        "versions": {name: version(name) for name in _PACKAGES}
        | {"python": platform.python_version()},
        "data_set": store.dataset,
        "split": recipe.split or next(iter(store.splits), "any"),
        "split_rule": store.splits.get(recipe.split or next(iter(store.splits), "any"), {}),
        "train_clips": len(clips.train),
        "test_clips": len(clips.test),
        "generated_clips": len(plan.clip),
        "first_frames": len(np.unique(plan.clip)),
        "real_windows": len(plan.windows),
        "real_windows_from_videos": plan.videos,
        "real_windows_hash": _hash(plan.windows),
        "starts_hash": _hash(plan.clip),
        "frames": options.frames,
        "frame_stride": options.stride,
        "frame_choice": options.clips,
        "size": options.size,
        "seed": seed,
        "seeds": [int(plan.seed[0]), int(plan.seed[-1])],
        "sampler": recipe.to_dict()["sampler"],
        "run": str(run),
        "run_hash": run_identity(generator, clips, restored=False),
        "judges_hash": judges.identity,
        "i3d_sha256": None if i3d is None else i3d.sha256,
        "store_options": options.model_dump(mode="json"),
        "store_plan_hash": store.plan_hash,
        "additions": additions(_whole(generator), options),
    }


def _whole(generator: Generator) -> dict[str, Any]:
    """The recipe as its checkpoints have it, with the refining network where there is one."""
    refined = getattr(generator.space, "refiner", None) is not None
    return generator.recipe.to_dict() | {"refiner": {} if refined else None}


def _hash(values: NDArray[np.int64]) -> str:
    """Of positions in the store, in their order."""
    return hashlib.sha256(values.astype("<i8").tobytes()).hexdigest()[:16]
