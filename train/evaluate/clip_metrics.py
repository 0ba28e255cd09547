"""Metrics of each clip, before anything is averaged: of generated clips and of real ones.

Clips go through in batches of a fixed size, since sums may depend on it in their last bit.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from shared.console import Progress
from shared.conventions import FrameSize
from shared.report.pictures import evenly_spaced
from train.data.clips import Clips
from train.evaluate.make_clips import Part
from train.evaluate.metrics.consistency import change, flicker, still_pixels, warping_error
from train.evaluate.metrics.evaluation_networks import (
    EvaluationNetworks,
    Gallery,
    subject_features,
)
from train.evaluate.metrics.frames import (
    SSIM_WINDOW,
    load_lpips,
    lpips,
    squared_error,
    ssim,
    why_no_lpips,
)
from train.evaluate.metrics.fvd import I3D
from train.evaluate.metrics.motion import block_vectors
from train.evaluate.protocols import Plan

ClipMetrics = dict[str, NDArray[Any]]
"""Arrays by name, clip axis first.

Always: warping_error, flicker (NaN without still pixels), change; vectors, int8, see
`block_vectors`. With evaluation networks:
gesture_features, gesture_logits, subject_features; with I3D: i3d_logits. Against real clips:
real_change, and of each frame squared_error, ssim and lpips, where they can be computed: first of
the given frame, then of the others in their order.
"""

I3D_LOGITS = "i3d_logits"
BY_FRAME = {"squared_error", "ssim", "lpips"}
"""Metrics of single frames, shape (N, T)."""

BATCH = 16
"""Clips in a batch."""

TRAINING_CLIPS = 256
"""Training clips whose vectors real test clips are compared with, at most."""

REPEATED_CLIPS = 256
"""Clips whose first frame repeated is evaluated, at most."""

_CPU = torch.device("cpu")
_PATIENCE_SECONDS = 2.0


@dataclass(frozen=True)
class RealClips:
    """Metrics of real test clips: the ceiling, and what generated clips are compared with.

    Attributes:
        clip: positions in the store, shape (M,).
        label, subject: of each, shape (M,); -1 = none.
        metrics: of each.
        training_vectors: of as many training clips, at most `TRAINING_CLIPS`; see `block_vectors`.
    """

    clip: NDArray[np.int64]
    label: NDArray[np.int64]
    subject: NDArray[np.int64]
    metrics: ClipMetrics
    training_vectors: NDArray[np.int8]

    @property
    def gallery(self) -> Gallery:
        """Clips of known subjects."""
        known = self.subject >= 0
        features = self.metrics["subject_features"][known]
        return Gallery(self.clip[known], self.subject[known], features)


@torch.no_grad()
def clip_metrics(
    frames: Tensor,
    real: Tensor | None,
    networks: EvaluationNetworks,
    device: torch.device,
    i3d: I3D | None = None,
    given: int = 0,
) -> ClipMetrics:
    """Compute all metrics of a batch of clips.

    Args:
        frames: uint8, shape (B, T, 3, H, W).
        real: real clips of the same first frames, likewise, which say what stands still; None: the
            clips are real themselves, and are compared with none.
        networks: on `device`.
        device: to compute on.
        i3d: None: no logits for FVD.
        given: index of the given frame.
    """
    clips = frames.to(device)
    truth = clips if real is None else real.to(device)
    metrics = {
        "warping_error": warping_error(clips),
        "flicker": flicker(clips, still_pixels(truth)),
        "change": change(clips),
        "vectors": block_vectors(clips),
    }
    if networks.gesture is not None:
        metrics["gesture_features"] = networks.gesture.features(clips)
        metrics["gesture_logits"] = networks.gesture.output(metrics["gesture_features"])
    if networks.subject is not None:
        metrics["subject_features"] = subject_features(networks.subject, clips, device)
    if real is not None:
        metrics |= {"squared_error": squared_error(clips, truth), "real_change": change(truth)}
        if min(frames.shape[-2:]) >= SSIM_WINDOW:
            metrics["ssim"] = ssim(clips, truth)
        if why_no_lpips(FrameSize(*frames.shape[-2:])) is None:
            metrics["lpips"] = lpips(_lpips_network(device), clips, truth, device)
    for name in BY_FRAME & metrics.keys():
        metrics[name] = given_first(metrics[name], given)
    arrays = {name: tensor.cpu().numpy() for name, tensor in metrics.items()}
    return arrays if i3d is None else arrays | {I3D_LOGITS: i3d(frames)}


def given_first(values: Tensor, given: int) -> Tensor:
    """Values of frames, (N, T, ...), with those of the frame at an index before all others."""
    others = [n for n in range(values.shape[1]) if n != given]
    return values if given == 0 else values[:, [given, *others]]


def real_clip_metrics(
    clips: Clips,
    networks: EvaluationNetworks,
    device: torch.device,
    indices: NDArray[np.int64] | None = None,
    i3d: I3D | None = None,
) -> RealClips:
    """Compute the metrics of real clips; `indices` None takes all test clips of the split."""
    chosen = clips.test if indices is None else indices
    bar = Progress().bar(
        "metrics of real clips", len(chosen), "clips", patience_seconds=_PATIENCE_SECONDS
    )
    batches = []
    with bar as advance:
        for _, frames in real_batches(clips, chosen):
            batches.append(clip_metrics(frames, None, networks, device, i3d))
            advance(len(frames))
    subject = clips.store.column("subject").astype(np.int64)
    return RealClips(
        chosen,
        clips.label[chosen],
        subject[chosen],
        concatenate(batches),
        _training_vectors(clips, len(chosen), device),
    )


@torch.no_grad()
def _training_vectors(clips: Clips, count: int, device: torch.device) -> NDArray[np.int8]:
    """Vectors of training clips, evenly spaced in the store."""
    chosen = clips.train[evenly_spaced(len(clips.train), min(count, TRAINING_CLIPS))]
    batches = [block_vectors(real.to(device)) for _, real in real_batches(clips, chosen)]
    return torch.cat(batches).cpu().numpy()


def part_metrics(
    parts: list[Part],
    plan: Plan,
    clips: Clips,
    networks: EvaluationNetworks,
    i3d: I3D | None,
    device: torch.device,
    given: int = 0,
) -> tuple[ClipMetrics, ClipMetrics]:
    """Compute the metrics of all clips of a plan, and of the first ones' given frame repeated."""
    made: list[ClipMetrics] = []
    repeated: list[ClipMetrics] = []
    with Progress().bar("metrics of clips", len(plan.clip), "clips") as bar:
        for part in parts:
            frames = part.tensors()["frames"]
            for rows, real in real_batches(clips, plan.clip[part.rows]):
                made.append(clip_metrics(frames[rows], real, networks, device, i3d, given))
                if len(repeated) * BATCH < REPEATED_CLIPS:
                    still = real[:, given : given + 1].expand_as(real)
                    repeated.append(clip_metrics(still, real, networks, device, given=given))
                bar(len(real))
    return concatenate(made), concatenate(repeated)


def real_batches(clips: Clips, indices: NDArray[np.int64]) -> Iterator[tuple[slice, Tensor]]:
    """Read real clips batch by batch: rows of `indices`, and frames, uint8 (B, T, 3, H, W)."""
    for start in range(0, len(indices), BATCH):
        rows = slice(start, start + BATCH)
        yield rows, clips.frames(clips.batch(indices[rows], _CPU))


def concatenate(batches: Iterable[ClipMetrics]) -> ClipMetrics:
    """Join the metrics of several batches, in their order."""
    rows = list(batches)
    return {name: np.concatenate([row[name] for row in rows]) for name in rows[0]}


@cache
def _lpips_network(device: torch.device) -> torch.nn.Module:
    return load_lpips(device)
