"""What `train evaluate` left in a run's folder: scores of any protocol, and clips where kept."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from train.previews import Preview, read_latest

SCORES, CLIPS = "scores.json", "generated.safetensors"


@dataclass(frozen=True)
class Shown:
    """Generated clips beside the real ones whose first frames and labels they were given.

    Attributes:
        origin: where they are from, for people.
        label: int64, shape (B,); -1 = none.
        real: uint8, shape (B, T, 3, H, W).
        generated: likewise.
        unrefined: generated, before the refining network, where one changed it.
        motion: int8, shape (B, T-1, 2 or 3, h, w), where vectors were generated.
        read_as: int64, shape (B,): the label that a classifier reads in each, where there is one.
    """

    origin: str
    label: NDArray[np.int64]
    real: NDArray[np.uint8]
    generated: NDArray[np.uint8]
    unrefined: NDArray[np.uint8] | None = None
    motion: NDArray[np.int8] | None = None
    read_as: NDArray[np.int64] | None = None


def read_scores(evaluation: Path) -> dict[str, dict[str, Any]]:
    """Every `scores.json` in and below a folder, by the folder it lies in relative to that one."""
    return {
        path.parent.relative_to(evaluation).as_posix(): json.loads(path.read_text())
        for path in sorted(evaluation.rglob(SCORES))
    }


def shown_clips(evaluation: Path, stage: Path) -> Shown | None:
    """Evaluated clips, else those of the newest checkpoint; None where there are neither."""
    for path in sorted(evaluation.rglob(CLIPS), key=lambda path: (len(path.parts), path)):
        if (shown := _evaluated(path)) is not None:
            return shown
    latest = read_latest(stage)
    return None if latest is None else _previewed(latest)


def _evaluated(path: Path) -> Shown | None:
    """Clips of an evaluation; None where it restored them, or kept no real ones beside them."""
    from safetensors.numpy import load_file

    scores = path.with_name(SCORES)
    protocol = json.loads(scores.read_text()).get("protocol") if scores.exists() else None
    if isinstance(protocol, dict) and protocol.get("reconstruct"):
        return None
    arrays = load_file(path)
    if not {"frames", "real", "label"} <= arrays.keys():
        return None
    unrefined = arrays.get("unrefined")
    if unrefined is not None and np.array_equal(unrefined, arrays["frames"]):
        unrefined = None
    return Shown(
        "the evaluation",
        arrays["label"],
        arrays["real"],
        arrays["frames"],
        unrefined,
        arrays.get("motion"),
        arrays.get("read_as"),
    )


def _previewed(latest: Preview) -> Shown:
    return Shown(
        f"the checkpoint of step {latest.step:,}",
        latest.label,
        latest.real,
        latest.generated,
        motion=latest.motion,
    )
