"""Block-matching motion search: one file for each method, all with one signature.

A method's module has `search(luma, codec, penalty)`; see `preprocess.motion.exhaustive`. Add a
method by adding its file and a line to `METHODS`. Whole fields are fitted, not matched block by
block, in `preprocess.motion.variational`.
"""

from __future__ import annotations

from dataclasses import replace
from functools import lru_cache
from importlib import import_module

import numpy as np
from numpy.typing import NDArray

import preprocess.kernel_cache  # noqa: F401  # before any kernel is declared
from shared.conventions import MAX_VECTOR, Codec, Reference

METHODS: dict[str, str] = {
    "exhaustive": "preprocess.motion.exhaustive",
    "naive": "preprocess.motion.naive",
    "h264": "preprocess.motion.h264",
}
"""Module of each method; imported when used, so that no other kernel is loaded."""

EXACT = ("exhaustive", "naive")
"""Methods that return the optimum, which is the same for all of them."""

UNITS_PER_SAD = 256
"""Penalties are counted in 1/256 of a grey level per block pixel."""

MAX_PENALTY = UNITS_PER_SAD * 255
"""Largest penalty: with it no vector costs less than the zero vector; also prevents overflow."""


def search(
    luma: NDArray[np.uint8],
    codec: Codec,
    *,
    search_range: int,
    method: str = "exhaustive",
    motion_cost: float = 0.0,
) -> NDArray[np.int8]:
    """Find each block's predictor in its reference frame, for a whole clip in one call.

    Minimises `SAD + pixels * motion_cost * |v|` over whole-pixel vectors v whose predictor lies
    inside the frame; ties as in `shared.conventions`. In units of half or quarter pixels, the
    same is then minimised among their neighbours: `preprocess.motion.subpixel`.

    Args:
        luma: uint8, shape (T, H, W), T >= 1.
        codec: block size b, reference and vector unit u. With the reference `either`, each block
            takes the frame that costs less; the index of frame 0 costs as much as a pixel of
            vector length.
        search_range: largest |vx| and |vy|, pixels.
        method: one of `METHODS`; those in `EXACT` return the optimum. `h264` returns the choice of
            x264, which never costs more than the zero vector.
        motion_cost: SAD per block pixel for each pixel of vector length.

    Returns:
        int8 in units of 1/u pixel, shape (T-1, 2, ceil(H/b), ceil(W/b)); channel 0 is x, channel 1
        is y. With the reference `either` there is a channel 2: 1 where a block's vector points
        into frame 0, else 0.

    Raises:
        ValueError: an argument is out of bounds; the message names it.
    """
    _check(luma, codec, search_range, method)
    if codec.reference == "either":
        return _search_both(luma, codec, search_range, method, motion_cost)
    module = import_module(METHODS[method])
    found: NDArray[np.int8] = module.search(
        luma, codec, vector_penalty(search_range, 1, motion_cost)
    )
    if codec.vector_unit == 1:
        return found
    # The slow oracle has a refinement of its own, to compare the other with.
    refiner = module if method == "naive" else import_module("preprocess.motion.subpixel")
    penalty = vector_penalty(search_range, codec.vector_unit, motion_cost)
    refined: NDArray[np.int8] = refiner.refine(luma, found, codec, penalty)
    return refined


@lru_cache(maxsize=16)
def vector_penalty(search_range: int, vector_unit: int, motion_cost: float) -> NDArray[np.int64]:
    """Table of the penalty of every vector v, `round(256 motion_cost |v|)` with |v| in pixels.

    Integers, so that no method has to round, and at most `MAX_PENALTY`. The cost that a search
    minimises is `256 SAD + pixels_in_block * penalty[vy + Ru, vx + Ru]`. A whole vector has the
    same penalty, bit for bit, in every unit: units are powers of two.

    Args:
        search_range: R, pixels.
        vector_unit: u; vectors are in units of 1/u pixel.
        motion_cost: grey levels per block pixel and pixel of vector length, >= 0.

    Returns:
        int64, shape (2Ru+1, 2Ru+1), read-only; least for the zero vector, where it is 0.

    Raises:
        ValueError: the cost is negative or not finite.
    """
    if not 0 <= motion_cost < np.inf:
        raise ValueError(f"motion_cost {motion_cost}; it must be finite and not negative")
    limit = search_range * vector_unit
    offsets = np.arange(-limit, limit + 1)
    # sqrt is rounded correctly everywhere, which hypot is not: the same table on any machine.
    length = np.sqrt(np.square(offsets[:, None]) + np.square(offsets))
    exact = np.rint(UNITS_PER_SAD * (motion_cost / vector_unit * length))
    penalty = np.minimum(exact, MAX_PENALTY).astype(np.int64)
    penalty.flags.writeable = False
    return penalty


def _search_both(
    luma: NDArray[np.uint8], codec: Codec, search_range: int, method: str, motion_cost: float
) -> NDArray[np.int8]:
    """Search the previous frame and frame 0, and choose between them for each block."""
    references: tuple[Reference, ...] = ("previous", "first")
    previous, first = (
        search(
            luma,
            replace(codec, reference=reference),
            search_range=search_range,
            method=method,
            motion_cost=motion_cost,
        )
        for reference in references
    )
    penalty = vector_penalty(search_range, codec.vector_unit, motion_cost)
    index_penalty = int(min(np.rint(UNITS_PER_SAD * motion_cost), MAX_PENALTY))
    chosen: NDArray[np.int8] = import_module("preprocess.motion.reference_choice").choose(
        luma, previous, first, codec, penalty, index_penalty
    )
    return chosen


def _check(luma: NDArray[np.uint8], codec: Codec, search_range: int, method: str) -> None:
    if luma.ndim != 3 or luma.dtype != np.uint8 or 0 in luma.shape:
        raise ValueError(
            f"luma is {luma.dtype} {luma.shape}; it must be uint8 (T, H, W), not empty"
        )
    most = MAX_VECTOR // codec.vector_unit
    if not 0 <= search_range <= most:
        unit = "" if codec.vector_unit == 1 else f" at vector_unit {codec.vector_unit}"
        raise ValueError(f"search_range {search_range}; it must be in [0, {most}]{unit}")
    if method not in METHODS:
        raise ValueError(f"method {method!r}; it must be one of {', '.join(METHODS)}")
