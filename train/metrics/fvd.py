"""FVD (Unterthiner et al. 2018) as StyleGAN-V computes it, and LFDM's variants of it.

FVD is the Fréchet distance of I3D's logits. cFVD and sFVD (LFDM, Ni et al. 2023) are FVD within
each class and within each subject: mean and standard deviation over them (the authors' words in
their repository, #3; the paper says variance). R-FVD is FVD of reconstructions. Of the features of
any other network nothing here has a right to these names.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from train.metrics.frechet import fit_gaussian, frechet_distance, samples_needed, why_too_few


@dataclass(frozen=True)
class Grouped:
    """A distance within each of several groups.

    Attributes:
        mean: over groups.
        spread: standard deviation over groups, divided by their number.
        groups: how many.
    """

    mean: float
    spread: float
    groups: int


def frechet(generated: NDArray[np.floating], real: NDArray[np.floating]) -> float:
    """Fréchet distance of features, shapes (N, d) and (M, d).

    Raises:
        UserError: there are too few of either.
    """
    return frechet_distance(fit_gaussian(generated), fit_gaussian(real))


def grouped_frechet(
    generated: NDArray[np.floating],
    generated_group: NDArray[np.int64],
    real: NDArray[np.floating],
    real_group: NDArray[np.int64],
) -> Grouped:
    """The distance within each group that occurs among the real clips.

    Args:
        generated: features, shape (N, d).
        generated_group: class or subject of each, shape (N,); -1 = none, left out.
        real: features, shape (M, d).
        real_group: likewise.

    Raises:
        UserError: a group has too few on either side; see `why_too_few_in_groups`.
    """
    distances = [
        frechet(generated[generated_group == group], real[real_group == group])
        for group in _groups(real_group)
    ]
    return Grouped(float(np.mean(distances)), float(np.std(distances)), len(distances))


def why_too_few_in_groups(
    what: str, generated_group: NDArray[np.int64], real_group: NDArray[np.int64], dimensions: int
) -> str | None:
    """The complaint about the smallest group, and what would do; None where all suffice."""
    groups = _groups(real_group)
    if not len(groups):
        return f"the clips have no {what} to compare within"
    for side, group in (("generated", generated_group), ("real", real_group)):
        fewest = min(int((group == one).sum()) for one in groups)
        if complaint := why_too_few(f"{side}, smallest {what}", fewest, dimensions):
            enough = len(groups) * samples_needed(dimensions)
            return f"{complaint}; with {len(groups)} of them about {enough:,} clips in all"
    return None


def _groups(group: NDArray[np.int64]) -> NDArray[np.int64]:
    return np.unique(group[group >= 0])
