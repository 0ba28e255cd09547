"""Which clips of a store the page measures and shows: drawn by a seed, whatever its size."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from shared.spread import evenly

MOST_LABELS, CLIPS_OF_A_LABEL, CLIPS_IN_ALL = 48, 2, 16
NO_LABEL = "(no label)"


@dataclass(frozen=True)
class Sample:
    """Positions among the valid clips.

    Attributes:
        measured: for the statistics, int64, rising.
        shown: for the contact sheets, by label, in the store's order of labels.
        labels: how many labels have clips; more than `shown` has where there are many.
    """

    measured: NDArray[np.int64]
    shown: dict[str, NDArray[np.int64]]
    labels: int


def draw_sample(
    label: NDArray[np.int16],
    subject: NDArray[np.int16],
    names: tuple[str, ...],
    count: int,
    seed: int,
) -> Sample:
    """Clips at random, each label's of different subjects where it has them.

    Args:
        label: index of each valid clip's label, -1 where it has none, shape (N,).
        subject: likewise, of its subject.
        names: of the labels.
        count: clips to measure at most.
        seed: the same seed draws the same clips.
    """
    rng = np.random.default_rng(seed)
    measured = rng.permutation(len(label))[:count]
    present = np.unique(label)
    chosen = present[evenly(len(present), MOST_LABELS)]
    each = max(CLIPS_OF_A_LABEL, CLIPS_IN_ALL // max(1, len(present)))
    order = rng.permutation(len(label))
    shown = {
        NO_LABEL if index < 0 else names[index]: _of_many_subjects(
            order[label[order] == index], subject, each
        )
        for index in sorted(chosen.tolist(), key=lambda index: (index < 0, index))
    }
    return Sample(np.sort(measured), shown, len(present))


def _of_many_subjects(
    candidates: NDArray[np.int64], subject: NDArray[np.int16], count: int
) -> NDArray[np.int64]:
    """The first of each subject, then whatever comes."""
    first = np.sort(np.unique(subject[candidates], return_index=True)[1])
    rest = np.setdiff1d(np.arange(len(candidates)), first)
    return candidates[np.concatenate([first, rest])[:count]]
