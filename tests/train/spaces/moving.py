"""A clip with known motion: textured squares and grounds that shift by whole pixels."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray

from shared.conventions import motion_channels
from shared.motion_compensation import residual
from shared.schema import CodecOptions
from train.data.clips import ClipBatch


def texture(height: int, width: int, seed: int) -> NDArray[np.uint8]:
    """A smooth random picture, (H, W, 3)."""
    rng = np.random.default_rng(seed)
    coarse = rng.integers(20, 235, (height // 8 + 2, width // 8 + 2, 3)).astype(float)
    rows, columns = np.arange(height) / 8, np.arange(width) / 8
    i, j = rows.astype(int), columns.astype(int)
    u, v = (rows - i)[:, None, None], (columns - j)[None, :, None]
    upper = coarse[i][:, j] * (1 - v) + coarse[i][:, j + 1] * v
    lower = coarse[i + 1][:, j] * (1 - v) + coarse[i + 1][:, j + 1] * v
    return (upper * (1 - u) + lower * u).round().astype(np.uint8)


def shifted_pictures(size: int, frames: int, across: int, down: int) -> NDArray[np.uint8]:
    """A picture that moves as a whole by (across, down) pixels a frame, (T, 3, H, W)."""
    margin = frames * max(abs(across), abs(down))
    large = texture(size + 2 * margin, size + 2 * margin, 0)
    starts = [(margin - n * down, margin - n * across) for n in range(frames)]
    clip = np.stack([large[y : y + size, x : x + size] for y, x in starts])
    return np.ascontiguousarray(clip.transpose(0, 3, 1, 2))


def stored_clip(clip: NDArray[np.uint8], options: CodecOptions) -> ClipBatch:
    """A batch of one clip, (T, 3, H, W), with vectors of zeros."""
    shape = (options.frames - 1, motion_channels(options.reference), *options.grid)
    motion = np.zeros(shape, np.int8)
    rest = residual(clip, motion, options.codec)
    first, vectors, rests = (torch.from_numpy(x[None]) for x in (clip[0], motion, rest))
    return ClipBatch(first, vectors, rests, torch.zeros(1, dtype=torch.long))
