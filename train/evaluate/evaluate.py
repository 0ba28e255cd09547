"""Score a run by a protocol: plan, make the clips part by part, measure them, write it all down.

The same run, protocol and seed give the same numbers; one that is stopped goes on at the part where
it was. Numbers never stand without the protocol, the windows, seeds and hashes they came from.
"""

from __future__ import annotations

import hashlib
import json
import platform
import shlex
import sys
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from shared.errors import UserError
from shared.report import html
from shared.store.export import ClipReader
from shared.store.paths import write_whole
from train.data.clips import ClipBatch, Clips
from train.evaluate.deviations import additions
from train.evaluate.make_clips import (
    Part,
    generating,
    kept_clips,
    make_parts,
    plan_parts,
    restore,
    restoring,
    run_identity,
    save_clips,
)
from train.evaluate.measure import measure_parts, measure_real
from train.evaluate.metrics.classifier import JudgeOptions, Judges, train_judges
from train.evaluate.metrics.fvd import I3D, load_i3d
from train.evaluate.metrics.score import Measures, Reference, summarise
from train.evaluate.page import evaluation_page, score_table
from train.evaluate.protocols import Candidates, Plan, Protocol, make_plan
from train.evaluate.summary import (
    Numbers,
    best_of_numbers,
    frame_numbers,
    fvd_numbers,
    headline,
    why_no_fvd,
)
from train.generate.generator import Generator
from train.spaces import Space
from train.trainer.monitor import processor

# MERGED: Whether a store's clips are what a protocol is about, and which of them it may take.


def refuse_other_clips(protocol: Protocol, clips: Clips, split: str | None) -> None:
    """Compare what a protocol is about with what there is.

    Raises:
        UserError: clips have another number of frames, or the split keeps something else apart.
    """
    attributes = clips.store.attributes
    frames = attributes.options.frames
    if protocol.frames not in (None, frames):
        raise UserError(
            f"--protocol {protocol.name} is about clips of {protocol.frames} frames; the store's"
            f" have {frames}: extract with --frames {protocol.frames}, or take --protocol demo"
        )
    name = split or next(iter(attributes.splits), "any")
    by_subject = _by_subject(attributes.splits.get(name, {}))
    if protocol.split != "any" and by_subject != (protocol.split == "subjects"):
        wanted = "people nobody trained on" if protocol.split == "subjects" else "a random split"
        raise UserError(
            f"--protocol {protocol.name} is about {wanted}, and the run was trained with the split"
            f" {name!r}; the store has {', '.join(attributes.splits)}: train with --set split=NAME"
        )


def candidates(clips: Clips) -> Candidates:
    """What planning needs of a store's test clips."""
    store, test = clips.store, clips.test
    column = {name: store.column(name)[test] for name in ("video", "segment", "start_frame")}
    video = zip(column["video"].tolist(), column["segment"].tolist(), strict=True)
    subject = store.column("subject").astype(np.int64)[test]
    return Candidates(
        test, tuple(video), column["start_frame"].astype(np.int64), clips.label[test], subject
    )


def _by_subject(split: Mapping[str, Any]) -> bool:
    return split.get("kind") == "subjects" or split.get("by") == "subject"


# MERGED: What stands beside every score: where it comes from, so that anyone can get it again.


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


# MERGED: What `train.evaluate.evaluate` is made of: clips on disk, numbers, tables, a page.


SCORES, TABLE, CLIPS, PAGE = "scores.json", "scores.md", "generated.safetensors", "index.html"


@dataclass(frozen=True)
class EvaluateOptions:
    """How to score.

    Attributes:
        protocol: which clips, how many, and what is computed.
        seed: of windows, order and noise: clip k is generated from seed + k.
        i3d: StyleGAN-V's TorchScript file; None: no FVD.
        judges: where the classifiers are kept; None: in the evaluation's folder.
        judge: how they are trained.
    """

    protocol: Protocol
    seed: int = 0
    i3d: Path | None = None
    judges: Path | None = None
    judge: JudgeOptions = field(default_factory=JudgeOptions)


