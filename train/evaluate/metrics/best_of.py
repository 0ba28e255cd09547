"""Several samples of one first frame: the average one and the best one, where papers differ.

Stochastic video prediction reports the best of N samples a trajectory (Denton & Fergus 2018), other
work the average; some count the given frame, some do not. All four are given, and named.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class BestOf:
    """One measure over samples of the same first frames, means over trajectories.

    Attributes:
        samples: N, of every trajectory.
        average: over all samples.
        best: of the best sample of each trajectory, by this very measure.
        average_with_given, best_with_given: the same with the conditioning frame counted.
    """

    samples: int
    average: float
    best: float
    average_with_given: float
    best_with_given: float


def best_of(
    without: NDArray[np.floating],
    with_given: NDArray[np.floating],
    clip: NDArray[np.int64],
    *,
    lower_is_better: bool = False,
) -> BestOf:
    """Group samples by the clip they started from.

    Args:
        without: a number for each sample, over frames 1...T-1, shape (N,).
        with_given: likewise over frames 0...T-1.
        clip: what each started from, shape (N,); as many samples of each.
        lower_is_better: as for LPIPS.

    Raises:
        ValueError: some clip has more samples than others.
    """
    order = np.argsort(clip, kind="stable")
    _, counts = np.unique(clip, return_counts=True)
    if len(set(counts.tolist())) != 1:
        raise ValueError(
            f"{counts.min()} to {counts.max()} samples a clip; best of N wants equal N"
        )
    samples = int(counts[0])
    rows = [values[order].reshape(-1, samples) for values in (without, with_given)]
    best = [(row.min if lower_is_better else row.max)(axis=1).mean() for row in rows]
    return BestOf(
        samples, float(rows[0].mean()), float(best[0]), float(rows[1].mean()), float(best[1])
    )
