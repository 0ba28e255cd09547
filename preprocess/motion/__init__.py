"""Block-matching motion search: one file per method behind one signature.

A method module has `search(luma, *, block, search_range, reference, penalty, cost_from)`; see
`preprocess.motion.exhaustive`. Add a method by adding its file and a line to `METHODS`.
"""

from __future__ import annotations

from importlib import import_module

import numpy as np
from numpy.typing import NDArray

from preprocess.motion.penalty import difference_penalty, index_penalty, subpixel_penalty
from shared.conventions import (
    BLOCKS,
    COSTS_FROM,
    MAX_VECTOR,
    REFERENCES,
    VECTOR_UNITS,
    CostFrom,
    Reference,
)

METHODS: dict[str, str] = {
    "exhaustive": "preprocess.motion.exhaustive",
    "naive": "preprocess.motion.naive",
    "h264": "preprocess.motion.h264",
}
"""Module by method name; imported when used, so that nothing compiles before."""

EXACT = ("exhaustive", "naive")
"""Methods that return the optimum, all of them the same."""

_SUBPIXEL = "preprocess.motion.subpixel"
_CHOICE = "preprocess.motion.reference_choice"
_BOTH: tuple[Reference, ...] = ("previous", "first")


def search(
    luma: NDArray[np.uint8],
    *,
    block: int,
    search_range: int,
    method: str = "exhaustive",
    reference: Reference = "previous",
    vector_unit: int = 1,
    zero_bias: float = 0.0,
    motion_cost: float = 0.0,
    cost_from: CostFrom = "zero",
) -> NDArray[np.int8]:
    """Find each block's predictor in its reference frame, for a whole clip in one call.

    Minimises `SAD + pixels * (motion_cost * |v - e| + zero_bias * (v != 0))` over whole-pixel
    vectors v whose predictor lies inside the frame; ties as in `shared.conventions`. The expected
    vector e is zero, or comes of blocks that were decided before: each is then the best that can
    be chosen after them, though not the best of all fields. In units of half or quarter pixels,
    then the same among their neighbours: `preprocess.motion.subpixel`.

    Args:
        luma: uint8, shape (T, H, W), T >= 1.
        block: block size b, pixels; one of `shared.conventions.BLOCKS`.
        search_range: largest |vx| and |vy|, pixels.
        method: one of `METHODS`; those in `EXACT` return the same, the optimum. `h264` returns
            what x264 chooses, never at more cost than the zero vector.
        reference: `previous` frame, `first` frame of the clip, or `either`: the one of them that
            costs less, which the index of frame 0 adds to as a pixel of vector length does.
        vector_unit: 1, 2 or 4: vectors in whole, half or quarter pixels.
        zero_bias: SAD per block pixel that a vector other than zero must save.
        motion_cost: SAD per block pixel for each pixel between a vector and the expected one.
        cost_from: what the expected vector is, one of `shared.conventions.COSTS_FROM`; other than
            zero for methods in `EXACT` and whole pixels alone.

    Returns:
        int8 in units of 1/vector_unit pixel, shape (T-1, 2, ceil(H/b), ceil(W/b)); channel 0 is
        x, channel 1 is y. With the reference `either` there is a channel 2: 1 where a block's
        vector points into frame 0, else 0.

    Raises:
        ValueError: an argument is out of bounds; the message names it.
    """
    _check(luma, block, search_range, method, reference, vector_unit, cost_from)
    if reference == "either":
        return _search_both(luma, block, search_range, method, vector_unit, zero_bias, motion_cost)
    penalty = difference_penalty(search_range, zero_bias=zero_bias, motion_cost=motion_cost)
    options = {"block": block, "search_range": search_range, "reference": reference}
    found: NDArray[np.int8] = import_module(METHODS[method]).search(
        luma, penalty=penalty, cost_from=cost_from, **options
    )
    if vector_unit == 1:
        return found
    # The slow oracle has a refinement of its own, to hold the other against.
    refiner = import_module(METHODS[method] if method == "naive" else _SUBPIXEL)
    of_parts = subpixel_penalty(
        search_range, vector_unit, zero_bias=zero_bias, motion_cost=motion_cost
    )
    refined: NDArray[np.int8] = refiner.refine(
        luma, found, vector_unit=vector_unit, penalty=of_parts, **options
    )
    return refined


def _search_both(
    luma: NDArray[np.uint8],
    block: int,
    search_range: int,
    method: str,
    vector_unit: int,
    zero_bias: float,
    motion_cost: float,
) -> NDArray[np.int8]:
    """Each block's vector into the frame before or into frame 0, with its index."""
    before, first = (
        search(
            luma,
            block=block,
            search_range=search_range,
            method=method,
            reference=reference,
            vector_unit=vector_unit,
            zero_bias=zero_bias,
            motion_cost=motion_cost,
        )
        for reference in _BOTH
    )
    costs = {"zero_bias": zero_bias, "motion_cost": motion_cost}
    chosen: NDArray[np.int8] = import_module(_CHOICE).choose(
        luma,
        before,
        first,
        block=block,
        vector_unit=vector_unit,
        penalty=subpixel_penalty(search_range, vector_unit, **costs),
        of_index=index_penalty(motion_cost),
    )
    return chosen


def _check(
    luma: NDArray[np.uint8],
    block: int,
    search_range: int,
    method: str,
    reference: str,
    vector_unit: int,
    cost_from: str,
) -> None:
    if luma.ndim != 3 or luma.dtype != np.uint8 or 0 in luma.shape:
        raise ValueError(
            f"luma is {luma.dtype} {luma.shape}; it must be uint8 (T, H, W), not empty"
        )
    if block not in BLOCKS:
        raise ValueError(f"block {block}; it must be one of {', '.join(map(str, BLOCKS))}")
    if vector_unit not in VECTOR_UNITS:
        raise ValueError(
            f"vector_unit {vector_unit}; it must be one of {', '.join(map(str, VECTOR_UNITS))}"
        )
    most = MAX_VECTOR // vector_unit
    if not 0 <= search_range <= most:
        unit = "" if vector_unit == 1 else f" at vector_unit {vector_unit}"
        raise ValueError(f"search_range {search_range}; it must be in [0, {most}]{unit}")
    if method not in METHODS:
        raise ValueError(f"method {method!r}; it must be one of {', '.join(METHODS)}")
    if reference not in REFERENCES:
        raise ValueError(f"reference {reference!r}; it must be one of {', '.join(REFERENCES)}")
    if cost_from not in COSTS_FROM:
        raise ValueError(f"cost_from {cost_from!r}; it must be one of {', '.join(COSTS_FROM)}")
    if cost_from != "zero" and reference == "either":
        raise ValueError(f"cost_from {cost_from!r} needs one reference; it is 'either'")
    if cost_from != "zero" and (vector_unit != 1 or method not in EXACT):
        raise ValueError(
            f"cost_from {cost_from!r} with method {method!r} and vector_unit {vector_unit}; it"
            f" needs vector_unit 1 and method {' or '.join(EXACT)}"
        )
