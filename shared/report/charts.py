"""Curves, histograms and maps as inline SVG that takes the page's own ink, light or dark.

matplotlib draws them; it is in the extras of both sides, not among what `shared` itself needs.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape
from io import StringIO
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from shared.report.html import Html

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

COLOURS = ("#4c8fdf", "#e0803a", "#3fa672", "#b56fd0", "#c0a13a", "#8a94a3")
"""Told apart, and from the paper, in light and dark."""

_INK = "#010203"
"""Stands for the page's text colour until the SVG is made."""

_WIDTH_IN, _HEIGHT_IN = 4.4, 2.7


@dataclass(frozen=True)
class Curve:
    """Values y at positions x, both of shape (N,); where y is not finite nothing is drawn."""

    name: str
    x: NDArray[Any]
    y: NDArray[Any]
    smooth: bool = False
    """Whether a running mean is drawn over the faint values themselves."""


def curves(drawn: Sequence[Curve], *, title: str, x: str, y: str, log: bool = False) -> Html:
    """Curves over one axis.

    Args:
        drawn: in the order of `COLOURS`; named in a legend where there are several.
        title: above the chart.
        x: what the horizontal axis is, with its unit.
        y: what the vertical axis is, with its unit.
        log: whether the vertical axis is logarithmic.
    """
    figure, axes = _axes(title, x, y)
    for colour, curve in zip(_cycled(len(drawn)), drawn, strict=True):
        mark = "o" if len(curve.x) == 1 else ""
        if curve.smooth:
            axes.plot(curve.x, curve.y, color=colour, alpha=0.35, linewidth=0.8)
        shown = running_mean(curve.y) if curve.smooth else curve.y
        axes.plot(curve.x, shown, color=colour, linewidth=1.6, marker=mark, label=curve.name)
    if log and any((curve.y > 0).any() for curve in drawn):
        axes.set_yscale("log")
    _legend(axes, len(drawn))
    return _svg(figure, title)


def histogram(
    edges: NDArray[Any],
    counts: Mapping[str, NDArray[Any]],
    *,
    title: str,
    x: str,
    y: str,
    log: bool = False,
) -> Html:
    """How often values fall between edges.

    Args:
        edges: shape (N + 1,), rising.
        counts: one histogram of shape (N,) or several over each other, by name.
        title: above the chart.
        x: what is counted, with its unit.
        y: what of it: clips, pixels, a share.
        log: whether the vertical axis is logarithmic.
    """
    figure, axes = _axes(title, x, y)
    for colour, (name, count) in zip(_cycled(len(counts)), counts.items(), strict=True):
        axes.stairs(count, edges, color=colour, fill=len(counts) == 1, linewidth=1.4, label=name)
    axes.set_xlim(edges[0], edges[-1])
    if log and any((count > 0).any() for count in counts.values()):
        axes.set_yscale("log")
    else:
        axes.set_ylim(bottom=0)
    _legend(axes, len(counts))
    return _svg(figure, title)


def heat_map(values: NDArray[Any], *, title: str, label: str) -> Html:
    """A map of shape (h, w), its first row on top, from 0 to its largest value."""
    figure, axes = _axes(title, "", "")
    finite = values[np.isfinite(values)]
    top = float(finite.max()) if finite.size and finite.max() > 0 else 1.0
    shown = axes.imshow(values, cmap="viridis", vmin=0, vmax=top, interpolation="nearest")
    axes.set(xticks=[], yticks=[])
    figure.colorbar(shown, ax=axes, label=label).outline.set_visible(False)
    return _svg(figure, title)


def running_mean(values: NDArray[Any]) -> NDArray[np.float64]:
    """Mean over a centred window of a twelfth of the curve, without what is not finite."""
    reach = max(1, len(values) // 24)
    padded = np.pad(np.asarray(values, np.float64), reach, mode="edge")
    there, window = np.isfinite(padded), np.ones(2 * reach + 1)
    total = np.convolve(np.where(there, padded, 0), window, mode="valid")
    count = np.convolve(there, window, mode="valid")
    return np.where(count > 0, total / np.maximum(count, 1), np.nan)


def _axes(title: str, x: str, y: str) -> tuple[Figure, Axes]:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(_WIDTH_IN, _HEIGHT_IN), layout="constrained")
    figure.patch.set_alpha(0)
    axes = figure.add_subplot()
    axes.patch.set_alpha(0)
    axes.set_title(title, color=_INK, fontsize=10)
    axes.set_xlabel(x, color=_INK, fontsize=9)
    axes.set_ylabel(y, color=_INK, fontsize=9)
    axes.spines[["top", "right"]].set_visible(False)
    axes.spines[["left", "bottom"]].set_color(_INK)
    return figure, axes


def _legend(axes: Axes, count: int) -> None:
    if count > 1:
        axes.legend(frameon=False, fontsize=8, labelcolor=_INK)


def _cycled(count: int) -> list[str]:
    return [COLOURS[i % len(COLOURS)] for i in range(count)]


def _svg(figure: Figure, title: str) -> Html:
    """The figure as an element of the page: the page's ink and fonts, no names of its own."""
    from matplotlib import rc_context

    for axes in figure.axes:
        axes.tick_params(which="both", color=_INK, labelcolor=_INK, labelsize=8)
        axes.yaxis.label.set_color(_INK)
    file = StringIO()
    # Text stays text: smaller, sharp, and found by a search. A fixed salt gives the same bytes.
    settings: Any = {
        "svg.fonttype": "none",
        "svg.hashsalt": "dvdm",
        "font.sans-serif": ["DejaVu Sans"],
    }
    with rc_context(settings):
        figure.savefig(file, format="svg", metadata={"Date": None, "Creator": None})
    drawing = file.getvalue()
    drawing = drawing[drawing.index("<svg") :].replace(_INK, "currentColor")
    # Several drawings lie in one page, where names of groups would not be unique.
    drawing = re.sub(r'<g id="[^"]*"', "<g", drawing)
    drawing = re.sub(r"<!--.*?-->|<metadata>.*?</metadata>", "", drawing, flags=re.DOTALL)
    return Html(drawing.replace("<svg", f'<svg role="img" aria-label="{escape(title)}"', 1))
