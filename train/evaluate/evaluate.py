"""Evaluate a run by a protocol: plan, make the clips, compute their metrics, write a summary.

The same run, protocol and seed give the same numbers; an evaluation that is stopped goes on at the
part where it was. Numbers are written with the protocol, windows, seeds and hashes they are from.
"""

from __future__ import annotations

import hashlib
import json
import platform
from dataclasses import asdict, dataclass, field, replace
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from shared.console import console, shell_command
from shared.errors import UserError
from shared.report.pages import write_page
from shared.store.paths import write_whole
from shared.store.reader import ClipReader, open_path
from train.data.clips import Clips, check_same_store
from train.evaluate.clip_metrics import part_metrics, real_clip_metrics
from train.evaluate.deviations import deviations
from train.evaluate.long import evaluate_long, print_windows
from train.evaluate.make_clips import (
    TrainedRun,
    load_run,
    make_parts,
    plan_parts,
    run_identity,
    shown_clips,
    write_tensors,
)
from train.evaluate.metrics.evaluation_networks import (
    EvaluationNetworkOptions,
    EvaluationNetworks,
    train_evaluation_networks,
)
from train.evaluate.metrics.fvd import I3D, load_i3d
from train.evaluate.page import evaluation_page, markdown, score_rows, score_text
from train.evaluate.protocols import (
    Candidates,
    Plan,
    Protocol,
    check_protocol_fits,
    make_plan,
    protocol_named,
    split_name,
)
from train.evaluate.summary import (
    best_of_summary,
    frame_summary,
    fvd_summary,
    overview,
    psnr_of_vectors_alone,
    summarise,
    why_no_fvd,
)
from train.generate.generator import with_sampler
from train.run import RunFolder, own_command
from train.trainer.distributed import choose_device
from train.trainer.monitor import processor
from train.trainer.signals import stoppable

SCORES, TABLE, CLIPS, PAGE = "scores.json", "scores.md", "generated.safetensors", "index.html"

_PACKAGES = ("torch", "torchmetrics", "numpy")


@dataclass(frozen=True)
class EvaluateOptions:
    """Options of an evaluation.

    Attributes:
        protocol: which clips, how many, and what is computed.
        seed: of windows, order and noise: clip k is generated from seed + k.
        i3d: StyleGAN-V's TorchScript file; None: no FVD.
        networks: folder of the evaluation networks; None: in the evaluation's folder.
        network_options: how they are trained.
    """

    protocol: Protocol
    seed: int = 0
    i3d: Path | None = None
    networks: Path | None = None
    network_options: EvaluationNetworkOptions = field(default_factory=EvaluationNetworkOptions)


def evaluate_run(
    folder: Path,
    store_path: str,
    out: Path | None = None,
    *,
    protocol: str = "demo",
    count: int | None = None,
    samples: int | None = None,
    seed: int = 0,
    i3d: Path | None = None,
    judges: Path | None = None,
    judge_steps: int = 600,
    device: str = "auto",
    frames: int | None = None,
    sampler: str | None = None,
    steps: int | None = None,
    guidance: float | None = None,
    real_motion: bool = False,
) -> dict[str, Any]:
    """Run the command `evaluate`, its options by name; print the scores, and return them.

    Args:
        folder: of the run.
        store_path: store that it was trained on.
        out: None takes RUN/evaluation, with a folder of each protocol other than `demo`.
        protocol: name of it.
        count, samples: fewer first frames, or samples of each, than the protocol's.
        seed: of windows, order and noise.
        i3d: file of I3D's weights.
        judges: folder of the evaluation networks.
        judge_steps: training steps of the classifier; the subject encoder takes a third more.
        device: auto, cpu, cuda or cuda:N.
        frames: of longer videos, which are scored window by window instead; None: clips.
        sampler, steps, guidance: None: the run's; others go into a folder of their own.
        real_motion: give the network the real clips' motion, where the run has a guide; into a
            folder of its own, too.

    Raises:
        UserError: an option is wrong, the store is not the run's, or see `evaluate`.
    """
    chosen = protocol_named(protocol).with_fewer(count, samples)
    options = EvaluateOptions(chosen, seed, i3d, judges, EvaluationNetworkOptions.of(judge_steps))
    run = load_run(folder, choose_device(device), reconstruct=chosen.reconstruct)
    given = {"sampler": sampler, "steps": steps, "guidance": guidance}
    changes: dict[str, object] = {n: value for n, value in given.items() if value is not None}
    if changes and chosen.reconstruct:
        raise UserError(f"--{min(changes)}: --protocol {protocol} samples nothing; leave it out")
    if run.generator is not None:
        changed = with_sampler(run.generator, name=sampler, steps=steps, guidance=guidance)
        run = replace(run, generator=changed, recipe=changed.recipe)
    if real_motion:
        _check_real_motion(run, folder, chosen, frames)
        run, changes = replace(run, real_motion=True), changes | {"motion": "real"}
    if frames is not None and run.space.given_index:
        raise UserError(
            f"--frames: {folder} is given the frame in the middle of a clip (space.key=centre), and"
            " such clips do not go on from each other: leave it out"
        )
    store = open_path(store_path)
    check_same_store({"store": run.store.model_dump(mode="json")}, store, folder)
    if out is None:
        evaluations = RunFolder(folder).evaluation
        out = evaluations if protocol == "demo" else evaluations / protocol
        if changes:
            options = replace(options, networks=options.networks or out / "judges")
            out /= "-".join(f"{name}-{value}" for name, value in changes.items())
    if frames is not None:
        with stoppable(), RunFolder(folder).record_command():
            return _evaluate_videos(run, store, out / f"frames-{frames}", options, frames)
    with stoppable(), RunFolder(folder).record_command():
        scores = evaluate(run, store, folder, out, options)
    for name, value, _ in score_rows(scores):
        console.print(f"{name:70} {score_text(value)}", markup=False)
    next_command = f" Next: {shell_command('dvdm-train', 'report', folder, '--store', store_path)}"
    console.print(
        f"protocol {protocol}: wrote {SCORES}, {TABLE}, {PAGE} and the clips in {out}."
        f"{next_command if run.generator else ''}",
        markup=False,
    )
    return scores


