"""Summaries of clip metrics: means over clips, accuracies and distances.

A string in place of a number says why it is not computed, and what to do about it.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from shared.conventions import FrameSize
from shared.motion_statistics import divergences
from train.data.clips import ClipBatch, Clips
from train.data.motion_compensation import decode_vectors
from train.evaluate.clip_metrics import (
    I3D_LOGITS,
    ClipMetrics,
    RealClips,
    clip_metrics,
    concatenate,
    given_first,
    real_batches,
)
from train.evaluate.make_clips import reconstruct, unrefined_frames
from train.evaluate.metrics.evaluation_networks import EvaluationNetworks
from train.evaluate.metrics.frames import SSIM_WINDOW, decibels, psnr, why_no_lpips
from train.evaluate.metrics.fvd import (
    LOGITS,
    SOURCE,
    frechet,
    grouped_frechet,
    why_too_few,
    why_too_few_in_groups,
)
from train.evaluate.protocols import Protocol
from train.spaces import Space

Figure = float | str
"""A number, or "not computed: ..." with the reason and the remedy."""

NO_I3D = f"not computed: FVD needs I3D's weights: --i3d FILE, StyleGAN-V's from {SOURCE}"

_OVERVIEW_CLIPS = 48
"""Real test clips that are reconstructed for the overview, at most."""

_VECTORS_BATCH = 8


@dataclass(frozen=True)
class Summary:
    """Means over clips, and where a name ends in `real` the same of the real test clips.

    PSNR in dB and SSIM are of frames 1...T-1: the given first frame does not count.
    """

    clips: int
    psnr: Figure
    """Mean over frames and clips."""
    psnr_over_clip: Figure
    """PSNR of each clip's pooled squared error, dB; mean over clips."""
    psnr_by_frame: list[float]
    ssim: Figure
    ssim_by_frame: list[float]
    lpips: Figure
    lpips_by_frame: list[float]
    gesture_accuracy: Figure
    """Fraction of clips that the classifier reads as the label asked for."""
    gesture_accuracy_real: Figure
    subject_accuracy: Figure
    """Fraction of clips that are matched to the person they started from, see `Gallery`."""
    subject_accuracy_real: Figure
    subject_accuracy_chance: Figure
    frechet_gesture_features: Figure
    """Fréchet distance to all real test clips in the classifier's features: of our own, not FVD."""
    frechet_subject_features: Figure
    """The same in the subject encoder's features."""
    warping_error: Figure
    """Grey levels, see `train.evaluate.metrics.consistency`."""
    warping_error_real: Figure
    flicker: Figure
    """Grey levels, see `train.evaluate.metrics.consistency`."""
    flicker_real: Figure
    motion_ratio: float
    """Mean absolute change between frames, over that of the real clips they started from."""
    motion_vectors: dict[str, Figure]
    """Divergences of block vectors from those of all real test clips, see
    `shared.motion_statistics`: `NAME_js`, Jensen-Shannon, bits; `NAME_wasserstein`, its unit."""
    motion_vectors_real: dict[str, Figure]
    """The same of the real test clips from real training clips: what two real sets differ by."""


def summarise(
    metrics: ClipMetrics, indices: NDArray[np.int64], clips: Clips, real: RealClips
) -> Summary:
    """Average the metrics of clips that started from the real clips at `indices`, shape (N,)."""
    size = clips.store.options.size
    by_frame = _psnr_by_frame(metrics)
    subject = clips.store.column("subject").astype(np.int64)
    accuracies = _subject_accuracies(metrics, indices, subject, real)
    return Summary(
        clips=len(indices),
        psnr=float(by_frame[:, 1:].mean()),
        psnr_over_clip=float(_psnr_over_clip(metrics)[0].mean()),
        psnr_by_frame=by_frame[:, 1:].mean(axis=0).tolist(),
        ssim=_mean_over_frames("ssim", metrics, _why_no_ssim(size)),
        ssim_by_frame=_mean_by_frame("ssim", metrics),
        lpips=_mean_over_frames("lpips", metrics, why_no_lpips(size)),
        lpips_by_frame=_mean_by_frame("lpips", metrics),
        gesture_accuracy=_gesture_accuracy(metrics, clips.label[indices]),
        gesture_accuracy_real=_gesture_accuracy(real.metrics, real.label),
        subject_accuracy=accuracies[0],
        subject_accuracy_real=accuracies[1],
        subject_accuracy_chance=accuracies[2],
        frechet_gesture_features=_frechet("gesture_features", metrics, real.metrics),
        frechet_subject_features=_frechet("subject_features", metrics, real.metrics),
        warping_error=float(metrics["warping_error"].mean()),
        warping_error_real=float(real.metrics["warping_error"].mean()),
        flicker=_mean_of_known(metrics["flicker"]),
        flicker_real=_mean_of_known(real.metrics["flicker"]),
        motion_ratio=float(metrics["change"].mean() / max(1e-9, metrics["real_change"].mean())),
        motion_vectors=_motion_figures(metrics["vectors"], real.metrics["vectors"]),
        motion_vectors_real=_motion_figures(real.metrics["vectors"], real.training_vectors),
    )


