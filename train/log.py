"""Where a stage's numbers go: TensorBoard, and a plain `metrics.jsonl` for anything else."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
from numpy.typing import NDArray


class RunLog:
    """Scalars and pictures of one training stage."""

    def __init__(self, folder: Path) -> None:
        from torch.utils.tensorboard import SummaryWriter  # slow to import

        folder.mkdir(parents=True, exist_ok=True)
        self._writer = SummaryWriter(str(folder))
        self._lines = (folder / "metrics.jsonl").open("a")

    def scalars(self, step: int, values: dict[str, float]) -> None:
        """Record numbers by name at an optimiser step."""
        for name, value in values.items():
            self._writer.add_scalar(name, value, step)
        self._lines.write(json.dumps({"step": step, **values}) + "\n")
        self._lines.flush()

    def picture(self, step: int, name: str, picture: NDArray[np.uint8]) -> None:
        """Record an RGB picture, shape (H, W, 3)."""
        self._writer.add_image(name, picture, step, dataformats="HWC")

    def close(self) -> None:
        """Flush everything."""
        self._writer.close()
        self._lines.close()


def read_metrics(folder: Path) -> list[dict[str, float]]:
    """All lines of a stage's `metrics.jsonl`; empty where there is none.

    A run that was killed and resumed repeats steps: the last line of a step counts.
    """
    path = folder / "metrics.jsonl"
    lines = path.read_text().splitlines() if path.is_file() else []
    by_step = {record["step"]: record for record in map(json.loads, lines)}
    return [by_step[step] for step in sorted(by_step)]
