"""The few numbers that the demo's page and README show."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from train.compensate import decode_clips
from train.data import Clips
from train.evaluation.produce import restore
from train.generate import Generator
from train.metrics.frames import psnr
from train.metrics.measure import Measures
from train.metrics.score import ClipScores, Score

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
    """Gather them; `asked`: labels of the generated clips; `shown`: see `train.evaluate`."""
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