def evaluate(
    generator: Generator, store: ClipReader, run: Path, out: Path, options: EvaluateOptions
) -> Numbers:
    """Score, and write scores.json, scores.md, index.html, generated.safetensors and parts in OUT.

    Returns:
        What scores.json holds.

    Raises:
        UserError: the store or its split is not what the protocol is about; there are too few clips
            for a distance; the I3D file is not one; the disk is full.
    """
    clips = Clips(store, generator.recipe.split)
    refuse_other_clips(options.protocol, clips, generator.recipe.split)
    plan = make_plan(options.protocol, candidates(clips), options.seed)
    i3d = _i3d(options, plan, generator.device)
    parts, reused = _make(generator, clips, plan, out, options.protocol)
    folder = options.judges or out / "judges"
    judges = train_judges(clips, folder, generator.device, options.judge)
    reference = measure_real(clips, judges, plan, i3d, generator.device)
    measures, floor = measure_parts(parts, plan, clips, judges, i3d, generator.device)
    kept = kept_clips(parts[0], plan, clips, measures)
    scores = _numbers(generator, clips, plan, measures, floor, reference, kept, options)
    scores["made"] = provenance(generator, run, clips, plan, judges, i3d, options.seed)
    scores["made"]["parts_reused"] = reused
    _write(out, scores, kept, store.attributes.labels)
    return scores


def reconstruct(space: Space, batch: ClipBatch) -> Tensor:
    """Clips encoded and decoded again, unrefined: uint8, shape (B, T, 3, H, W)."""
    decoded = restore(space, batch)
    return decoded.parts.get("unrefined", decoded.frames)


def _i3d(options: EvaluateOptions, plan: Plan, device: torch.device) -> I3D | None:
    """Loaded and tried before anything is generated."""
    if options.i3d is None:
        return None
    if complaint := why_no_fvd(len(plan.clip), len(plan.windows)):
        raise UserError(f"FVD: {complaint}; or leave out --i3d")
    return load_i3d(options.i3d, device)


def _make(
    generator: Generator, clips: Clips, plan: Plan, out: Path, protocol: Protocol
) -> tuple[list[Part], int]:
    """The clips, in parts; how many parts were there before."""
    identity = run_identity(generator, clips, restored=protocol.reconstruct)
    parts = plan_parts(out, plan, identity)
    produce = (
        restoring(generator.space, clips, generator.device)
        if protocol.reconstruct
        else generating(generator, clips)
    )
    store = clips.store.options
    return parts, make_parts(parts, plan, produce, store.frames * 3 * store.size**2)


def _numbers(
    generator: Generator,
    clips: Clips,
    plan: Plan,
    measures: Measures,
    floor_measures: Measures,
    reference: Reference,
    kept: dict[str, Tensor],
    options: EvaluateOptions,
) -> Numbers:
    """What scores.json holds, but for where it comes from."""
    protocol, size = options.protocol, clips.store.options.size
    scores = summarise(measures, plan.clip, clips, reference)
    still = plan.clip[: len(floor_measures["change"])]
    floor = summarise(floor_measures, still, clips, reference)
    counted = {name: values[: protocol.frame_clips] for name, values in measures.items()}
    numbers: Numbers = {}
    if not protocol.reconstruct:
        asked = clips.label[plan.clip]
        numbers |= asdict(
            headline(scores, floor, measures, asked, kept, generator, clips, options.seed)
        )
    numbers |= {
        "protocol": asdict(protocol),
        "distances": fvd_numbers(protocol, measures, plan.clip, clips, reference),
        "frames": frame_numbers(counted, size),
        "scores": asdict(scores),
        "first_frame_repeated": asdict(floor),
    }
    if protocol.samples > 1:
        numbers["best_of"] = best_of_numbers(measures, plan.clip)
    return numbers


def _write(out: Path, scores: Numbers, kept: dict[str, Tensor], labels: tuple[str, ...]) -> None:
    """Clips, table and page first: where there is a scores.json, there is everything."""
    save_clips(kept, out / CLIPS)
    write_whole(out / TABLE, score_table(scores).encode())
    html.write_page(out / PAGE, evaluation_page(scores, kept, labels))
    write_whole(out / SCORES, json.dumps(scores, indent=1, ensure_ascii=False).encode())
