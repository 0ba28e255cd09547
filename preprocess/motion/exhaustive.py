"""Exhaustive search: every vector in range is a candidate; what is left out cannot be the best."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from preprocess.motion.kernels.candidate_key import Size
from preprocess.motion.kernels.exhaustive import SLACK, search_clip
from preprocess.motion.kernels.vectors import SPANS
from preprocess.motion.penalty import UNIT_BITS
from shared.conventions import COSTS_FROM, CostFrom, Reference, grid_shape


def search(
    luma: NDArray[np.uint8],
    *,
    block: int,
    search_range: int,
    reference: Reference,
    penalty: NDArray[np.int32],
    cost_from: CostFrom = "zero",
    brute_force: bool = False,
) -> NDArray[np.int8]:
    """Vectors of least cost; arguments as in `preprocess.motion.search`.

    Args:
        luma: uint8, shape (T, H, W).
        block: block size b, pixels.
        search_range: R, pixels.
        reference: frame that vectors point into.
        penalty: int32, shape (2, 4R+1, 4R+1), see `preprocess.motion.penalty`.
        cost_from: what it is measured from.
        brute_force: whether to look at every candidate; the result is the same.

    Returns:
        int8, shape (T-1, 2, ceil(H/b), ceil(W/b)).
    """
    frames, height, width = luma.shape
    motion = np.zeros((frames - 1, 2, *grid_shape(height, width, block)), np.int8)
    flat = np.empty(luma.size + 2 * SLACK, np.uint8)
    flat[:SLACK] = flat[-SLACK:] = 0
    flat[SLACK:-SLACK].reshape(luma.shape)[:] = luma
    # Differences of four sums over 16 x 16 pixels are too much for 16 bits.
    shift = 2 if block == 32 else 0
    size = Size(height, width, block, search_range, shift, COSTS_FROM.index(cost_from))
    rates = np.zeros(penalty[1].size + SPANS[-1], np.uint16)
    in_sad = penalty[1].ravel() * np.int32(block * block) >> UNIT_BITS
    rates[: penalty[1].size] = in_sad >> shift
    search_clip(flat, size, reference == "first", brute_force, penalty.ravel(), rates, motion)
    return motion
