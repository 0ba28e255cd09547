"""What a code loses on clips that it was not made from."""

from __future__ import annotations

import time
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from shared.console import Progress
from train.data.clips import ClipBatch, Clips
from train.evaluate.metrics.frames import SSIM_WINDOW, psnr, ssim
from train.spaces import Space

_AT_ONCE = 4
"""Clips that are encoded and decoded together."""


@dataclass(frozen=True)
class Loss:
    """Of frames 1...T-1 against the real ones, mean over clips.

    Attributes:
        psnr, ssim: mean over all those frames, of each frame's own; PSNR in dB.
        psnr_last, ssim_last: of the last frame alone.
        milliseconds: to encode and decode a frame, of the machine that is named beside.
    """

    psnr: float
    psnr_last: float
    ssim: float | None
    ssim_last: float | None
    milliseconds: float | None = None


def score_code(
    space: Space, clips: Clips, indices: NDArray[np.int64], device: torch.device, title: str
) -> Loss:
    """Encode and decode clips; no sampling, so that the same code gives the same numbers.

    `ssim` is None where frames are smaller than its window.
    """
    seconds, pieces = 0.0, []
    with Progress().bar(title, len(indices), "clips") as bar:
        for piece in np.array_split(indices, -(-len(indices) // _AT_ONCE)):
            batch = clips.batch(piece, device)
            started = time.perf_counter()
            restored = coded(space, batch)
            seconds += time.perf_counter() - started
            pieces.append(_frame_scores(restored, clips.frames(batch)))
            bar(len(piece))
    frames = len(indices) * (space.store.frames - 1)
    return _summary(pieces, 1000 * seconds / frames)


def score_first_frame(clips: Clips, indices: NDArray[np.int64], device: torch.device) -> Loss:
    """The first frame repeated: what has to be beaten by anything."""
    pieces = []
    for piece in np.array_split(indices, -(-len(indices) // _AT_ONCE)):
        real = clips.frames(clips.batch(piece, device))
        pieces.append(_frame_scores(real[:, :1].expand_as(real), real))
    return _summary(pieces, None)


@torch.no_grad()
def coded(space: Space, batch: ClipBatch) -> Tensor:
    """Clips through the code and back, uint8, shape (B, T, 3, H, W)."""
    return space.decode(space.encode(batch), vars(batch)).frames.cpu()


def _frame_scores(frames: Tensor, real: Tensor) -> dict[str, Tensor]:
    pair = frames[:, 1:].cpu(), real[:, 1:].cpu()
    scores = {"psnr": psnr(*pair)}
    return scores | ({"ssim": ssim(*pair)} if min(real.shape[-2:]) >= SSIM_WINDOW else {})


def _summary(pieces: list[dict[str, Tensor]], milliseconds: float | None) -> Loss:
    values = {name: torch.cat([piece[name] for piece in pieces]) for name in pieces[0]}
    mean = {name: float(each.mean()) for name, each in values.items()}
    last = {name: float(each[:, -1].mean()) for name, each in values.items()}
    return Loss(mean["psnr"], last["psnr"], mean.get("ssim"), last.get("ssim"), milliseconds)
