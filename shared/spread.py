"""Some of many, evenly: what is shown or looked at where all would be too much."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


def evenly(total: int, most: int) -> NDArray[np.int64]:
    """Positions from 0 to `total` - 1, rising, at most so many; the first and the last are there.

    A single one is the first.
    """
    return np.linspace(0, total - 1, min(total, most)).round().astype(np.int64)
