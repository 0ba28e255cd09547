"""Temporal consistency of clips: metrics of our own, in grey levels.

Warping error: mean error of block motion compensation from the frame before. The vectors are
searched on the clip itself, at whole pixels and in the same way for every clip: spaces without
vectors are treated like those with, and a clip that moves differently from the real one is not
penalised. It is no optical-flow warping error (Lai et al. 2018), and a clip without motion has
none of it: compare it with that of the real clips.

Flicker: change from frame to frame where the real clip of the same first frame is still.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from shared.conventions import Codec
from train.data.motion_compensation import predict

BLOCK, RANGE_PX = 8, 8
"""Block and range of the search, pixels."""

STILL_LEVELS, BLUR_PX, MARGIN_PX = 4.0, 5, 5
"""A pixel is still where blurred luma, there and near, stays this close to frame 0, grey levels."""

_LUMA = (77 / 256, 150 / 256, 29 / 256)


def warping_error(frames: Tensor) -> Tensor:
    """Mean absolute error of frames 1...T-1 compensated from the frame before.

    Args:
        frames: uint8, shape (B, T, 3, H, W).

    Returns:
        float32 grey levels, shape (B,).
    """
    before, now = frames[:, :-1].flatten(0, 1), frames[:, 1:].flatten(0, 1)
    vectors = search_blocks(luma(now), luma(before))
    warped = predict(before, vectors, Codec(BLOCK))
    error = (now.float() - warped.float()).abs().mean(dim=(1, 2, 3))  # (B T-1,)
    return error.view(len(frames), -1).mean(dim=1)


def search_blocks(now: Tensor, before: Tensor) -> Tensor:
    """Search vectors of least absolute luma difference exhaustively; ties go to the shortest.

    Args:
        now: float luma, shape (N, H, W), to be predicted.
        before: likewise, to be predicted from; continued outside by its edge pixels.

    Returns:
        int64 (x, y), shape (N, 2, ceil(H/8), ceil(W/8)).
    """
    height, width = now.shape[-2:]
    padded = F.pad(before[:, None], (RANGE_PX,) * 4, mode="replicate")[:, 0]
    grid = (-(-height // BLOCK), -(-width // BLOCK))
    best = torch.full((len(now), *grid), torch.inf, device=now.device)
    vectors = torch.zeros((len(now), 2, *grid), dtype=torch.int64, device=now.device)
    for y, x in _candidates():
        moved = padded[:, RANGE_PX + y :, RANGE_PX + x :][:, :height, :width]
        cost = _block_sums((now - moved).abs())
        better = cost < best
        best = torch.where(better, cost, best)
        vectors[:, 0].masked_fill_(better, x)
        vectors[:, 1].masked_fill_(better, y)
    return vectors


def flicker(frames: Tensor, still: Tensor) -> Tensor:
    """Mean absolute change from frame to frame over still pixels.

    Args:
        frames: uint8, shape (B, T, 3, H, W).
        still: bool, shape (B, H, W), see `still_pixels`.

    Returns:
        float32 grey levels, shape (B,); NaN where no pixel is still.
    """
    change = (frames[:, 1:].float() - frames[:, :-1].float()).abs().mean(dim=(1, 2))
    return (change * still).sum(dim=(1, 2)) / still.sum(dim=(1, 2))


def still_pixels(real: Tensor) -> Tensor:
    """Mask of pixels that stand still, and so does what is near: bool (B, H, W).

    Args:
        real: uint8, shape (B, T, 3, H, W).
    """
    grey = luma(real)
    smooth = F.avg_pool2d(grey, BLUR_PX, stride=1, padding=BLUR_PX // 2, count_include_pad=False)
    moved = ((smooth[:, 1:] - smooth[:, :1]).abs() > STILL_LEVELS).any(dim=1)
    near = F.max_pool2d(moved.float()[:, None], 2 * MARGIN_PX + 1, stride=1, padding=MARGIN_PX)
    return near[:, 0] == 0


def change(frames: Tensor) -> Tensor:
    """Mean absolute change from frame to frame, grey levels, shape (B,), of (B, T, 3, H, W)."""
    return (frames[:, 1:].float() - frames[:, :-1].float()).abs().mean(dim=(1, 2, 3, 4))


def luma(frames: Tensor) -> Tensor:
    """BT.601 luma, float32 grey levels: (..., H, W) of uint8 (..., 3, H, W)."""
    red, green, blue = frames.float().unbind(dim=-3)
    return _LUMA[0] * red + _LUMA[1] * green + _LUMA[2] * blue


def _candidates() -> list[tuple[int, int]]:
    """All vectors (y, x) in range, the shortest first."""
    offsets = range(-RANGE_PX, RANGE_PX + 1)
    vectors = ((y, x) for y in offsets for x in offsets)
    return sorted(vectors, key=lambda v: (v[0] ** 2 + v[1] ** 2, v))


def _block_sums(error: Tensor) -> Tensor:
    """Sums over blocks, those across the edge cut: (N, h, w) of (N, H, W)."""
    height, width = error.shape[-2:]
    padded = F.pad(error, (0, -width % BLOCK, 0, -height % BLOCK))
    return F.avg_pool2d(padded, BLOCK) * BLOCK**2
