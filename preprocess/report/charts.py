"""What was measured, drawn."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from preprocess.report.measure import SHARE_EDGES, Measured
from shared.charts import Curve, curves, heat_map, histogram
from shared.html import Html

_PEAK = 255.0


def vector_chart(measured: Measured) -> Html:
    """How often each vector component occurs."""
    unit = measured.options.vector_unit
    counts, lowest = _trimmed(measured.vectors)
    edges = (np.arange(counts.shape[1] + 1) + lowest - 0.5) / unit
    return histogram(
        edges,
        {"x, to the right": counts[0], "y, down": counts[1]},
        title="Vectors",
        x="component, pixels",
        y="blocks",
        log=True,
    )


def residual_chart(measured: Measured) -> Html:
    """How often each residual value occurs."""
    counts, lowest = _trimmed(measured.residuals[None])
    edges = np.arange(counts.shape[1] + 1) + lowest - 0.5
    return histogram(
        edges, {"": counts[0]}, title="Residuals", x="grey levels", y="values", log=True
    )


def energy_map(measured: Measured) -> Html:
    """Where in the picture vectors explain the change, and where they do not."""
    left = 100 * share(measured.after, measured.before)
    return heat_map(left, title="Energy left, by block", label="% of the change's energy")


def energy_chart(measured: Measured) -> Html:
    """Blocks that change and moved, by the share of their energy that their vectors leave."""
    return histogram(
        100 * SHARE_EDGES,
        {"": measured.block_shares},
        title="Energy left in blocks that moved",
        x="% of the change's energy",
        y="blocks",
    )


def prediction_chart(measured: Measured) -> Html:
    """PSNR by frame: from vectors alone, and of the reference frame repeated."""
    frames = np.arange(1, measured.options.frames)
    numbers = 3 * measured.pixels
    drawn = [
        Curve("vectors alone", frames, psnr(measured.frame_after / numbers)),
        Curve("reference repeated", frames, psnr(measured.frame_before / numbers)),
    ]
    return curves(drawn, title="Prediction, by frame", x="frame", y="PSNR, dB")


def psnr(error: NDArray[np.float64]) -> NDArray[np.float64]:
    """dB from mean squared errors in grey levels; NaN where there is none."""
    there = error > 0
    return np.where(there, 10 * np.log10(_PEAK**2 / np.where(there, error, 1)), np.nan)


def share(part: NDArray[np.float64], whole: NDArray[np.float64]) -> NDArray[np.float64]:
    """part / whole; NaN where there is nothing to share."""
    return np.where(whole > 0, part / np.where(whole > 0, whole, 1), np.nan)


def _trimmed(counts: NDArray[np.int64]) -> tuple[NDArray[np.int64], int]:
    """Histograms around 0 without the empty bins at both ends, and the value of the first one."""
    zero = counts.shape[1] // 2
    used = np.flatnonzero(counts.any(axis=0)) - zero
    reach = int(abs(used).max()) if used.size else 0
    reach = min(max(reach, 1), counts.shape[1] - 1 - zero)
    return counts[:, zero - reach : zero + reach + 1], -reach
