"""From what was measured of each clip to the numbers of a protocol."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from train.data.clips import Clips
from train.data.motion_compensation import decode_clips
from train.evaluate.make_clips import restore
from train.evaluate.metrics.best_of import best_of
from train.evaluate.metrics.frames import psnr, why_no_lpips
from train.evaluate.metrics.fvd import (
    LOGITS,
    SOURCE,
    frechet,
    grouped_frechet,
    why_too_few,
    why_too_few_in_groups,
)
from train.evaluate.metrics.score import (
    ClipScores,
    Measures,
    Reference,
    Score,
    decibels_by_frame,
    decibels_over_clip,
    not_computed,
    why_no_ssim,
)
from train.evaluate.protocols import Protocol
from train.generate.generator import Generator

# MERGED: The few numbers that the demo's page and README show.


_RECONSTRUCTED = 48


@dataclass(frozen=True)
class Headline:
    """What was measured; every PSNR in dB over frames 1...T-1, averaged over frames and clips."""

    clips: int
    """Generated clips."""
    read_as_asked: int | None
    """How many of them the classifier reads as the label they were asked for."""
    classifier_accuracy_real: float | None
    """The same classifier's accuracy on real test clips."""
    psnr_generated: Score
    """Generated against the real clip of the same subject and label."""
    psnr_unrefined: float
    """The same before the refining network, of the clips that are shown."""
    psnr_first_frame: Score
    """The first frame repeated against the real clip."""
    motion_ratio: float
    """Mean absolute change between frames, generated over real."""
    psnr_reconstruction: float
    """Real test clips encoded and decoded again: what the space and its autoencoder lose."""
    psnr_vectors_alone: float
    """Real test clips from exact vectors without residual."""
    psnr_reconstruction_first_frame: float
    """The first frame repeated, on the clips of the two figures above."""
    seed: int


def headline(
    scores: ClipScores,
    floor: ClipScores,
    measures: Measures,
    asked: np.ndarray,
    shown: dict[str, Tensor],
    generator: Generator,
    clips: Clips,
    seed: int,
) -> Headline:
    """Gather them; `asked`: labels of the generated clips; `shown`: see `train.evaluate.evaluate`."""
    read = measures["gesture_logits"].argmax(axis=1) if "gesture_logits" in measures else None
    return Headline(
        clips=scores.clips,
        read_as_asked=None if read is None else int((read == asked).sum()),
        classifier_accuracy_real=_number(scores.gesture_accuracy_real),
        psnr_generated=scores.psnr,
        psnr_unrefined=_mean_psnr(shown["unrefined"], shown["real"]),
        psnr_first_frame=floor.psnr,
        motion_ratio=scores.motion_ratio,
        seed=seed,
        **_reconstruction(generator, clips),
    )


def _reconstruction(generator: Generator, clips: Clips) -> dict[str, float]:
    store = generator.space.store
    chosen = clips.test[:: max(1, len(clips.test) // _RECONSTRUCTED)][:_RECONSTRUCTED]
    batch = clips.batch(chosen, generator.device)
    real = clips.frames(batch)
    decoded = restore(generator.space, batch)
    alone = decode_clips(
        batch.first_frame,
        batch.motion,
        torch.zeros_like(batch.residual),
        block=store.block,
        reference=store.reference,
        vector_unit=store.vector_unit,
    )
    return {
        "psnr_reconstruction": _mean_psnr(decoded.parts.get("unrefined", decoded.frames), real),
        "psnr_vectors_alone": _mean_psnr(alone, real),
        "psnr_reconstruction_first_frame": _mean_psnr(real[:, :1].expand_as(real), real),
    }


def _mean_psnr(frames: Tensor, truth: Tensor) -> float:
    return float(psnr(frames[:, 1:], truth[:, 1:]).mean())


def _number(score: Score) -> float | None:
    return None if isinstance(score, str) else score


Numbers = dict[str, Any]
"""By name; a string in a number's place says why it is not computed."""

I3D_FEATURES = "i3d_logits"
NO_I3D = not_computed(f"FVD needs I3D's weights: --i3d FILE, StyleGAN-V's from {SOURCE}")


def frame_numbers(measures: Measures, size: int) -> Numbers:
    """PSNR, SSIM and LPIPS of all clips, without and with the given frame 0.

    PSNR with the given frame is of the pooled error alone: that of an equal frame is infinite.
    """
    without, with_given = decibels_over_clip(measures)
    numbers: Numbers = {
        "clips": len(without),
        "psnr": float(decibels_by_frame(measures)[:, 1:].mean()),
        "psnr_over_clip": float(without.mean()),
        "psnr_over_clip_with_given": float(with_given.mean()),
    }
    for name, missing in (("ssim", why_no_ssim(size)), ("lpips", why_no_lpips(size))):
        for end, frames in (("", np.s_[:, 1:]), ("_with_given", np.s_[:, :])):
            numbers[name + end] = (
                not_computed(missing)
                if missing
                else float(measures[name][frames].mean(dtype=np.float64))
            )
    return numbers


def fvd_numbers(
    protocol: Protocol, measures: Measures, start: NDArray[np.int64], clips: Clips, real: Reference
) -> dict[str, Score]:
    """FVD and its variants, by their names; only ever of I3D's logits."""
    name = "R-FVD" if protocol.reconstruct else "FVD"
    if I3D_FEATURES not in measures:
        return {name: NO_I3D}
    generated, of_real = measures[I3D_FEATURES], real.measures[I3D_FEATURES]
    numbers: dict[str, Score] = {name: frechet(generated, of_real)}
    if protocol.grouped:
        subject = clips.store.column("subject").astype(np.int64)
        numbers |= _grouped("cFVD", "class", generated, clips.label[start], of_real, real.label)
        numbers |= _grouped("sFVD", "subject", generated, subject[start], of_real, real.subject)
    return numbers


def why_no_fvd(made: int, windows: int) -> str | None:
    """What is wrong with FVD of so few clips, before any is made."""
    for what, count in (("generated", made), ("real", windows)):
        if complaint := why_too_few(what, count, LOGITS):
            return complaint
    return None


def _grouped(
    name: str,
    what: str,
    generated: NDArray[np.floating],
    generated_group: NDArray[np.int64],
    real: NDArray[np.floating],
    real_group: NDArray[np.int64],
) -> dict[str, Score]:
    if complaint := why_too_few_in_groups(what, generated_group, real_group, real.shape[1]):
        return {name: not_computed(complaint)}
    found = grouped_frechet(generated, generated_group, real, real_group)
    return {name: found.mean, f"{name}_spread": found.spread, f"{name}_groups": found.groups}


def best_of_numbers(measures: Measures, start: NDArray[np.int64]) -> Numbers:
    """Average and best of the samples of each first frame, by each measure."""
    without, with_given = decibels_over_clip(measures)
    numbers: Numbers = {"psnr_over_clip": asdict(best_of(without, with_given, start))}
    for name in ("ssim", "lpips"):
        if name in measures:
            values = measures[name].astype(np.float64)
            numbers[name] = asdict(
                best_of(
                    values[:, 1:].mean(axis=1),
                    values.mean(axis=1),
                    start,
                    lower_is_better=name == "lpips",
                )
            )
    return numbers