def _check_real_motion(
    run: TrainedRun, folder: Path, protocol: Protocol, frames: int | None
) -> None:
    """Refuse `--real-motion` where no clip has any to give."""
    if run.generator is None or run.generator.guide is None:
        raise UserError(f"--real-motion: {folder} has no guide that makes motion; leave it out")
    if frames is not None or protocol.reconstruct:
        other = f"--protocol {protocol.name}" if frames is None else f"--frames {frames}"
        raise UserError(f"--real-motion is for generated clips; leave it or {other} out")


def _evaluate_videos(
    run: TrainedRun, store: ClipReader, out: Path, options: EvaluateOptions, frames: int
) -> dict[str, Any]:
    """Score videos longer than a clip, from the first frames of the protocol; see `long`."""
    clips, plan = _clips_and_plan(run, store, options)
    i3d = None if options.i3d is None else load_i3d(options.i3d, run.device)
    networks = train_evaluation_networks(
        clips, options.networks or out.parent / "judges", run.device, options.network_options
    )
    scores = evaluate_long(run, clips, plan, frames, networks, i3d, out)
    print_windows(scores)
    console.print(f"wrote {SCORES}, the videos and a contact sheet in {out}", markup=False)
    return scores


def evaluate(
    run: TrainedRun, store: ClipReader, folder: Path, out: Path, options: EvaluateOptions
) -> dict[str, Any]:
    """Evaluate; write scores.json, scores.md, index.html, generated.safetensors and parts in OUT.

    Args:
        run: whose clips are evaluated.
        store: that it was trained on.
        folder: of the run, to be recorded.
        out: folder of the evaluation.
        options: protocol, seed and evaluation networks.

    Returns:
        The content of scores.json.

    Raises:
        UserError: the store or its split is not what the protocol is about; there are too few clips
            for a distance; the I3D file is not one; the disk is full.
    """
    protocol, device = options.protocol, run.device
    clips, plan = _clips_and_plan(run, store, options)
    i3d = _load_i3d(options, plan, device)
    parts = plan_parts(out, plan, run_identity(run, clips, reconstruct=protocol.reconstruct))
    reused = make_parts(parts, plan, run, clips, reconstruct=protocol.reconstruct)
    networks = train_evaluation_networks(
        clips, options.networks or out / "judges", device, options.network_options
    )
    real = real_clip_metrics(clips, networks, device, plan.windows, i3d)
    metrics, repeated = part_metrics(
        parts, plan, clips, networks, i3d, device, run.space.given_index
    )
    logits = metrics.get("gesture_logits")
    read_as = None if logits is None else logits.argmax(axis=1)
    shown = shown_clips(parts[0], plan, clips, read_as)

    size = store.options.size
    summary = summarise(metrics, plan.clip, clips, real)
    of_repeated = summarise(repeated, plan.clip[: len(repeated["change"])], clips, real)
    frame_clips = {name: values[: protocol.frame_clips] for name, values in metrics.items()}
    if protocol.reconstruct:
        vectors_alone = psnr_of_vectors_alone(clips, plan.clip[: protocol.frame_clips])
        scores: dict[str, Any] = {"psnr_vectors_alone": vectors_alone}
    else:
        asked = clips.label[plan.clip]
        scores = overview(summary, of_repeated, read_as, asked, shown, run.space, clips, device)
        scores["seed"] = options.seed
    scores |= {
        "protocol": asdict(protocol),
        "distances": fvd_summary(protocol, metrics, plan.clip, clips, real),
        "frames": frame_summary(frame_clips, size),
        "scores": asdict(summary),
        "first_frame_repeated": asdict(of_repeated),
    }
    if protocol.samples > 1:
        scores["best_of"] = best_of_summary(metrics, plan.clip)
    made = _provenance(run, folder, clips, plan, networks, i3d, options.seed)
    scores["made"] = made | {"parts_reused": reused}

    # Scores last: where scores.json exists, everything does.
    write_tensors(out / CLIPS, shown)
    write_whole(out / TABLE, markdown(scores).encode())
    write_page(out / PAGE, evaluation_page(scores, shown, store.attributes.labels))
    write_whole(out / SCORES, json.dumps(scores, indent=1, ensure_ascii=False).encode())
    return scores