def summarise_clips(
    frames: Tensor,
    indices: NDArray[np.int64],
    clips: Clips,
    networks: EvaluationNetworks,
    real: RealClips,
    device: torch.device,
) -> Summary:
    """Compute and average the metrics of clips in memory.

    Args:
        frames: uint8, shape (N, T, 3, H, W), frame 0 being the given one.
        indices: position in the store of the test clip that each started from, shape (N,).
        clips: of the store.
        networks: on `device`.
        real: metrics of the real test clips.
        device: to compute on.
    """
    batches = [
        clip_metrics(frames[rows], truth, networks, device)
        for rows, truth in real_batches(clips, indices)
    ]
    return summarise(concatenate(batches), indices, clips, real)


def frame_summary(metrics: ClipMetrics, size: FrameSize) -> dict[str, Any]:
    """Average PSNR, SSIM and LPIPS of clips, without and with the given frame 0.

    PSNR with the given frame is of the pooled error alone: that of an equal frame is infinite.
    """
    without, with_given = _psnr_over_clip(metrics)
    summary: dict[str, Any] = {
        "clips": len(without),
        "psnr": float(_psnr_by_frame(metrics)[:, 1:].mean()),
        "psnr_over_clip": float(without.mean()),
        "psnr_over_clip_with_given": float(with_given.mean()),
    }
    for name, missing in (("ssim", _why_no_ssim(size)), ("lpips", why_no_lpips(size))):
        summary[name] = _mean_over_frames(name, metrics, missing)
        summary[f"{name}_with_given"] = _mean_over_frames(name, metrics, missing, first=0)
    return summary


def fvd_summary(
    protocol: Protocol,
    metrics: ClipMetrics,
    start: NDArray[np.int64],
    clips: Clips,
    real: RealClips,
) -> dict[str, Figure]:
    """Compute FVD and its variants, by name; of I3D's logits alone.

    Args:
        protocol: whether clips are reconstructions, and whether distances within groups are asked.
        metrics: of the clips.
        start: real clip that each started from, shape (N,).
        clips: of the store.
        real: metrics of the real windows.
    """
    name = "R-FVD" if protocol.reconstruct else "FVD"
    if I3D_LOGITS not in metrics:
        return {name: NO_I3D}
    generated, of_real = metrics[I3D_LOGITS], real.metrics[I3D_LOGITS]
    summary: dict[str, Figure] = {name: frechet(generated, of_real)}
    if not protocol.grouped:
        return summary
    subject = clips.store.column("subject").astype(np.int64)
    for grouped, kind, own, others in (
        ("cFVD", "class", clips.label[start], real.label),
        ("sFVD", "subject", subject[start], real.subject),
    ):
        if complaint := why_too_few_in_groups(kind, own, others, of_real.shape[1]):
            summary[grouped] = _not_computed(complaint)
            continue
        found = grouped_frechet(generated, own, of_real, others)
        summary[grouped] = found.mean
        summary |= {f"{grouped}_spread": found.deviation, f"{grouped}_groups": found.groups}
    return summary


def why_no_fvd(generated: int, windows: int) -> str | None:
    """Complaint about the number of generated clips or real windows; None where they suffice."""
    return why_too_few("generated", generated, LOGITS) or why_too_few("real", windows, LOGITS)


def best_of_summary(metrics: ClipMetrics, start: NDArray[np.int64]) -> dict[str, Any]:
    """Average and best sample of each first frame, by each frame-wise metric.

    Stochastic video prediction reports the best of N samples a trajectory (Denton and Fergus 2018),
    other work the average; some count the given frame, some do not. All four are computed.
    """
    without, with_given = _psnr_over_clip(metrics)
    summary = {"psnr_over_clip": asdict(best_of(without, with_given, start))}
    for name in ("ssim", "lpips"):
        if name in metrics:
            values = metrics[name].astype(np.float64)
            pair = values[:, 1:].mean(axis=1), values.mean(axis=1)
            summary[name] = asdict(best_of(*pair, start, lower_is_better=name == "lpips"))
    return summary


@dataclass(frozen=True)
class BestOf:
    """A metric over samples of the same first frames, means over trajectories.

    Attributes:
        samples: N, of every trajectory.
        average: over all samples.
        best: of the best sample of each trajectory, by this very metric.
        average_with_given, best_with_given: the same with the given frame counted.
    """

    samples: int
    average: float
    best: float
    average_with_given: float
    best_with_given: float


