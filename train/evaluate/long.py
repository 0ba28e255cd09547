"""Scores of videos longer than a clip: drift of background and person, and FVD at any length.

Videos go on clip after clip as the system does (`Space.continue_from`): PVDM from the planes of the
clip before, the others from its last frame. They are scored in consecutive windows of a clip's
length, so that every number stands next to its place in the video.

Background drift is the mean absolute difference to frame 0 where the real clip of the same first
frame is still, grey levels; the person is kept in a window that the subject encoder matches to the
person of the first frame. A run that generates from noise alone has no such frame: its first window
says what is still and who is there.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from shared.console import Bar, console
from shared.errors import UserError
from shared.report.pages import table
from shared.report.pictures import contact_sheet, png
from shared.store.paths import write_whole
from train.data.clips import Clips, clips_before
from train.evaluate.clip_metrics import I3D_LOGITS, RealClips, real_clip_metrics
from train.evaluate.make_clips import (
    SHOWN_CLIPS,
    Part,
    TrainedRun,
    fill_parts,
    plan_parts,
    run_identity,
    write_tensors,
)
from train.evaluate.metrics.consistency import change, still_pixels
from train.evaluate.metrics.evaluation_networks import EvaluationNetworks, subject_features
from train.evaluate.metrics.fvd import I3D, LOGITS, frechet, why_too_few
from train.evaluate.protocols import Plan
from train.evaluate.summary import NO_I3D, Figure
from train.generate.generator import BATCH, clips_for, generate_frames, given_clips

SCORES, VIDEOS, SHEET = "scores.json", "videos.safetensors", "videos.png"

_SHEET_VIDEOS, _SHEET_FRAMES = 8, 16
_CPU = torch.device("cpu")


@dataclass(frozen=True)
class Window:
    """Means over videos of one window; `first` is the index of its first frame."""

    first: int
    background_drift: Figure
    person_kept: Figure
    change: float
    """Mean absolute change between frames, grey levels."""
    fvd: Figure
    """To real windows of a clip's length."""


