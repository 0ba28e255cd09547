"""Training and test clips, by the protocols that the store carries."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from shared.errors import UserError
from shared.reader import ClipReader
from shared.schema import TEST, TRAIN


def split_clips(
    store: ClipReader, protocol: str | None
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Positions of training and test clips among a store's valid clips.

    Args:
        store: carries the side of every clip by each protocol.
        protocol: one of them; None takes the first.

    Returns:
        Two sorted int64 arrays without overlap. Clips that the protocol leaves out are in neither.

    Raises:
        UserError: the store has no such protocol, or it leaves one side empty.
    """
    names = list(store.attributes.splits)
    name = protocol or next(iter(names), "any")
    if name not in names:
        raise UserError(f"the store has no split {name!r}; it has: {', '.join(names) or 'none'}")
    side = store.column("split")[:, names.index(name)]
    train, test = np.flatnonzero(side == TRAIN), np.flatnonzero(side == TEST)
    for found, kind in ((train, "training"), (test, "test")):
        if not len(found):
            raise UserError(
                f"split {name!r} leaves no {kind} clips of the {len(store)} in the store: extract"
                " more videos, or choose another split with --set split=NAME; it has:"
                f" {', '.join(names)}"
            )
    return train, test
