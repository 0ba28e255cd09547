"""Everything that is measured of a plan's real windows and of its clips, part by part."""

from __future__ import annotations

import numpy as np
import torch

from shared.console import Progress
from train.data.clips import Clips
from train.evaluate.make_clips import Part
from train.evaluate.metrics.classifier import Judges
from train.evaluate.metrics.fvd import I3D
from train.evaluate.metrics.score import (
    AT_ONCE,
    Measures,
    Reference,
    join,
    measure,
    measure_reference,
    real_clips,
)
from train.evaluate.protocols import Plan
from train.evaluate.summary import I3D_FEATURES

FLOOR_CLIPS = 256
"""The first frame repeated is scored on so many clips at most."""


def measure_real(
    clips: Clips, judges: Judges, plan: Plan, i3d: I3D | None, device: torch.device
) -> Reference:
    """A plan's real windows, measured."""
    reference = measure_reference(clips, judges, device, plan.windows)
    if i3d is not None:
        with Progress().bar("I3D of real clips", len(plan.windows), "clips") as bar:
            features = []
            for rows, frames in real_clips(clips, plan.windows):
                features.append(i3d(frames))
                bar(len(plan.windows[rows]))
        reference.measures[I3D_FEATURES] = np.concatenate(features)
    return reference


def measure_parts(
    parts: list[Part],
    plan: Plan,
    clips: Clips,
    judges: Judges,
    i3d: I3D | None,
    device: torch.device,
) -> tuple[Measures, Measures]:
    """All clips, and the first ones with their first frame repeated."""
    rows: list[Measures] = []
    floor: list[Measures] = []
    with Progress().bar("measuring", len(plan.clip), "clips") as bar:
        for part in parts:
            frames, start = part.frames(), plan.clip[part.rows]
            for piece, real in real_clips(clips, start):
                found = measure(frames[piece], real, judges, device)
                if i3d is not None:
                    found[I3D_FEATURES] = i3d(frames[piece])
                rows.append(found)
                if len(floor) * AT_ONCE < FLOOR_CLIPS:
                    still = real[:, :1].expand_as(real)
                    floor.append(measure(still, real, judges, device))
                bar(len(real))
    return join(rows), join(floor)
