"""Scores of any protocol as tables: whatever `scores.json` holds, numbers first."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import numpy as np

from shared import html
from shared.charts import Curve, curves
from shared.html import Cell, Html
from train.evaluation.page import scores_shown
from train.evaluation.table import fact_rows

_KNOWN = {
    "clips": "generated clips",
    "read_as_asked": "generated clips that the classifier reads as the text asked for",
    "classifier_accuracy_real": "the classifier's accuracy on real test clips",
    "psnr_generated": "PSNR of generated clips against the real ones, dB",
    "psnr_unrefined": "PSNR before the refining network, dB",
    "psnr_first_frame": "PSNR of the first frame repeated, dB",
    "motion_ratio": "change between frames, generated over real",
    "psnr_reconstruction": "PSNR of real test clips restored from exact targets, dB",
    "psnr_vectors_alone": "PSNR of the same from exact vectors alone, dB",
    "psnr_reconstruction_first_frame": "PSNR of the same by the first frame repeated, dB",
}
"""In words; all other names are shown as they stand in the file."""

_CURVE = 4
"""Lists of so many numbers or more are drawn."""


_PROTOCOL = {"protocol", "made", "distances", "frames", "scores", "first_frame_repeated"}
"""What every protocol of `train.evaluate` writes."""


def scores_section(scores: dict[str, Any]) -> Html:
    """One file of scores: of `train evaluate` in words, of anything else as it stands."""
    if not scores.keys() >= _PROTOCOL:
        return score_tables(scores)
    short = {name: value for name, value in scores.items() if name in _KNOWN}
    protocol = scores["protocol"]
    fewer = " Fewer clips than the protocol's, by --count." if protocol["shrunk"] else ""
    return html.join(
        html.paragraph(
            f"Protocol {protocol['name']}, after {protocol['follows']}.{fewer}", soft=True
        ),
        score_tables(short),
        *scores_shown(scores),
        html.cards(_by_frame(scores), least_rem=20),
        html.fold("How: protocol, clips, hashes, hardware", html.facts(fact_rows(scores))),
    )


def _by_frame(scores: dict[str, Any]) -> Iterator[Html]:
    """Scores of each frame, beside those of the first frame repeated."""
    for name, unit in (("psnr_by_frame", "PSNR, dB"), ("ssim_by_frame", "SSIM")):
        found = [
            (words, scores[part].get(name))
            for words, part in (("scored", "scores"), ("repeated", "first_frame_repeated"))
        ]
        drawn = [Curve(words, np.arange(1, len(v) + 1), np.array(v, float))
                 for words, v in found if isinstance(v, list) and len(v) > 1]  # fmt: skip
        if drawn:
            yield curves(drawn, title=f"{unit.partition(',')[0]} by frame", x="frame", y=unit)


def score_tables(scores: dict[str, Any]) -> Html:
    """A table of numbers, what is not a number below it, lists as curves."""
    flat = dict(_flat(scores))
    numbers = {name: value for name, value in flat.items() if _is_number(value)}
    lists = {name: value for name, value in flat.items() if _is_curve(value)}
    others = [(_words(name), _shown(value)) for name, value in flat.items()
              if name not in numbers and name not in lists]  # fmt: skip
    rows: list[list[Cell]] = [[_words(name), value] for name, value in numbers.items()]
    drawn = [
        curves(
            [Curve(name, np.arange(1, len(values) + 1), np.array(values, float))],
            title=_words(name),
            x="frame" if "frame" in name else "index",
            y="",
        )
        for name, values in lists.items()
    ]
    return html.join(
        html.table(rows) if rows else "",
        html.cards(drawn, least_rem=20) if drawn else "",
        html.facts(others) if others else "",
    )


def _flat(scores: dict[str, Any], above: str = "") -> Iterator[tuple[str, Any]]:
    """Nested names joined with a dot."""
    for name, value in scores.items():
        if isinstance(value, dict):
            yield from _flat(value, f"{above}{name}.")
        else:
            yield f"{above}{name}", value


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _is_curve(value: Any) -> bool:
    return (
        isinstance(value, list)
        and len(value) >= _CURVE
        and all(_is_number(v) and math.isfinite(v) for v in value)
        and any(isinstance(v, float) for v in value)  # seeds and counts are no curves
    )


def _shown(value: Any) -> Cell:
    if isinstance(value, list):
        return ", ".join(map(str, value[:20])) + (f", … ({len(value)})" if len(value) > 20 else "")
    return value if value is None or isinstance(value, bool) else str(value)


def _words(name: str) -> str:
    return _KNOWN.get(name, name.replace("_", " ").replace(".", " · "))
