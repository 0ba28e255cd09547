"""Exhaustive search: every vector in range is a candidate; what is left out cannot be the best."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from preprocess.motion.exhaustive_kernel import SLACK, search_clip
from preprocess.motion.keys import Size
from preprocess.motion.penalty import UNITS_PER_SAD
from preprocess.motion.vectors import SPANS
from shared.conventions import Reference, grid_shape


def search(
    luma: NDArray[np.uint8],
    *,
    block: int,
    search_range: int,
    reference: Reference,
    penalty: NDArray[np.int64],
    brute_force: bool = False,
) -> NDArray[np.int8]:
    """Vectors of least cost; arguments as in `preprocess.motion.search`.

    Args:
        luma: uint8, shape (T, H, W).
        block: block size b, pixels.
        search_range: R, pixels.
        reference: frame that vectors point into.
        penalty: int64, shape (2R+1, 2R+1), see `preprocess.motion.penalty`.
        brute_force: whether to look at every candidate; the result is the same.

    Returns:
        int8, shape (T-1, 2, ceil(H/b), ceil(W/b)).
    """
    frames, height, width = luma.shape
    motion = np.zeros((frames - 1, 2, *grid_shape(height, width, block)), np.int8)
    flat = np.zeros(luma.size + 2 * SLACK, np.uint8)
    flat[SLACK:-SLACK].reshape(luma.shape)[:] = luma
    size = plan(height, width, block, search_range)
    rates = np.zeros(penalty.size + size.span, np.uint16)
    rates[: penalty.size] = (penalty.ravel() * (block * block) // UNITS_PER_SAD) >> size.shift
    search_clip(flat, size, reference == "first", brute_force, penalty, rates, motion)
    return motion


def plan(height: int, width: int, block: int, search_range: int) -> Size:
    """How the kernel goes about frames of that size."""
    side = 2 * search_range + 1
    parts = -(-side // SPANS[-1])
    span = next(span for span in SPANS if span * parts >= side)
    # Differences of four sums over 16 x 16 pixels are too much for 16 bits.
    return Size(height, width, block, search_range, 2 if block == 32 else 0, span)
