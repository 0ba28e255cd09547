"""Everything that is measured of a plan's real windows and of its clips, part by part."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from shared.console import Bar, Progress
from train.data.clips import Clips
from train.evaluate.metrics.classifier import Gallery, Judges, subject_features
from train.evaluate.metrics.consistency import change, flicker, still_pixels, warping_error
from train.evaluate.metrics.frames import (
    SSIM_WINDOW,
    decibels,
    load_lpips,
    lpips,
    squared_error,
    ssim,
    why_no_lpips,
)
from train.evaluate.metrics.fvd import fit_gaussian, frechet_distance, why_too_few

# MERGED: What is measured of each clip, before anything is averaged; rows of several batches join.


Measures = dict[str, NDArray[np.floating]]
"""By name, clip axis first. Always: warping_error, flicker (NaN without still pixels), change; with
judges: gesture_features, gesture_logits, subject_features; against real clips: real_change, and of
each frame 0...T-1 squared_error, ssim, lpips, where they can be computed."""

AT_ONCE = 16
"""Clips measured at a time; the same always, since sums may depend on it in their last bit."""


@torch.no_grad()
def judge(frames: Tensor, real: Tensor, judges: Judges, device: torch.device) -> Measures:
    """What a clip shows, and how steadily.

    Args:
        frames: uint8, shape (B, T, 3, H, W).
        real: the real clips of the same first frames, which say what is still; likewise.
        judges: on `device`.
        device: to compute on.
    """
    seen = frames.to(device)
    found = {
        "warping_error": warping_error(seen),
        "flicker": flicker(seen, still_pixels(real.to(device))),
        "change": change(seen),
    }
    if judges.gesture is not None:
        found["gesture_features"] = judges.gesture.features(seen)
        found["gesture_logits"] = judges.gesture.output(found["gesture_features"])
    if judges.subject is not None:
        found["subject_features"] = subject_features(judges.subject, seen, device)
    return {name: tensor.cpu().numpy() for name, tensor in found.items()}


def compare(frames: Tensor, real: Tensor, device: torch.device) -> Measures:
    """How far every frame is from the real one, shapes (B, T), and how much the real one moves."""
    seen, truth = frames.to(device), real.to(device)
    found = {"squared_error": squared_error(seen, truth), "real_change": change(truth)}
    if min(frames.shape[-2:]) >= SSIM_WINDOW:
        found["ssim"] = ssim(seen, truth)
    if why_no_lpips(min(frames.shape[-2:])) is None:
        found["lpips"] = lpips(_lpips_network(device), seen, truth, device)
    return {name: tensor.cpu().numpy() for name, tensor in found.items()}


@lru_cache(maxsize=1)
def _lpips_network(device: torch.device) -> torch.nn.Module:
    return load_lpips(device)


def measure(frames: Tensor, real: Tensor, judges: Judges, device: torch.device) -> Measures:
    """All that is measured of clips beside their real ones."""
    return {**judge(frames, real, judges, device), **compare(frames, real, device)}


def join(pieces: Iterable[Measures]) -> Measures:
    """The rows of several batches, in their order."""
    rows = list(pieces)
    return {name: np.concatenate([row[name] for row in rows]) for name in rows[0]}


def real_clips(clips: Clips, indices: NDArray[np.int64]) -> Iterator[tuple[slice, Tensor]]:
    """Real clips, `AT_ONCE` at a time: which rows, and their frames, uint8 (B, T, 3, H, W)."""
    for start in range(0, len(indices), AT_ONCE):
        rows = slice(start, start + AT_ONCE)
        yield rows, clips.frames(clips.batch(indices[rows], torch.device("cpu")))


# MERGED: Scores of a batch of clips, without the command line: measured, then averaged.


Score = float | str
"""A number, or why there is none: "not computed: ...", with what to do about it."""

_PATIENCE_SECONDS = 2.0


@dataclass(frozen=True)
class Reference:
    """Real test clips, measured: the ceiling, and what generated ones are compared with.

    Attributes:
        clip: positions in the store, shape (M,).
        label, subject: of each, shape (M,); -1 = none.
        measures: see `train.evaluate.metrics.score`.
    """

    clip: NDArray[np.int64]
    label: NDArray[np.int64]
    subject: NDArray[np.int64]
    measures: Measures

    @property
    def gallery(self) -> Gallery:
        """Those whose subject is known."""
        known = self.subject >= 0
        features = self.measures["subject_features"][known]
        return Gallery(self.clip[known], self.subject[known], features)


@dataclass(frozen=True)
class ClipScores:
    """Means over clips; where it is said `real`, the same of the real test clips.

    PSNR in dB and SSIM are of frames 1...T-1: the given first frame does not count.
    """

    clips: int
    psnr: Score
    """Mean over frames and clips."""
    psnr_over_clip: Score
    """Of each clip's pooled squared error; mean over clips."""
    psnr_by_frame: list[float]
    ssim: Score
    ssim_by_frame: list[float]
    lpips: Score
    lpips_by_frame: list[float]
    gesture_accuracy: Score
    """BatchSlice of clips that the classifier reads as the label asked for."""
    gesture_accuracy_real: Score
    subject_accuracy: Score
    """BatchSlice of clips that are matched to the person they started from: `train.evaluate.metrics.classifier`."""
    subject_accuracy_real: Score
    subject_accuracy_chance: Score
    frechet_gesture_features: Score
    """Fréchet distance to all real test clips in the classifier's features: of our own, not FVD."""
    frechet_subject_features: Score
    """The same in the subject encoder's features."""
    warping_error: Score
    """See `train.evaluate.metrics.consistency`; grey levels."""
    warping_error_real: Score
    flicker: Score
    """See `train.evaluate.metrics.consistency`; grey levels."""
    flicker_real: Score
    motion_ratio: float
    """Mean absolute change between frames, over that of the real clips they started from."""


