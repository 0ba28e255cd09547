"""Where a stage's numbers go: TensorBoard, and a plain `metrics.jsonl` for anything else."""

from __future__ import annotations

import json
from pathlib import Path
from typing import IO

import numpy as np
from numpy.typing import NDArray

from shared.pictures import gif


class RunLog:
    """Scalars, pictures and videos of one training stage.

    Args:
        folder: for TensorBoard's event files and `metrics.jsonl`; made where missing.
        steps_done: of the run that is resumed: TensorBoard drops what a killed run wrote beyond.
    """

    def __init__(self, folder: Path, steps_done: int = 0) -> None:
        from torch.utils.tensorboard import SummaryWriter  # slow to import

        folder.mkdir(parents=True, exist_ok=True)
        self._writer = SummaryWriter(str(folder), purge_step=steps_done + 1 if steps_done else None)
        self._lines = (folder / "metrics.jsonl").open("a+b")
        _cut_torn_line(self._lines)

    def scalars(self, step: int, values: dict[str, float]) -> None:
        """Record numbers by name at an optimiser step."""
        for name, value in values.items():
            self._writer.add_scalar(name, value, step)
        self._lines.write(json.dumps({"step": step, **values}).encode() + b"\n")
        self._lines.flush()

    def picture(self, step: int, name: str, picture: NDArray[np.uint8]) -> None:
        """Record an RGB picture, shape (H, W, 3)."""
        self._writer.add_image(name, picture, step, dataformats="HWC")

    def video(self, step: int, name: str, clip: NDArray[np.uint8], fps: float = 8) -> None:
        """Record an RGB video, shape (T, 3, H, W), as the animated picture TensorBoard plays."""
        from tensorboard.compat.proto.summary_pb2 import Summary

        height, width = clip.shape[-2:]
        picture = Summary.Image(
            height=height, width=width, colorspace=3, encoded_image_string=gif(clip, fps=fps)
        )
        summary = Summary(value=[Summary.Value(tag=name, image=picture)])
        self._writer._get_file_writer().add_summary(summary, step)

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


def _cut_torn_line(file: IO[bytes]) -> None:
    """Drop what a killed run left of its last line."""
    file.seek(0)
    file.truncate(file.read().rfind(b"\n") + 1)
