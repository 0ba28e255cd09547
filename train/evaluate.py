"""Score a run by a protocol: plan, make the clips part by part, measure them, write it all down.

The same run, protocol and seed give the same numbers; one that is stopped goes on at the part where
it was. Numbers never stand without the protocol, the windows, seeds and hashes they came from.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from pathlib import Path

import torch
from torch import Tensor

from shared import html
from shared.errors import UserError
from shared.paths import write_whole
from shared.reader import ClipReader
from train.data import ClipBatch, Clips
from train.evaluation.checks import candidates, refuse_other_clips
from train.evaluation.headline import headline
from train.evaluation.kept import kept_clips, save_clips
from train.evaluation.measuring import measure_parts, measure_real
from train.evaluation.numbers import (
    Numbers,
    best_of_numbers,
    frame_numbers,
    fvd_numbers,
    why_no_fvd,
)
from train.evaluation.page import evaluation_page
from train.evaluation.parts import Part, make_parts, plan_parts
from train.evaluation.produce import generating, restore, restoring, run_identity
from train.evaluation.provenance import provenance
from train.evaluation.table import score_table
from train.generate import Generator
from train.metrics.i3d import I3D, load_i3d
from train.metrics.judges import JudgeOptions, train_judges
from train.metrics.measure import Measures
from train.metrics.score import Reference, summarise
from train.protocols import Protocol
from train.protocols.plan import Plan, make_plan
from train.spaces import Space

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
