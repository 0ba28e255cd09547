"""How training went: curves of every stage, from its `metrics.jsonl`."""

from __future__ import annotations

import re
from collections.abc import Sequence

import numpy as np

from shared import html
from shared.charts import Curve, curves
from shared.html import Html

Lines = list[dict[str, float]]

_BAND = re.compile(r"loss_t(\d+)-(\d+)")
_APART = {"step", "seconds", "lr", "gradient_norm", "clips_per_second", "wait", "memory_gib"}
"""Columns that are no losses."""


def stage_charts(name: str, lines: Lines) -> Html:
    """Curves of one stage over its steps: losses, bands of noise, and how fast it went.

    Nothing where its log has one line only.
    """
    if len(lines) < 2:
        return Html("")
    bands = [column for column in _columns(lines) if _BAND.fullmatch(column)]
    losses = [c for c in _columns(lines) if c not in _APART and c not in bands]
    drawn = [_chart(lines, [loss], f"{name}: {loss}", "", log=_positive(lines, loss))
             for loss in losses]  # fmt: skip
    if bands:
        title = f"{name}: loss by time step, 0 = no noise"
        drawn.append(_chart(lines, bands, title, "", log=True))
    for column, title, unit in (
        ("gradient_norm", "norm of the gradient", ""),
        ("clips_per_second", "throughput", "clips / s"),
        ("wait", "share of the time spent waiting for data", ""),
        ("lr", "learning rate", ""),
    ):
        if column in _columns(lines):
            drawn.append(_chart(lines, [column], f"{name}: {title}", unit))
    return html.cards(drawn, least_rem=20)


def stage_facts(stages: dict[str, Lines]) -> Html:
    """Steps, time and the last figures of every stage."""
    rows = [_row(name, lines) for name, lines in stages.items()]
    head = ("stage", "steps", "seconds", "last loss", "clips / s", "waiting, %", "memory, GiB")
    return html.table(rows, head)


def _row(name: str, lines: Lines) -> list[html.Cell]:
    last = lines[-1]
    wait = _mean(lines, "wait")
    return [
        name,
        int(last["step"]),
        round(last["seconds"], 1),
        last.get("loss"),
        _mean(lines, "clips_per_second"),
        None if wait is None else 100 * wait,
        last.get("memory_gib"),
    ]


def _mean(lines: Lines, column: str) -> float | None:
    values = [line[column] for line in lines if column in line]
    return float(np.mean(values)) if values else None


def _columns(lines: Lines) -> list[str]:
    """All names, in the order in which they first come."""
    return list(dict.fromkeys(name for line in lines for name in line))


def _positive(lines: Lines, column: str) -> bool:
    return all(line.get(column, 1) > 0 for line in lines)


def _chart(lines: Lines, columns: Sequence[str], title: str, unit: str, log: bool = False) -> Html:
    steps = np.array([line["step"] for line in lines])
    drawn = [
        Curve(
            _BAND.sub(r"\1 to \2", column),
            steps,
            np.array([line.get(column, np.nan) for line in lines]),
            smooth=column != "lr",
        )
        for column in columns
    ]
    return curves(drawn, title=title, x="step", y=unit, log=log)