def read_scores(evaluation: Path) -> dict[str, dict[str, Any]]:
    """Read every scores.json in and below a folder, by the folder relative to that one."""
    return {
        path.parent.relative_to(evaluation).as_posix(): json.loads(path.read_bytes())
        for path in sorted(evaluation.rglob(SCORES))
    }


def _clips_and_plan(
    run: TrainedRun, store: ClipReader, options: EvaluateOptions
) -> tuple[Clips, Plan]:
    clips = Clips(store, run.recipe.split)
    check_protocol_fits(options.protocol, store.attributes, run.recipe.split)
    return clips, make_plan(options.protocol, _candidates(clips), options.seed)


def _candidates(clips: Clips) -> Candidates:
    """Test clips of a store, for planning."""
    store, test = clips.store, clips.test
    column = {name: store.column(name)[test] for name in ("video", "segment", "start_frame")}
    video = zip(column["video"].tolist(), column["segment"].tolist(), strict=True)
    subject = store.column("subject").astype(np.int64)[test]
    return Candidates(
        test, tuple(video), column["start_frame"].astype(np.int64), clips.label[test], subject
    )


def _load_i3d(options: EvaluateOptions, plan: Plan, device: torch.device) -> I3D | None:
    """Load I3D, and count the clips, before anything is generated."""
    if options.i3d is None:
        return None
    if complaint := why_no_fvd(len(plan.clip), len(plan.windows)):
        raise UserError(f"FVD: {complaint}; or leave out --i3d")
    return load_i3d(options.i3d, device)


def _provenance(
    run: TrainedRun,
    folder: Path,
    clips: Clips,
    plan: Plan,
    networks: EvaluationNetworks,
    i3d: I3D | None,
    seed: int,
) -> dict[str, Any]:
    """Windows, seeds, counts, split, stride, hashes, hardware, versions and command of scores."""
    store, recipe = clips.store.attributes, run.recipe.to_dict()
    options, split = store.options, split_name(store, run.recipe.split)
    # A refiner counts where one was trained; checkpoints do not record its options.
    refined = run.space.refiner is not None
    return {
        "command": own_command(),
        "hardware": processor(),
        "device": run.device.type,
        "versions": {name: version(name) for name in _PACKAGES if find_spec(name)}
        | {"python": platform.python_version()},
        "data_set": store.dataset,
        "split": split,
        "split_rule": store.splits.get(split, {}),
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
        "size": options.size.option,
        "seed": seed,
        "seeds": [int(plan.seed[0]), int(plan.seed[-1])],
        "sampler": recipe["sampler"] if run.generator else None,
        "run": str(folder),
        "run_hash": run_identity(run, clips, reconstruct=False),
        "judges_hash": networks.identity,
        "i3d_sha256": None if i3d is None else i3d.sha256,
        "store_options": options.model_dump(mode="json"),
        "store_plan_hash": store.plan_hash,
        "additions": deviations(recipe | {"refiner": {} if refined else None}, options),
    }


def _hash(values: NDArray[np.int64]) -> str:
    """Hash of positions in the store, in their order."""
    return hashlib.sha256(values.astype("<i8").tobytes()).hexdigest()[:16]
