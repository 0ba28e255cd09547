"""Block-matching motion search: one file per method behind one signature.

A method module has `search(luma, *, block, search_range, reference, penalty, cost_from)`; see
`preprocess.motion.exhaustive`. Add a method by adding its file and a line to `METHODS`.
"""

from __future__ import annotations

from importlib import import_module

import numpy as np
from numpy.typing import NDArray

from preprocess.motion.penalty import penalty_table
from shared.conventions import (
    BLOCKS,
    COSTS_FROM,
    MAX_SEARCH_RANGE_PX,
    REFERENCES,
    CostFrom,
    Reference,
)

METHODS: dict[str, str] = {
    "exhaustive": "preprocess.motion.exhaustive",
    "naive": "preprocess.motion.naive",
}
"""Module by method name; imported when used, so that nothing compiles before."""


def search(
    luma: NDArray[np.uint8],
    *,
    block: int,
    search_range: int,
    method: str = "exhaustive",
    reference: Reference = "previous",
    zero_bias: float = 0.0,
    motion_cost: float = 0.0,
    cost_from: CostFrom = "zero",
) -> NDArray[np.int8]:
    """Find each block's predictor in its reference frame, for a whole clip in one call.

    Minimises `SAD + pixels * (motion_cost * |v - e| + zero_bias * (v != 0))` over whole-pixel
    vectors v whose predictor lies inside the frame; ties as in `shared.conventions`. The expected
    vector e is zero, or comes of blocks that were decided before: each is then the best that can
    be chosen after them, though not the best of all fields.

    Args:
        luma: uint8, shape (T, H, W), T >= 1.
        block: block size b, pixels; one of `shared.conventions.BLOCKS`.
        search_range: largest |vx| and |vy|, pixels.
        method: one of `METHODS`; all of these return the same, the exact optimum.
        reference: `previous` frame or `first` frame of the clip.
        zero_bias: SAD per block pixel that a vector other than zero must save.
        motion_cost: SAD per block pixel for each pixel between a vector and the expected one.
        cost_from: what the expected vector is, one of `shared.conventions.COSTS_FROM`.

    Returns:
        int8 pixels, shape (T-1, 2, ceil(H/b), ceil(W/b)); channel 0 is x, channel 1 is y.

    Raises:
        ValueError: an argument is out of bounds; the message names it.
    """
    _check(luma, block, search_range, method, reference, cost_from)
    penalty = penalty_table(search_range, zero_bias=zero_bias, motion_cost=motion_cost)
    found: NDArray[np.int8] = import_module(METHODS[method]).search(
        luma,
        block=block,
        search_range=search_range,
        reference=reference,
        penalty=penalty,
        cost_from=cost_from,
    )
    return found


def _check(
    luma: NDArray[np.uint8],
    block: int,
    search_range: int,
    method: str,
    reference: str,
    cost_from: str,
) -> None:
    if luma.ndim != 3 or luma.dtype != np.uint8 or 0 in luma.shape:
        raise ValueError(
            f"luma is {luma.dtype} {luma.shape}; it must be uint8 (T, H, W), not empty"
        )
    if block not in BLOCKS:
        raise ValueError(f"block {block}; it must be one of {', '.join(map(str, BLOCKS))}")
    if not 0 <= search_range <= MAX_SEARCH_RANGE_PX:
        raise ValueError(f"search_range {search_range}; it must be in [0, {MAX_SEARCH_RANGE_PX}]")
    if method not in METHODS:
        raise ValueError(f"method {method!r}; it must be one of {', '.join(METHODS)}")
    if reference not in REFERENCES:
        raise ValueError(f"reference {reference!r}; it must be one of {', '.join(REFERENCES)}")
    if cost_from not in COSTS_FROM:
        raise ValueError(f"cost_from {cost_from!r}; it must be one of {', '.join(COSTS_FROM)}")
