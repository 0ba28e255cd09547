"""From what was measured of each clip to the numbers of a protocol."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

import numpy as np
from numpy.typing import NDArray

from train.data import Clips
from train.metrics.best_of import best_of
from train.metrics.frechet import why_too_few
from train.metrics.fvd import frechet, grouped_frechet, why_too_few_in_groups
from train.metrics.i3d import LOGITS, SOURCE
from train.metrics.lpips import why_no_lpips
from train.metrics.measure import Measures
from train.metrics.score import (
    Reference,
    Score,
    decibels_by_frame,
    decibels_over_clip,
    not_computed,
    why_no_ssim,
)
from train.protocols import Protocol

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
