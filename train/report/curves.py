"""Loss curves as one picture."""

from __future__ import annotations

from pathlib import Path

import numpy as np


def draw_curves(stages: dict[str, list[dict[str, float]]], path: Path) -> None:
    """Draw the loss of every stage that has one, raw and smoothed, over its seconds."""
    from matplotlib.figure import Figure

    drawn = {name: lines for name, lines in stages.items() if lines}
    figure = Figure(figsize=(4.2 * max(1, len(drawn)), 3), layout="constrained")
    for index, (name, lines) in enumerate(drawn.items()):
        axes = figure.add_subplot(1, len(drawn), index + 1)
        seconds = np.array([line["seconds"] for line in lines])
        loss = np.array([line["loss"] for line in lines])
        axes.plot(seconds, loss, color="#b9c6dd", linewidth=1)
        axes.plot(seconds, _smooth(loss), color="#1f4e9c", linewidth=2)
        axes.set(title=f"{name}: {int(lines[-1]['step'])} steps", xlabel="seconds", ylabel="loss")
        axes.set_yscale("log")
        axes.spines[["top", "right"]].set_visible(False)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=120)


def _smooth(values: np.ndarray) -> np.ndarray:
    """Mean over a centred window of a twelfth of the curve."""
    reach = max(1, len(values) // 24)
    padded = np.pad(values, reach, mode="edge")
    return np.convolve(padded, np.full(2 * reach + 1, 1 / (2 * reach + 1)), mode="valid")
