"""Refinement of whole-pixel vectors to halves and quarters of a pixel, as encoders do it.

First the eight vectors half a pixel around the best whole-pixel one are compared with it, then
those a quarter of a pixel around the best of these nine. The result is the best of what was looked
at, not of all vectors in range, and its cost is never above that of the whole-pixel vector. The
cost is that of `preprocess.motion`, with the SAD of the interpolated luma. Ties go to the vector in
the middle, then to raster order of (y, x). As zero is only ever looked at in the middle, it wins
its ties here too.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from preprocess.motion.kernels.subpixel import refine_clip
from shared.conventions import Reference


def refine(
    luma: NDArray[np.uint8],
    motion: NDArray[np.int8],
    *,
    block: int,
    search_range: int,
    reference: Reference,
    vector_unit: int,
    penalty: NDArray[np.int64],
) -> NDArray[np.int8]:
    """Vectors in units of 1/vector_unit pixel, near those given in pixels.

    Predictors stay inside the frame and components within the search range. A vector whose
    predictor is not inside is only put in the new unit.

    Args:
        luma: uint8, shape (T, H, W).
        motion: int8 pixels, shape (T-1, 2, ceil(H/b), ceil(W/b)), within the search range.
        block: block size b, pixels.
        search_range: R, pixels.
        reference: frame that vectors point into.
        vector_unit: u, 2 or 4.
        penalty: int64, shape (2Ru+1, 2Ru+1), see `preprocess.motion.penalty`.

    Returns:
        int8, shape of `motion`.
    """
    refined = motion * np.int8(vector_unit)
    refine_clip(
        np.ascontiguousarray(luma).reshape(-1),
        luma.shape,
        block,
        reference == "first",
        vector_unit.bit_length() - 1,
        penalty,
        refined,
    )
    return refined
