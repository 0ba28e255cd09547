"""Batches as stores hold them, of random clips."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from shared.conventions import Compensation, FrameSize, Reference
from shared.motion_compensation import residual
from shared.schema import CodecOptions
from tests.train.stores import random_clip, random_motion
from train.data.clips import ClipBatch

BLOCK = 4


def codec_options(
    size: int | str | FrameSize = 16,
    reference: Reference = "first",
    reach: int = 3,
    unit: int = 1,
    compensation: Compensation = "block",
) -> CodecOptions:
    return CodecOptions(
        size=FrameSize.parse(size),
        frames=4,
        block=BLOCK,
        search_range=reach,
        reference=reference,
        vector_unit=unit,
        compensation=compensation,
    )


def stored(options: CodecOptions, count: int = 2) -> tuple[ClipBatch, Tensor]:
    """A batch as the store holds it, and the clips themselves."""
    clips = [random_clip(options, seed) for seed in range(count)]
    motions = [random_motion(options, seed) for seed in range(count)]
    rests = [
        residual(
            clip,
            motion,
            options.codec,
        )
        for clip, motion in zip(clips, motions, strict=True)
    ]
    whole = torch.from_numpy(np.stack(clips))
    parts = (torch.from_numpy(np.stack(arrays)) for arrays in (motions, rests))
    return ClipBatch(whole[:, 0], *parts, torch.zeros(count, dtype=torch.int64)), whole
