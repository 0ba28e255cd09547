"""Previews: generated test clips at each checkpoint, for the report.

A stage's folder holds `previews/step-00000400.webp`, clips side by side, for every checkpoint, and
`previews/latest.safetensors`, the arrays of the newest.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors import safe_open
from safetensors.numpy import save

from shared.report.pictures import animation
from shared.store.paths import write_whole

FOLDER, LATEST = "previews", "latest.safetensors"

_FPS = 8


@dataclass(frozen=True)
class Preview:
    """Test clips, and clips generated from their first frames and labels with fixed seeds.

    Attributes:
        step: of the optimiser.
        label: int64, shape (B,); -1 = none.
        real: uint8, shape (B, T, 3, H, W).
        generated: likewise.
        parts: what the target space draws of a decoded clip, by name, shape (B, T-1, ...).
    """

    step: int
    label: NDArray[np.int64]
    real: NDArray[np.uint8]
    generated: NDArray[np.uint8]
    parts: dict[str, NDArray[Any]] = field(default_factory=dict)

    def columns(self) -> NDArray[np.uint8]:
        """All clips as one: columns of real above generated, shape (T, 3, 2H, B * W)."""
        pairs = np.concatenate([self.real, self.generated], axis=-2)
        return np.concatenate(list(pairs), axis=-1)


def save_preview(stage: Path, preview: Preview) -> None:
    """Save a preview; one of the same step is replaced."""
    folder = stage / FOLDER
    folder.mkdir(parents=True, exist_ok=True)
    film = animation(preview.columns(), fps=_FPS, lossless=False)
    write_whole(folder / f"step-{preview.step:08d}.webp", film)
    arrays = {"label": preview.label, "real": preview.real, "generated": preview.generated}
    whole = {n: np.ascontiguousarray(array) for n, array in (arrays | preview.parts).items()}
    write_whole(folder / LATEST, save(whole, {"step": str(preview.step)}))


def read_films(stage: Path) -> dict[int, Path]:
    """Paths of the previews, by step, rising."""
    found = (stage / FOLDER).glob("step-*.webp")
    named = {int(re.sub(r"\D", "", path.stem)): path for path in found}
    return dict(sorted(named.items()))


def read_latest(stage: Path) -> Preview | None:
    """The newest preview's arrays; None if the stage has none."""
    path = stage / FOLDER / LATEST
    if not path.exists():
        return None
    with safe_open(path, "numpy") as file:
        arrays = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        label, real, generated = (arrays.pop(name) for name in ("label", "real", "generated"))
        return Preview(int(file.metadata()["step"]), label, real, generated, arrays)