def evaluate_long(
    run: TrainedRun,
    clips: Clips,
    plan: Plan,
    frames: int,
    networks: EvaluationNetworks,
    i3d: I3D | None,
    out: Path,
) -> dict[str, Any]:
    """Generate videos from the first frames of a plan, score them, write scores and the first ones.

    Args:
        run: generates them.
        clips: of its store.
        plan: first frames, labels and seeds; its real windows are what windows compare with.
        frames: N of each video, at least two clips' worth.
        networks: the subject encoder among them.
        i3d: None: no FVD.
        out: folder for scores, videos and a contact sheet; videos that are there from a run of the
            same options are not made again.

    Returns:
        The content of scores.json.

    Raises:
        UserError: N is too short, or only stages before the denoiser were trained.
    """
    length = clips.store.options.frames
    if frames < 2 * length:
        raise UserError(
            f"--frames {frames}: drift is measured over windows of {length} frames, a clip's; give"
            f" {2 * length} or more, or leave it out"
        )
    real = real_clip_metrics(clips, networks, run.device, plan.windows, i3d)
    shown: list[Tensor] = []
    found: list[dict[str, NDArray[np.floating]]] = []
    for part in _generate(run, clips, plan, frames, out):
        videos = part.tensors()["frames"]
        truth = clips.frames(clips.batch(plan.clip[part.rows], _CPU))
        given = truth if run.space.takes_first_frame else videos[:, :length]
        found.append(_measure(videos, given, length, networks, i3d, run.device))
        found[-1]["drift_real"] = background_drift(truth, truth[:, 0], still_pixels(truth)).numpy()
        shown += [videos] if len(shown) * BATCH < SHOWN_CLIPS else []
    measured = {name: np.concatenate([each[name] for each in found]) for name in found[0]}
    films = torch.cat(shown)[:SHOWN_CLIPS]
    scores = {
        "frames": frames,
        "videos": len(plan.clip),
        "continues": run.space.continues,
        "windows": [asdict(window) for window in _windows(run, clips, plan, measured, real, i3d)],
        "background_drift_real": _mean_of_known(measured["drift_real"]),
        "change_real": float(real.metrics["change"].mean()),
        f"fvd_{frames}": _long_fvd(clips, measured, frames, i3d),
    }
    write_tensors(
        out / VIDEOS, {"frames": films, "clip": torch.from_numpy(plan.clip[: len(films)])}
    )
    sheet = contact_sheet(list(films[:_SHEET_VIDEOS].numpy()), every=-(-frames // _SHEET_FRAMES))
    write_whole(out / SHEET, png(sheet))
    write_whole(out / SCORES, json.dumps(scores, indent=1, ensure_ascii=False).encode())
    return scores


def print_windows(scores: dict[str, Any]) -> None:
    """Print a row for each window."""
    names = ("first", "background_drift", "person_kept", "change", "fvd")
    rows = [tuple(_text(window[name]) for name in names) for window in scores["windows"]]
    console.print(table(rows, names, kind="markdown", align="r" * len(names)), markup=False)


def _text(value: Figure) -> str:
    if isinstance(value, str):
        return value.partition(":")[0]
    return str(value) if isinstance(value, int) else f"{value:.3g}"


def _generate(run: TrainedRun, clips: Clips, plan: Plan, frames: int, out: Path) -> list[Part]:
    """Make the videos of a plan that are not there yet, uint8 (B, frames, 3, H, W) in a part."""
    generator = run.generator
    if generator is None:
        raise UserError("--frames: this run has no denoiser; run first: dvdm-train diffusion")
    labels = [None if label < 0 else int(label) for label in clips.label[plan.clip]]
    store = clips.store.options
    identity = f"{run_identity(run, clips, reconstruct=False)}, {frames} frames"
    parts = plan_parts(out, plan, identity, BATCH)

    def make(part: Part, bar: Bar) -> dict[str, Tensor]:
        rows = part.rows
        known = given_clips(run.space, clips, plan.clip[rows])
        first, seeds = known.pop("first_frame"), plan.seed[rows].tolist()
        made = generate_frames(generator, first, labels[rows], seeds, frames, bar, known)
        return {"frames": made.frames}

    steps = sum(generator.steps(n) for n in range(clips_for(frames, store.frames, run.space.adds)))
    video_bytes = frames * 3 * store.size.pixels
    fill_parts(parts, make, video_bytes, [steps] * len(parts), ("videos", "steps"))
    return parts


def _measure(
    videos: Tensor, given: Tensor, length: int, networks: EvaluationNetworks, i3d: I3D | None,
    device: torch.device,
) -> dict[str, NDArray[np.floating]]:  # fmt: skip
    """Metrics of each video (B, ...) and of each of its W windows (B, W, ...), by name.

    Args:
        videos: uint8, shape (B, N, 3, H, W).
        given: clips that say what is still, (B, T, 3, H, W).
        length: of a window.
        networks: of which the subject encoder counts.
        i3d: None: no logits.
        device: to compute on.
    """
    still = still_pixels(given)
    starts = range(0, videos.shape[1] - length + 1, length)
    windows = [videos[:, first : first + length] for first in starts]

    def of_each(metric: Callable[[Tensor], Tensor]) -> NDArray[np.floating]:
        return torch.stack([metric(window) for window in windows], dim=1).numpy()

    found = {
        "drift": of_each(lambda window: background_drift(window, videos[:, 0], still)),
        "change": of_each(change),
    }
    if (subject := networks.subject) is not None:
        found["subject"] = of_each(lambda window: subject_features(subject, window, device))
    if i3d is not None:
        found["logits"] = np.stack([i3d(window) for window in windows], axis=1)
        found["whole_logits"] = i3d(videos)
    return found


def _windows(
    run: TrainedRun,
    clips: Clips,
    plan: Plan,
    measured: dict[str, NDArray[np.floating]],
    real: RealClips,
    i3d: I3D | None,
) -> list[Window]:
    subject = clips.store.column("subject").astype(np.int64)[plan.clip]
    matched = None
    if "subject" in measured:
        windows = range(measured["subject"].shape[1])
        matched = [real.gallery.match(measured["subject"][:, k], plan.clip) for k in windows]
        subject = subject if run.space.takes_first_frame else matched[0]
    return [
        Window(
            k * clips.store.options.frames,
            _mean_of_known(measured["drift"][:, k]),
            _kept(None if matched is None else matched[k], subject),
            float(measured["change"][:, k].mean()),
            NO_I3D if i3d is None else _frechet(measured["logits"][:, k], real.metrics[I3D_LOGITS]),
        )
        for k in range(measured["drift"].shape[1])
    ]


def background_drift(window: Tensor, first_frame: Tensor, still: Tensor) -> Tensor:
    """Mean absolute difference to the first frame over still pixels, grey levels, shape (B,).

    Args:
        window: uint8, shape (B, T, 3, H, W).
        first_frame: uint8, shape (B, 3, H, W).
        still: bool, shape (B, H, W). NaN where no pixel is.
    """
    error = (window.float() - first_frame[:, None].float()).abs().mean(dim=(1, 2))
    return (error * still).sum(dim=(1, 2)) / still.sum(dim=(1, 2))


def _mean_of_known(values: NDArray[np.floating]) -> Figure:
    known = values[~np.isnan(values)]
    return float(known.mean()) if len(known) else "not computed: no pixel of the clips is still"


def _kept(matched: NDArray[np.int64] | None, subject: NDArray[np.int64]) -> Figure:
    if matched is None:
        return "not computed: fewer than two subjects are known in training or in test clips"
    known = (matched >= 0) & (subject >= 0)
    if not known.any():
        return "not computed: no test subject has a second clip to be matched with"
    return float((matched == subject)[known].mean())


def _long_fvd(
    clips: Clips, measured: dict[str, NDArray[np.floating]], frames: int, i3d: I3D | None
) -> Figure:
    """FVD to real videos of the same length, joined from consecutive test clips."""
    if i3d is None:
        return NO_I3D
    chains = chains_of(clips_before(clips.store), clips.test, frames, clips)
    if complaint := why_too_few("real videos of that length", len(chains), LOGITS):
        return f"not computed: {complaint}"
    logits = [i3d(joined(clips, chain)[None, :frames]) for chain in chains]
    return _frechet(measured["whole_logits"], np.concatenate(logits))


def chains_of(
    before: NDArray[np.int64], among: NDArray[np.int64], frames: int, clips: Clips
) -> list[list[int]]:
    """Consecutive clips that together have at least so many frames, one chain for each last clip.

    Args:
        before: as `clips_before` gives it.
        among: last clips to look at.
        frames: N.
        clips: of the store.
    """
    needed = -(-frames // clips.store.options.frames)
    chains = []
    for last in among.tolist():
        chain = [last]
        while len(chain) < needed and before[chain[0]] >= 0:
            chain.insert(0, int(before[chain[0]]))
        if len(chain) == needed:
            chains.append(chain)
    return chains


def joined(clips: Clips, chain: list[int]) -> Tensor:
    """Frames of consecutive clips as one video, uint8 (N, 3, H, W)."""
    return clips.frames(clips.batch(np.array(chain), _CPU)).flatten(0, 1)


def _frechet(generated: NDArray[np.floating], real: NDArray[np.floating]) -> Figure:
    for side, logits in (("generated", generated), ("real", real)):
        if complaint := why_too_few(side, len(logits), logits.shape[1]):
            return f"not computed: {complaint}"
    return frechet(generated, real)
