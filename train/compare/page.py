"""The comparison as one page to look at: compare.html."""

from __future__ import annotations

from shared import html
from shared.pictures import animation
from train.compare.comparison import Comparison
from train.compare.picture import Shown
from train.compare.protocol import protocol
from train.compare.results import Table
from train.compare.table import cells, columns

_FPS = 8


def comparison_page(
    comparison: Comparison, tables: list[Table], shown: list[Shown], picture: bytes, command: str
) -> str:
    """A self-contained page of tables, moving clips and how it all was made."""
    sections = [html.section("Clips", *map(_clip, shown), _sheet(picture))]
    sections += [html.section(table.title, _table(table)) for table in tables]
    sections += [
        html.section("How it was made", *(html.paragraph(line) for line in protocol(comparison))),
        html.commands([(command, None)]),
    ]
    lead = "The target spaces side by side: the same clips, network, objective and sampler."
    return html.page("The comparison", *sections, lead=lead)


def _clip(clip: Shown) -> html.Html:
    moving = [
        html.figure(html.image(animation(film, fps=_FPS), title, enlarge=True), title)
        for title, film in clip.films
    ]
    return html.join(html.paragraph(html.bold(clip.heading)), html.cards(moving, least_rem=8))


def _sheet(picture: bytes) -> html.Html:
    return html.figure(html.image(picture, "rows of frames"), "The same, frame by frame", wide=True)


def _table(table: Table) -> html.Html:
    titles = columns(table.rows)
    rows = [cells(row, titles) for row in table.rows]
    return html.table(rows, head=("system", "steps", *titles))
