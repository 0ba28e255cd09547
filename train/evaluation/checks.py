"""Whether a store's clips are what a protocol is about, and which of them it may take."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from shared.errors import UserError
from train.data import Clips
from train.protocols import Protocol
from train.protocols.plan import Candidates


def refuse_other_clips(protocol: Protocol, clips: Clips, split: str | None) -> None:
    """Compare what a protocol is about with what there is.

    Raises:
        UserError: clips have another number of frames, or the split keeps something else apart.
    """
    attributes = clips.store.attributes
    frames = attributes.options.frames
    if protocol.frames not in (None, frames):
        raise UserError(
            f"--protocol {protocol.name} is about clips of {protocol.frames} frames; the store's"
            f" have {frames}: extract with --frames {protocol.frames}, or take --protocol demo"
        )
    name = split or next(iter(attributes.splits), "any")
    by_subject = _by_subject(attributes.splits.get(name, {}))
    if protocol.split != "any" and by_subject != (protocol.split == "subjects"):
        wanted = "people nobody trained on" if protocol.split == "subjects" else "a random split"
        raise UserError(
            f"--protocol {protocol.name} is about {wanted}, and the run was trained with the split"
            f" {name!r}; the store has {', '.join(attributes.splits)}: train with --set split=NAME"
        )


def candidates(clips: Clips) -> Candidates:
    """What planning needs of a store's test clips."""
    store, test = clips.store, clips.test
    column = {name: store.column(name)[test] for name in ("video", "segment", "start_frame")}
    video = zip(column["video"].tolist(), column["segment"].tolist(), strict=True)
    subject = store.column("subject").astype(np.int64)[test]
    return Candidates(
        test, tuple(video), column["start_frame"].astype(np.int64), clips.label[test], subject
    )


def _by_subject(split: Mapping[str, Any]) -> bool:
    return split.get("kind") == "subjects" or split.get("by") == "subject"