def measure_reference(
    clips: Clips,
    judges: Judges,
    device: torch.device,
    indices: NDArray[np.int64] | None = None,
) -> Reference:
    """Measure real test clips; None takes all of the split."""
    chosen = clips.test if indices is None else indices
    pieces = []
    with _bar("real test clips", len(chosen)) as bar:
        for rows, frames in real_clips(clips, chosen):
            pieces.append(judge(frames, frames, judges, device))
            bar(len(chosen[rows]))
    subject = clips.store.column("subject").astype(np.int64)
    return Reference(chosen, clips.label[chosen], subject[chosen], join(pieces))


def score_clips(
    generated: Tensor,
    indices: NDArray[np.int64],
    clips: Clips,
    judges: Judges,
    reference: Reference,
    device: torch.device,
) -> ClipScores:
    """Score generated clips against the real ones they started from.

    Args:
        generated: uint8, shape (N, T, 3, H, W), frame 0 being the given one.
        indices: position in the store of the test clip that each started from, shape (N,).
        clips: of the store.
        judges: on `device`.
        reference: the real test clips.
        device: to compute on.
    """
    pieces = []
    with _bar("scoring", len(indices)) as bar:
        for rows, real in real_clips(clips, indices):
            pieces.append(measure(generated[rows], real, judges, device))
            bar(len(real))
    return summarise(join(pieces), indices, clips, reference)


def summarise(
    measures: Measures, indices: NDArray[np.int64], clips: Clips, reference: Reference
) -> ClipScores:
    """Average what was measured of the clips that started from `indices`: see `score_clips`."""
    size = clips.store.options.size
    psnr, real = decibels_by_frame(measures), reference.measures
    subject = clips.store.column("subject").astype(np.int64)
    stays = _subjects(measures, indices, subject, reference)
    return ClipScores(
        clips=len(indices),
        psnr=float(psnr[:, 1:].mean()),
        psnr_over_clip=float(decibels_over_clip(measures)[0].mean()),
        psnr_by_frame=psnr[:, 1:].mean(axis=0).tolist(),
        ssim=_mean_frame("ssim", measures, why_no_ssim(size)),
        ssim_by_frame=_by_frame("ssim", measures),
        lpips=_mean_frame("lpips", measures, why_no_lpips(size)),
        lpips_by_frame=_by_frame("lpips", measures),
        gesture_accuracy=_read_right(measures, clips.label[indices]),
        gesture_accuracy_real=_read_right(real, reference.label),
        subject_accuracy=stays[0],
        subject_accuracy_real=stays[1],
        subject_accuracy_chance=stays[2],
        frechet_gesture_features=_frechet("gesture_features", measures, real),
        frechet_subject_features=_frechet("subject_features", measures, real),
        warping_error=float(measures["warping_error"].mean()),
        warping_error_real=float(real["warping_error"].mean()),
        flicker=_mean_known(measures["flicker"]),
        flicker_real=_mean_known(real["flicker"]),
        motion_ratio=float(measures["change"].mean() / max(1e-9, measures["real_change"].mean())),
    )


