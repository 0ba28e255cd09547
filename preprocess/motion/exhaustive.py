"""Exhaustive search: every vector in range is a candidate; pruning never changes the result."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from preprocess.motion.exhaustive_kernel import LANES, search_clip
from shared.conventions import Reference, grid_shape


def search(
    luma: NDArray[np.uint8],
    *,
    block: int,
    search_range: int,
    reference: Reference,
    penalty: NDArray[np.int64],
) -> NDArray[np.int8]:
    """Vectors of least cost; arguments as in `preprocess.motion.search`.

    Args:
        luma: uint8, shape (T, H, W).
        block: block size b, pixels.
        search_range: R, pixels.
        reference: frame that vectors point into.
        penalty: int64, shape (2R+1, 2R+1), see `preprocess.motion.penalty`.

    Returns:
        int8, shape (T-1, 2, ceil(H/b), ceil(W/b)).
    """
    frames, height, width = luma.shape
    motion = np.zeros((frames - 1, 2, *grid_shape(height, width, block)), np.int8)
    # Whole vectors may be read past either end of a row; what lies there is never chosen.
    padded = np.zeros((frames, height, width + 2 * search_range + 2 * LANES), np.int16)
    padded[:, :, search_range : search_range + width] = luma
    # The SAD of 16 x 16 pixels, 255 * 256, still fits in 16 bits: twice as many at a time.
    sad = np.zeros(2 * search_range + 1 + LANES, np.uint16 if block <= 16 else np.uint32)
    search_clip(padded, width, block, reference == "first", penalty, sad, motion)
    return motion
