"""Block vectors of clips, for the statistics of `shared.motion_statistics`.

The search of `preprocess`, vector for vector, in PyTorch: stores with these options, the command
`preprocess motion-stats` and generated clips give the same numbers.
"""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from shared.motion_statistics import SEARCH

BLOCK: int = SEARCH["block"]
RANGE_PX: int = SEARCH["search_range"]

_OUTSIDE = 65536.0
"""Grey level outside of the frame: a predictor that reaches there costs more than any other."""
_WINDOW = BLOCK + 2 * RANGE_PX


def block_vectors(frames: Tensor) -> Tensor:
    """Search the vectors of frames 1...T-1 into the frame before.

    Minimises SAD + pixels * penalty over predictors inside the frame; ties go to the zero vector,
    then to raster order of (y, x).

    Args:
        frames: uint8, shape (B, T, 3, H, W).

    Returns:
        int8 (x, y), pixels, shape (B, T-1, 2, ceil(H/8), ceil(W/8)).
    """
    return torch.stack([_clip_vectors(clip) for clip in _luma(frames)])


def _clip_vectors(luma: Tensor) -> Tensor:
    """Vectors of a clip, int8 (T-1, 2, h, w), of its luma, float (T, H, W)."""
    height, width = luma.shape[-2:]
    right, below = -width % BLOCK, -height % BLOCK
    around = (RANGE_PX, RANGE_PX + right, RANGE_PX, RANGE_PX + below)
    now = _windows(F.pad(luma[1:], (0, right, 0, below)), BLOCK)  # (8, 8, T-1, h, w)
    inside = _windows(F.pad(torch.ones_like(luma[1:]), (0, right, 0, below)), BLOCK)
    before = _windows(F.pad(luma[:-1], around, value=_OUTSIDE), _WINDOW)  # (24, 24, T-1, h, w)
    pixels = inside.sum(dim=(0, 1))
    zero, *others = _candidates()

    found = torch.zeros((2, *pixels.shape), dtype=torch.int8, device=luma.device)
    best = _sad(now, before, inside, zero[:2])
    # What costs no more than the least penalty stands still: the others are few in most clips.
    moves = best > pixels * min(penalty for _, _, penalty in others)
    now, before, inside = now[..., moves], before[..., moves], inside[..., moves]  # (..., M)
    best, pixels = best[moves], pixels[moves]
    x, y = torch.zeros_like(best), torch.zeros_like(best)
    for row, column, penalty in others:
        cost = _sad(now, before, inside, (row, column)) + pixels * penalty
        better = cost < best
        best = torch.where(better, cost, best)
        x.masked_fill_(better, column)
        y.masked_fill_(better, row)
    found[:, moves] = torch.stack([x, y]).to(torch.int8)
    return found.movedim(0, 1)


def _sad(now: Tensor, before: Tensor, inside: Tensor, vector: tuple[int, int]) -> Tensor:
    """SAD of every block with a vector (y, x), shape (...), of windows (side, side, ...)."""
    top, left = (RANGE_PX + offset for offset in vector)
    moved = before[top : top + BLOCK, left : left + BLOCK]
    return ((now - moved).abs_() * inside).sum(dim=(0, 1))


def _windows(frames: Tensor, side: int) -> Tensor:
    """Windows of every block, a view, shape (side, side, T, h, w), of frames (T, H, W)."""
    return frames.unfold(1, side, BLOCK).unfold(2, side, BLOCK).movedim((-2, -1), (0, 1))


def _candidates() -> list[tuple[int, int, float]]:
    """Vectors (y, x) with their penalty a pixel: zero, then raster order.

    The penalty is `preprocess.motion.vector_penalty`: 0.3 grey levels a pixel of length, rounded to
    1/256.
    """
    offsets = range(-RANGE_PX, RANGE_PX + 1)
    vectors = [(0, 0), *((y, x) for y in offsets for x in offsets if (y, x) != (0, 0))]
    lengths = np.sqrt(np.square(np.array(vectors, np.float64)).sum(axis=1))
    penalties = np.rint(256 * (SEARCH["motion_cost"] * lengths)) / 256
    return [(y, x, penalty) for (y, x), penalty in zip(vectors, penalties.tolist(), strict=True)]


def _luma(frames: Tensor) -> Tensor:
    """`shared.conventions.luma`, as float32: whole numbers, shape (..., H, W)."""
    red, green, blue = frames.int().unbind(dim=-3)
    return ((77 * red + 150 * green + 29 * blue + 128) >> 8).float()
