from __future__ import annotations

import re
from xml.etree import ElementTree

import numpy as np
import pytest

from shared.report import charts
from shared.report.charts import Curve, curves, heat_map, histogram, running_mean

STEPS = np.arange(1, 41)
LOSS = 1 / STEPS
SVG = "{http://www.w3.org/2000/svg}"


def texts(drawing: str) -> list[str]:
    """The texts in a drawing."""
    return [element.text or "" for element in ElementTree.fromstring(drawing).iter(f"{SVG}text")]


def drawings() -> list[str]:
    counts = {"x": np.array([1, 5, 2]), "y": np.array([0, 3, 3])}
    return [
        curves([Curve("loss", STEPS, LOSS, smooth=True)], title="T", x="steps", y="loss", log=True),
        histogram(np.arange(4), counts, title="T", x="pixels", y="blocks"),
        heat_map(np.arange(12.0).reshape(3, 4), title="T", label="share"),
    ]


@pytest.mark.parametrize("kind", range(3), ids=["curves", "histogram", "map"])
def test_a_chart_is_one_element_in_the_pages_ink(kind: int) -> None:
    drawing = drawings()[kind]
    root = ElementTree.fromstring(drawing)
    assert (root.tag, root.get("role"), root.get("aria-label")) == (f"{SVG}svg", "img", "T")
    assert "T" in texts(drawing)
    assert "currentColor" in drawing and charts._INK not in drawing
    assert not re.search(r'(href|src)="(?!data:|#)', drawing)
    assert "<!--" not in drawing and "<g id=" not in drawing


def test_a_chart_is_the_same_every_time() -> None:
    assert drawings() == drawings()


def test_axes_and_several_curves_are_named() -> None:
    two = [Curve("a & b", STEPS, LOSS), Curve("<c>", STEPS, 2 * LOSS)]
    shown = texts(curves(two, title="<T>", x="step", y="dB"))
    assert {"<T>", "step", "dB", "a & b", "<c>"} <= set(shown)
    assert "a & b" not in texts(curves(two[:1], title="T", x="step", y="dB"))


def test_curves_with_gaps_zeros_and_single_points_are_drawn() -> None:
    holes = np.where(STEPS % 3 == 0, np.nan, LOSS)
    for values in (holes, np.zeros(40), np.full(40, np.nan)):
        drawn = curves([Curve("a", STEPS, values, smooth=True)], title="T", x="x", y="y", log=True)
        assert "T" in texts(drawn)
    assert "T" in texts(curves([Curve("a", STEPS[:1], LOSS[:1])], title="T", x="x", y="y"))
    assert "T" in texts(heat_map(np.full((2, 2), np.nan), title="T", label="nothing"))


def test_a_running_mean_ignores_values_that_are_not_finite() -> None:
    assert running_mean(np.array([1.0, 3.0, 5.0, 7.0])) == pytest.approx([5 / 3, 3, 5, 19 / 3])
    assert running_mean(np.array([2.0, np.nan, 4.0])) == pytest.approx([2, 3, 4])
    assert np.isnan(running_mean(np.full(3, np.nan))).all()