def decibels_by_frame(measures: Measures) -> NDArray[np.float64]:
    """PSNR of every frame, dB, shape (N, T); frame 0 is the given one, 100."""
    return decibels(torch.from_numpy(measures["squared_error"])).numpy()


def decibels_over_clip(measures: Measures) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """PSNR of each clip's pooled squared error, dB, without and with the given frame; (N,) each."""
    error = torch.from_numpy(measures["squared_error"])
    return decibels(error[:, 1:].mean(dim=1)).numpy(), decibels(error.mean(dim=1)).numpy()


def not_computed(why: str) -> str:
    """What stands in place of a number."""
    return f"not computed: {why}"


def why_no_ssim(size: int) -> str | None:
    """Why frames of so many pixels have no SSIM, if they have none."""
    if size >= SSIM_WINDOW:
        return None
    return f"frames of {size} pixels; SSIM's window has {SSIM_WINDOW}"


def _mean_frame(name: str, measures: Measures, missing: str | None) -> Score:
    """Mean over clips and frames 1...T-1."""
    if missing is not None:
        return not_computed(missing)
    return float(measures[name][:, 1:].mean(dtype=np.float64))


def _by_frame(name: str, measures: Measures) -> list[float]:
    """Mean over clips of frames 1...T-1; empty where it was not computed."""
    if name not in measures:
        return []
    return measures[name][:, 1:].mean(axis=0, dtype=np.float64).tolist()


def _read_right(measures: Measures, label: NDArray[np.int64]) -> Score:
    """BatchSlice of the labelled clips that the classifier reads as their label."""
    labelled = label >= 0
    if "gesture_logits" not in measures or not labelled.any():
        return not_computed("the clips have no labels to be read")
    read = measures["gesture_logits"].argmax(axis=1)
    return float((read == label)[labelled].mean())


def _subjects(
    measures: Measures, indices: NDArray[np.int64], subject: NDArray[np.int64], reference: Reference
) -> tuple[Score, Score, Score]:
    """Subject accuracy: of the clips, of the real test clips, and by chance."""
    if "subject_features" not in measures:
        missing = not_computed("fewer than two subjects are known in training or in test clips")
        return missing, missing, missing
    gallery = reference.gallery
    matched = gallery.match(measures["subject_features"], indices)
    matched_real = gallery.match(gallery.features, gallery.clip)
    return (
        _share_matched(matched, subject[indices]),
        _share_matched(matched_real, gallery.subject),
        1 / len(gallery.subjects),
    )


def _share_matched(matched: NDArray[np.int64], subject: NDArray[np.int64]) -> Score:
    judged = (matched >= 0) & (subject >= 0)
    if not judged.any():
        return not_computed("no test subject has a second clip to be matched with: take more clips")
    return float((matched == subject)[judged].mean())


def _frechet(name: str, generated: Measures, real: Measures) -> Score:
    if name not in generated:
        return not_computed("there is no such network for this store: see the accuracies")
    sides = [side[name] for side in (generated, real)]
    for what, side in zip(("generated", "real"), sides, strict=True):
        if complaint := why_too_few(what, *side.shape):
            return not_computed(complaint)
    return frechet_distance(*(fit_gaussian(side) for side in sides))


def _mean_known(values: NDArray[np.floating]) -> Score:
    known = values[~np.isnan(values)]
    return float(known.mean()) if len(known) else not_computed("no pixel of the clips is still")


def _bar(title: str, clips: int) -> AbstractContextManager[Bar]:
    return Progress().bar(title, clips, "clips", patience_seconds=_PATIENCE_SECONDS)
