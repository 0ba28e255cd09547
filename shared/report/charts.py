"""Curves, histograms and maps as inline SVG in the text colour of the page, light or dark.

They are drawn by matplotlib, which comes with the extras of `preprocess` and `train`; `shared`
itself does not need it.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from io import StringIO
from itertools import cycle
from typing import TYPE_CHECKING, Any

import numpy as np
from markupsafe import Markup, escape
from numpy.typing import NDArray

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

COLOURS = ("#4c8fdf", "#e0803a", "#3fa672", "#b56fd0", "#c0a13a", "#8a94a3")
"""Distinct from each other and from the background, in light and dark."""

_INK = "#010203"
"""Placeholder for the page's text colour, replaced in the finished SVG."""

_WIDTH_IN, _HEIGHT_IN = 4.4, 2.7

# Wide enough for a label and ticks of seven characters. Fixed margins line up the charts of a page,
# and are drawn in half the time that a layout takes which measures every text.
_LEFT_IN, _RIGHT_IN, _TOP_IN, _BOTTOM_IN = 0.75, 0.15, 0.3, 0.5
_MARGINS = {
    "left": _LEFT_IN / _WIDTH_IN,
    "right": 1 - _RIGHT_IN / _WIDTH_IN,
    "top": 1 - _TOP_IN / _HEIGHT_IN,
    "bottom": _BOTTOM_IN / _HEIGHT_IN,
}


@dataclass(frozen=True)
class Curve:
    """Values y at positions x, both of shape (N,); values that are not finite leave gaps."""

    name: str
    x: NDArray[Any]
    y: NDArray[Any]
    smooth: bool = False
    """Draw a running mean over the values, which are then faint."""


def curves(drawn: Sequence[Curve], *, title: str, x: str, y: str, log: bool = False) -> Markup:
    """A line chart.

    Args:
        drawn: curves in the order of `COLOURS`; several are named in a legend.
        title: above the chart.
        x: label of the horizontal axis, with its unit.
        y: label of the vertical axis, with its unit.
        log: make the vertical axis logarithmic if any value is positive.
    """
    figure, axes = _axes(title, x, y)
    for colour, curve in zip(cycle(COLOURS), drawn, strict=False):
        mark = "o" if len(curve.x) == 1 else ""
        if curve.smooth:
            axes.plot(curve.x, curve.y, color=colour, alpha=0.35, linewidth=0.8)
        shown = running_mean(curve.y) if curve.smooth else curve.y
        axes.plot(curve.x, shown, color=colour, linewidth=1.6, marker=mark, label=curve.name)
    if log and any((curve.y > 0).any() for curve in drawn):
        axes.set_yscale("log")
    return _svg(figure, title)


def histogram(
    edges: NDArray[Any],
    counts: Mapping[str, NDArray[Any]],
    *,
    title: str,
    x: str,
    y: str,
    log: bool = False,
) -> Markup:
    """A histogram, or several over each other.

    Args:
        edges: bounds of the bins, rising, shape (N + 1,).
        counts: values of each histogram by its name, shape (N,).
        title: above the chart.
        x: label of the horizontal axis, with its unit.
        y: label of the vertical axis, such as clips or pixels.
        log: make the vertical axis logarithmic if any count is positive.
    """
    figure, axes = _axes(title, x, y)
    for colour, (name, count) in zip(cycle(COLOURS), counts.items(), strict=False):
        axes.stairs(count, edges, color=colour, fill=len(counts) == 1, linewidth=1.4, label=name)
    axes.set_xlim(edges[0], edges[-1])
    if log and any((count > 0).any() for count in counts.values()):
        axes.set_yscale("log")
    else:
        axes.set_ylim(bottom=0)
    return _svg(figure, title)


def heat_map(values: NDArray[Any], *, title: str, label: str) -> Markup:
    """A map of values (h, w), first row on top, with colours from 0 to the largest value."""
    figure, axes = _axes(title, "", "")
    finite = values[np.isfinite(values)]
    top = float(finite.max()) if finite.size and finite.max() > 0 else 1.0
    shown = axes.imshow(values, cmap="viridis", vmin=0, vmax=top, interpolation="nearest")
    axes.set(xticks=[], yticks=[])
    figure.colorbar(shown, ax=axes, label=label).outline.set_visible(False)
    return _svg(figure, title)


def running_mean(values: NDArray[Any]) -> NDArray[np.float64]:
    """Mean of the finite values in a centred window of a twelfth of the curve, shape (N,)."""
    reach = max(1, len(values) // 24)
    padded = np.pad(np.asarray(values, np.float64), reach, mode="edge")
    finite, window = np.isfinite(padded), np.ones(2 * reach + 1)
    total = np.convolve(np.where(finite, padded, 0), window, mode="valid")
    count = np.convolve(finite, window, mode="valid")
    return np.where(count > 0, total / np.maximum(count, 1), np.nan)


def _axes(title: str, x: str, y: str) -> tuple[Figure, Axes]:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(_WIDTH_IN, _HEIGHT_IN))
    figure.patch.set_alpha(0)
    figure.subplots_adjust(**_MARGINS)
    axes = figure.add_subplot()
    axes.patch.set_alpha(0)
    axes.set_title(title, color=_INK, fontsize=10)
    axes.set_xlabel(x, color=_INK, fontsize=9)
    axes.set_ylabel(y, color=_INK, fontsize=9)
    axes.spines[["top", "right"]].set_visible(False)
    axes.spines[["left", "bottom"]].set_color(_INK)
    return figure, axes


def _svg(figure: Figure, title: str) -> Markup:
    """The figure as an SVG element in the colour and fonts of the page, without ids."""
    from matplotlib import rc_context

    for axes in figure.axes:
        axes.tick_params(which="both", color=_INK, labelcolor=_INK, labelsize=8)
        axes.yaxis.label.set_color(_INK)
        if len(axes.get_legend_handles_labels()[0]) > 1:
            axes.legend(frameon=False, fontsize=8, labelcolor=_INK)
    file = StringIO()
    # Text is kept as text: smaller, sharp and searchable. A fixed salt gives the same bytes.
    settings: Any = {
        "svg.fonttype": "none",
        "svg.hashsalt": "dvdm",
        "font.sans-serif": ["DejaVu Sans"],
    }
    with rc_context(settings):
        figure.savefig(file, format="svg", metadata={"Date": None, "Creator": None})
    drawing = file.getvalue()
    drawing = drawing[drawing.index("<svg") :].replace(_INK, "currentColor")
    # Group ids would not be unique on a page with several charts.
    drawing = re.sub(r'<g id="[^"]*"', "<g", drawing)
    drawing = re.sub(r"<!--.*?-->|<metadata>.*?</metadata>", "", drawing, flags=re.DOTALL)
    return Markup(drawing.replace("<svg", f'<svg role="img" aria-label="{escape(title)}"', 1))
