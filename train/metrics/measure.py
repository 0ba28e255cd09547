"""What is measured of each clip, before anything is averaged; rows of several batches join."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from functools import lru_cache

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from train.data import Clips
from train.metrics.consistency import change, flicker, still_pixels, warping_error
from train.metrics.frames import SSIM_WINDOW, squared_error, ssim
from train.metrics.judges import Judges
from train.metrics.lpips import load_lpips, lpips, why_no_lpips
from train.metrics.subject import subject_features

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