def best_of(
    without: NDArray[np.floating],
    with_given: NDArray[np.floating],
    clip: NDArray[np.int64],
    *,
    lower_is_better: bool = False,
) -> BestOf:
    """Group samples by the clip they started from.

    Args:
        without: a number for each sample, over frames 1...T-1, shape (N,).
        with_given: the same over frames 0...T-1.
        clip: clip that each started from, shape (N,); the same number of samples of each.
        lower_is_better: as for LPIPS.

    Raises:
        ValueError: some clip has more samples than others.
    """
    order = np.argsort(clip, kind="stable")
    _, counts = np.unique(clip, return_counts=True)
    if len(set(counts.tolist())) != 1:
        raise ValueError(
            f"{counts.min()} to {counts.max()} samples a clip; best of N needs equal N"
        )
    samples = int(counts[0])
    rows = [values[order].reshape(-1, samples) for values in (without, with_given)]
    best = [(row.min if lower_is_better else row.max)(axis=1).mean() for row in rows]
    return BestOf(
        samples, float(rows[0].mean()), float(best[0]), float(rows[1].mean()), float(best[1])
    )


def overview(
    summary: Summary,
    repeated: Summary,
    read_as: NDArray[np.int64] | None,
    asked: NDArray[np.int64],
    shown: dict[str, Tensor],
    space: Space,
    clips: Clips,
    device: torch.device,
) -> dict[str, Any]:
    """Gather the few figures that pages show first; PSNR in dB over all frames but the given one.

    Args:
        summary: of the generated clips.
        repeated: of their first frame repeated.
        read_as: labels that the classifier reads in generated clips, shape (N,).
        asked: labels that they were generated for, shape (N,).
        shown: clips that are kept, see `train.evaluate.make_clips.shown_clips`.
        space: target space of the run.
        clips: of the store.
        device: of the networks.
    """
    chosen = clips.test[:: max(1, len(clips.test) // _OVERVIEW_CLIPS)][:_OVERVIEW_CLIPS]
    batch = clips.batch(chosen, device)
    real, restored = clips.frames(batch), reconstruct(space, clips, chosen, device)
    accuracy = summary.gesture_accuracy_real
    moved = space.moved(restored.parts, batch.first_frame)
    given = space.given_index
    repeated_frame = real[:, given : given + 1].expand_as(real)
    return {
        "clips": summary.clips,
        "read_as_asked": None if read_as is None else int((read_as == asked).sum()),
        "classifier_accuracy_real": None if isinstance(accuracy, str) else accuracy,
        "psnr_generated": summary.psnr,
        # Before the refining network, of the clips that are shown.
        "psnr_unrefined": _mean_psnr(shown["unrefined"], shown["real"], given),
        "psnr_first_frame": repeated.psnr,
        "motion_ratio": summary.motion_ratio,
        "motion_explains": motion_explains(shown.get("moved"), shown["frames"], shown["real"]),
        "motion_explains_restored": motion_explains(moved, unrefined_frames(restored), real),
        # What the target space and its autoencoder lose of real test clips; then its floors.
        "psnr_reconstruction": _mean_psnr(unrefined_frames(restored), real, given),
        "psnr_vectors_alone": _mean_psnr(vectors_alone(batch, clips), real),
        "psnr_reconstruction_first_frame": _mean_psnr(repeated_frame, real, given),
    }


def motion_explains(moved: Tensor | None, frames: Tensor, real: Tensor) -> Figure | None:
    """Share of the squared error that motion alone takes away, of all that is taken away.

    The error is that of the first frame repeated, against real clips.

    Args:
        moved: what motion alone makes of first frames, uint8 (B, T, 3, H, W); None: no motion.
        frames: whole clips, likewise.
        real: likewise.

    Returns:
        None without motion; text where the whole clips are no nearer to the real ones than the
        first frame is.
    """
    if moved is None:
        return None
    repeated, alone, whole = (
        float((film.float() - real.float()).square().mean())
        for film in (real[:, :1].expand_as(real), moved, frames)
    )
    if whole >= repeated:
        return _not_computed("the clips are no nearer to the real ones than the first frame is")
    return (repeated - alone) / (repeated - whole)


def vectors_alone(batch: ClipBatch, clips: Clips) -> Tensor:
    """Stored clips from exact vectors without residuals, uint8 (B, T, 3, H, W)."""
    return decode_vectors(batch.first_frame, batch.motion, clips.store.options.codec)


def psnr_of_vectors_alone(clips: Clips, indices: NDArray[np.int64]) -> float:
    """Mean PSNR, dB, of real clips decoded from exact vectors without residuals."""
    total = 0.0
    for start in range(0, len(indices), _VECTORS_BATCH):
        batch = clips.batch(indices[start : start + _VECTORS_BATCH], torch.device("cpu"))
        decoded = vectors_alone(batch, clips)
        total += len(decoded) * _mean_psnr(decoded, clips.frames(batch))
    return total / len(indices)


def _mean_psnr(frames: Tensor, truth: Tensor, given: int = 0) -> float:
    """Mean over all frames but the given one, dB."""
    made, real = (given_first(films, given)[:, 1:] for films in (frames, truth))
    return float(psnr(made, real).mean())


def _psnr_by_frame(metrics: ClipMetrics) -> NDArray[np.float64]:
    """PSNR of every frame, dB, shape (N, T); the given one comes first, with 100."""
    return decibels(torch.from_numpy(metrics["squared_error"])).numpy()


def _psnr_over_clip(metrics: ClipMetrics) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """PSNR of each clip's pooled squared error, dB, without and with the given frame; (N,) each."""
    error = torch.from_numpy(metrics["squared_error"])  # (N, T)
    return decibels(error[:, 1:].mean(dim=1)).numpy(), decibels(error.mean(dim=1)).numpy()


def _mean_over_frames(
    name: str, metrics: ClipMetrics, missing: str | None, first: int = 1
) -> Figure:
    """Mean over clips and frames from `first` on."""
    if missing is not None:
        return _not_computed(missing)
    return float(metrics[name][:, first:].mean(dtype=np.float64))


def _mean_by_frame(name: str, metrics: ClipMetrics) -> list[float]:
    """Mean over clips of frames 1...T-1; empty where it was not computed."""
    if name not in metrics:
        return []
    return metrics[name][:, 1:].mean(axis=0, dtype=np.float64).tolist()


def _gesture_accuracy(metrics: ClipMetrics, label: NDArray[np.int64]) -> Figure:
    """Fraction of the labelled clips that the classifier reads as their label."""
    labelled = label >= 0
    if "gesture_logits" not in metrics or not labelled.any():
        return _not_computed("the clips have no labels to be read")
    read = metrics["gesture_logits"].argmax(axis=1)
    return float((read == label)[labelled].mean())


def _subject_accuracies(
    metrics: ClipMetrics, indices: NDArray[np.int64], subject: NDArray[np.int64], real: RealClips
) -> tuple[Figure, Figure, Figure]:
    """Subject accuracy of the clips, of the real test clips, and by chance."""
    if "subject_features" not in metrics:
        missing = _not_computed("fewer than two subjects are known in training or in test clips")
        return missing, missing, missing
    gallery = real.gallery
    matched = gallery.match(metrics["subject_features"], indices)
    matched_real = gallery.match(gallery.features, gallery.clip)
    return (
        _matched_fraction(matched, subject[indices]),
        _matched_fraction(matched_real, gallery.subject),
        1 / len(gallery.subjects),
    )


def _matched_fraction(matched: NDArray[np.int64], subject: NDArray[np.int64]) -> Figure:
    known = (matched >= 0) & (subject >= 0)
    if not known.any():
        return _not_computed(
            "no test subject has a second clip to be matched with: take more clips"
        )
    return float((matched == subject)[known].mean())


def _frechet(name: str, generated: ClipMetrics, real: ClipMetrics) -> Figure:
    if name not in generated:
        return _not_computed("there is no such network for this store: see the accuracies")
    sides = {"generated": generated[name], "real": real[name]}
    for side, features in sides.items():
        if complaint := why_too_few(side, *features.shape):
            return _not_computed(complaint)
    return frechet(*sides.values())


def _motion_figures(vectors: NDArray[np.int8], others: NDArray[np.int8]) -> dict[str, Figure]:
    """Divergences of two sets of clips by name; a reason where no block moves."""
    figures = dict[str, Figure]()
    for name, found in divergences(vectors, others).items():
        distance = found.jensen_shannon
        figures[f"{name}_js"] = _not_computed("no block moves") if distance is None else distance
        if found.wasserstein is not None:
            figures[f"{name}_wasserstein"] = found.wasserstein
    return figures


def _mean_of_known(values: NDArray[np.floating]) -> Figure:
    known = values[~np.isnan(values)]
    return float(known.mean()) if len(known) else _not_computed("no pixel of the clips is still")


def _why_no_ssim(size: FrameSize) -> str | None:
    """Reason why frames of this size have no SSIM; None where they have."""
    if min(size) >= SSIM_WINDOW:
        return None
    return f"frames of {size} pixels; SSIM's window has {SSIM_WINDOW}"


def _not_computed(reason: str) -> str:
    return f"not computed: {reason}"
