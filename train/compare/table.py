"""Rows as Markdown: compare.md."""

from __future__ import annotations

from collections.abc import Sequence

from train.compare.results import Row, Spread

_NONE = "–"


def markdown_table(rows: Sequence[Row]) -> str:
    """One line a row, one column a figure; columns that no row has a figure for are left out."""
    head = ["system", "steps", *columns(rows)]
    lines = [_line(head), _line(["---", *["---:"] * (len(head) - 1)])]
    return "\n".join([*lines, *(_line(cells(row, head[2:])) for row in rows)])


def columns(rows: Sequence[Row]) -> list[str]:
    """Titles of the figures that any row has."""
    titles = dict.fromkeys(title for row in rows for title in row.figures)
    return [title for title in titles if any(row.figures.get(title) for row in rows)]


def cells(row: Row, titles: Sequence[str]) -> list[str]:
    """A row's title, steps and figures as text."""
    steps = f"{row.steps:,}" if row.steps else _NONE
    return [row.title, steps, *(figure_text(row.figures.get(title)) for title in titles)]


def figure_text(figure: Spread | None) -> str:
    """Mean ± deviation, with so many digits as the mean needs.

    `shared.html` and Markdown show the same text.
    """
    if figure is None:
        return _NONE
    digits = _digits(figure.mean)
    text = f"{figure.mean:,.{digits}f}"
    return text if figure.deviation is None else f"{text} ± {figure.deviation:,.{digits}f}"


def _digits(value: float) -> int:
    size = abs(value)
    return (
        0
        if size >= 1000 or (float(value).is_integer() and size >= 100)
        else (1 if size >= 100 else 2 if size >= 1 else 3)
    )


def _line(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"
