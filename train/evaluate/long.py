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
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from shared.console import Progress, console
from shared.errors import UserError
from shared.report.pages import table
from shared.report.pictures import contact_sheet, png
from shared.store.paths import write_whole
from train.data.clips import Clips
from train.data.consecutive import clips_before
from train.evaluate.clip_metrics import RealClips, real_clip_metrics
from train.evaluate.make_clips import TrainedRun, write_tensors
from train.evaluate.metrics.consistency import change, still_pixels
from train.evaluate.metrics.evaluation_networks import EvaluationNetworks, subject_features
from train.evaluate.metrics.fvd import I3D, LOGITS, frechet, why_too_few
from train.evaluate.protocols import Plan
from train.evaluate.summary import NO_I3D, Figure
from train.generate.generator import BATCH, batches, clips_for, generate_frames

SCORES, VIDEOS, SHEET = "scores.json", "videos.safetensors", "videos.png"

_SHEET_VIDEOS, _SHEET_FRAMES = 8, 16
_CPU = torch.device("cpu")


@dataclass(frozen=True)
class Window:
    """Means over videos of one window; `first` is the index of its first frame."""

    first: int
    background_drift: float
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
    """Generate videos from the first frames of a plan, and score them; write all into `out`.

    Args:
        run: generates them.
        clips: of its store.
        plan: first frames, labels and seeds; its real windows are what windows compare with.
        frames: N of each video, at least two clips' worth.
        networks: the subject encoder among them.
        i3d: None: no FVD.
        out: folder for scores, videos and a contact sheet.

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
    videos = _generate(run, clips, plan, frames)
    out.mkdir(parents=True, exist_ok=True)
    real = real_clip_metrics(clips, networks, run.device, plan.windows, i3d)
    scores = {
        "frames": frames,
        "videos": len(videos),
        "continues": run.space.continues,
        "windows": [asdict(w) for w in _windows(run, clips, plan, videos, networks, real, i3d)],
        "background_drift_real": _drift_of_real(clips, plan),
        "change_real": float(real.metrics["change"].mean()),
        f"fvd_{frames}": _long_fvd(clips, videos, i3d),
    }
    write_tensors(out / VIDEOS, {"frames": videos, "clip": torch.from_numpy(plan.clip)})
    films = list(videos[:_SHEET_VIDEOS].numpy())
    write_whole(out / SHEET, png(contact_sheet(films, every=-(-frames // _SHEET_FRAMES))))
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


def _generate(run: TrainedRun, clips: Clips, plan: Plan, frames: int) -> Tensor:
    """Videos of the plan, uint8 (N, frames, 3, H, W)."""
    generator = run.generator
    if generator is None:
        raise UserError("--frames: this run has no denoiser; run first: python -m train diffusion")
    labels = [None if label < 0 else int(label) for label in clips.label[plan.clip]]
    count = clips_for(frames, clips.store.options.frames, run.space.adds)
    steps = batches(len(labels)) * sum(generator.steps(clip) for clip in range(count))
    made = []
    with Progress().bar("videos", steps, "steps") as bar:
        for start in range(0, len(labels), BATCH):
            rows = slice(start, start + BATCH)
            first, seeds = clips.read("first_frame", plan.clip[rows]), plan.seed[rows].tolist()
            made.append(
                generate_frames(generator, first, labels[rows], seeds, frames, on_step=bar).frames
            )
    return torch.cat(made)


def _windows(
    run: TrainedRun,
    clips: Clips,
    plan: Plan,
    videos: Tensor,
    networks: EvaluationNetworks,
    real: RealClips,
    i3d: I3D | None,
) -> list[Window]:
    length, given = clips.store.options.frames, run.space.takes_first_frame
    truth = clips.frames(clips.batch(plan.clip, _CPU)) if given else videos[:, :length]
    still = still_pixels(truth)
    subject = clips.store.column("subject").astype(np.int64)[plan.clip] if given else None
    found = []
    for first in range(0, videos.shape[1] - length + 1, length):
        window = videos[:, first : first + length]
        matched = _matched(networks, real, window, plan, run.device)
        subject = matched if subject is None else subject
        found.append(
            Window(
                first,
                float(np.nanmean(background_drift(window, videos[:, 0], still).numpy())),
                _kept(matched, subject),
                float(change(window).mean()),
                _fvd(i3d, window, real),
            )
        )
    return found


def background_drift(window: Tensor, first_frame: Tensor, still: Tensor) -> Tensor:
    """Mean absolute difference to the first frame over still pixels, grey levels, shape (B,).

    Args:
        window: uint8, shape (B, T, 3, H, W).
        first_frame: uint8, shape (B, 3, H, W).
        still: bool, shape (B, H, W). NaN where no pixel is.
    """
    error = (window.float() - first_frame[:, None].float()).abs().mean(dim=(1, 2))
    return (error * still).sum(dim=(1, 2)) / still.sum(dim=(1, 2))


def _drift_of_real(clips: Clips, plan: Plan) -> float:
    truth = clips.frames(clips.batch(plan.clip, _CPU))
    return float(np.nanmean(background_drift(truth, truth[:, 0], still_pixels(truth)).numpy()))


def _matched(
    networks: EvaluationNetworks, real: RealClips, window: Tensor, plan: Plan, device: torch.device
) -> NDArray[np.int64] | None:
    """Person that each window is matched to; None without a subject encoder."""
    if networks.subject is None:
        return None
    features = subject_features(networks.subject, window, device).numpy()
    return real.gallery.match(features, plan.clip)


def _kept(matched: NDArray[np.int64] | None, subject: NDArray[np.int64] | None) -> Figure:
    if matched is None or subject is None:
        return "not computed: fewer than two subjects are known in training or in test clips"
    known = (matched >= 0) & (subject >= 0)
    if not known.any():
        return "not computed: no test subject has a second clip to be matched with"
    return float((matched == subject)[known].mean())


def _fvd(i3d: I3D | None, window: Tensor, real: RealClips) -> Figure:
    if i3d is None:
        return NO_I3D
    return _frechet(i3d(window), real.metrics["i3d_logits"])


def _long_fvd(clips: Clips, videos: Tensor, i3d: I3D | None) -> Figure:
    """FVD to real videos of the same length, joined from consecutive test clips."""
    if i3d is None:
        return NO_I3D
    chains = chains_of(clips_before(clips.store), clips.test, videos.shape[1], clips)
    if complaint := why_too_few("real videos of that length", len(chains), LOGITS):
        return f"not computed: {complaint}"
    logits = [i3d(joined(clips, chain)[None, : videos.shape[1]]) for chain in chains]
    return _frechet(i3d(videos), np.concatenate(logits))


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
