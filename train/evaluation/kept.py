"""The clips of an evaluation that are kept to be looked at."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from shared.paths import put_in_place
from train.data import Clips
from train.evaluation.parts import Part
from train.metrics.measure import Measures
from train.protocols.plan import Plan

SHOWN = 24
"""The first of all."""


def kept_clips(first: Part, plan: Plan, clips: Clips, measures: Measures) -> dict[str, Tensor]:
    """The first clips with their real ones, for `save_clips`: lossless, to be looked at.

    By name: frames, real, unrefined (before the refining network), motion where vectors were
    generated, clip, seed, label, and read_as: the label that the classifier reads.
    """
    shown = {name: tensor[:SHOWN] for name, tensor in first.tensors().items()}
    start: NDArray[np.int64] = plan.clip[first.rows][:SHOWN]
    shown["real"] = clips.frames(clips.batch(start, torch.device("cpu")))
    shown["label"] = torch.from_numpy(clips.label[start])
    if "gesture_logits" in measures:
        read = measures["gesture_logits"][: len(start)].argmax(axis=1)
        shown["read_as"] = torch.from_numpy(read)
    return shown


def save_clips(kept: dict[str, Tensor], path: Path) -> None:
    """As safetensors, whole or not at all."""
    from safetensors.torch import save_file

    scratch = path.with_name(f".{path.name}.{os.getpid()}")
    # Clones, because a file may not name the same memory twice.
    save_file({name: t.contiguous().clone() for name, t in kept.items()}, scratch)
    put_in_place(scratch, path)
