"""Which of two frames each block is predicted from, where it may choose: the one that costs less.

So encoders with several references choose, by distortion plus what vector and index cost to code
(Wiegand, Zhang, Girod 1999, "Long-Term Memory Motion-Compensated Prediction"). Here the index costs
what one pixel of vector length does: in blocks that match both frames alike it would follow noise.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from preprocess.motion.kernels.choice import choose_clip


def choose(
    luma: NDArray[np.uint8],
    before: NDArray[np.int8],
    first: NDArray[np.int8],
    *,
    block: int,
    vector_unit: int,
    penalty: NDArray[np.int64],
    of_index: int,
) -> NDArray[np.int8]:
    """Of each block's two vectors the one of less cost; ties go to the frame before.

    Args:
        luma: uint8, shape (T, H, W).
        before: int8 in units of 1/vector_unit pixel, shape (T-1, 2, ceil(H/b), ceil(W/b)), into the
            frame before each; predictors inside the frame.
        first: likewise, into frame 0.
        block: block size b, pixels.
        vector_unit: u.
        penalty: int64, shape (2Ru+1, 2Ru+1), see `preprocess.motion.penalty`.
        of_index: penalty of the index 1, in the same unit.

    Returns:
        int8, shape (T-1, 3, ceil(H/b), ceil(W/b)): x, y and the index, 0 for the frame before.
    """
    index = np.zeros_like(before[:, :1])
    shift = vector_unit.bit_length() - 1
    flat = np.ascontiguousarray(luma).reshape(-1)
    choose_clip(flat, luma.shape, before, first, block, shift, penalty, of_index, index)
    return np.concatenate([np.where(index != 0, first, before), index], axis=1)
