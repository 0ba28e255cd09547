"""Divide a store's clips into training and test, by the protocols the store carries."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from shared.errors import UserError
from shared.manifest import Split
from shared.reader import ClipReader


def split_clips(
    store: ClipReader, protocol: str | None
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Positions of training and test clips among a store's valid clips.

    Args:
        store: carries split protocols by name.
        protocol: one of them; None takes the first.

    Returns:
        Two sorted int64 arrays without overlap. Whole subjects, or whole videos, are on one side.

    Raises:
        UserError: the store has no such protocol, or too few groups to divide.
    """
    name = protocol or next(iter(store.attributes.splits), "any")
    if name not in store.attributes.splits:
        raise UserError(
            f"the store has no split {name!r}; it has: {', '.join(store.attributes.splits)}"
        )
    split = Split.model_validate(store.attributes.splits[name])
    groups = store.column(split.by)
    held_out = _held_out(np.unique(groups), split, name)
    is_test = np.isin(groups, held_out)
    return np.flatnonzero(~is_test), np.flatnonzero(is_test)


def _held_out(groups: NDArray, split: Split, name: str) -> NDArray:
    if len(groups) < 2:
        raise UserError(
            f"split {name!r} needs at least two {split.by}s, the store has {len(groups)}:"
            " extract more videos, or choose another split with --set split=NAME"
        )
    count = min(len(groups) - 1, max(1, round(split.test_fraction * len(groups))))
    order = np.random.default_rng(split.seed).permutation(len(groups))
    return groups[order[:count]]
