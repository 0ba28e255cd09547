"""What a finished comparison leaves: compare.json, compare.md, compare.png, compare.html."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageDraw, ImageFont

from shared.report import html
from shared.report.pictures import Film, Picture, animation, contact_sheet, evenly, png
from shared.store.paths import write_whole
from train.data.clips import Clips
from train.evaluate.compare.comparison import Comparison, protocol
from train.evaluate.compare.results import Row, Spread, Table, bound_rows, budget_rows, cost_rows
from train.evaluate.compare.systems import CODEC, OURS, PAPERS, SPACES, SPLIT
from train.evaluate.compare.work import generated, run_folder

# MERGED: Rows as Markdown: compare.md.


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

    `shared.report.html` and Markdown show the same text.
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


# MERGED: Real clips and what each space made of their first frames, one under the other, as one PNG.


_MARGIN, _HEADING = 92, 18
"""Pixels left of the frames, and above each clip's rows, for text."""

_INK, _PAPER = (40, 40, 40), (255, 255, 255)


@dataclass(frozen=True)
class Shown:
    """A test clip and what each row made of it: titles and films, uint8 (T, 3, H, W)."""

    heading: str
    films: list[tuple[str, Film]]


def comparison_picture(clips: Sequence[Shown], *, frames: Sequence[int]) -> Picture:
    """A block of rows for each clip.

    Args:
        clips: of the same rows.
        frames: which frames are shown.

    Returns:
        RGB, shape (height, width, 3).
    """
    return np.concatenate([_block(clip, list(frames)) for clip in clips])


def _block(clip: Shown, frames: list[int]) -> Picture:
    sheet = contact_sheet([film[frames] for _, film in clip.films])
    height, width = sheet.shape[:2]
    canvas = Image.new("RGB", (width + _MARGIN, height + _HEADING), _PAPER)
    canvas.paste(Image.fromarray(sheet), (_MARGIN, _HEADING))
    pen, font = ImageDraw.Draw(canvas), ImageFont.load_default(12)
    pen.text((_MARGIN, 2), clip.heading, fill=_INK, font=font)
    step = (height + 2) / len(clip.films)
    for place, (title, _) in enumerate(clip.films):
        pen.text((2, _HEADING + (place + 0.5) * step - 8), title, fill=_INK, font=font)
    return np.asarray(canvas)


# MERGED: The comparison as one page to look at: compare.html.


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


_PICTURED, _FRAMES = 3, 6
"""Test clips in the picture, and frames of each."""


def write_output(comparison: Comparison, out: Path, command: str) -> list[Path]:
    """Write what people and programs read; returns the files."""
    tables, shown = all_tables(comparison, out), shown_clips(comparison, out)
    frames = evenly(comparison.attributes.options.frames, _FRAMES).tolist()
    picture = png(comparison_picture(shown, frames=frames))
    content = {
        "command": command,
        "options": asdict(comparison.options),
        "protocol": protocol(comparison),
        "left_out": comparison.left_out,
        "chosen": comparison.chosen,
        "tables": {table.name: [asdict(row) for row in table.rows] for table in tables},
    }
    page = comparison_page(comparison, tables, shown, picture, command)
    files = {
        "compare.json": json.dumps(content, indent=1, ensure_ascii=False).encode(),
        "compare.md": markdown(comparison, tables, command).encode(),
        "compare.png": picture,
        "compare.html": page.encode(),
    }
    for name, data in files.items():
        write_whole(out / name, data)
    return [out / name for name in files]


def all_tables(comparison: Comparison, out: Path) -> list[Table]:
    """Of spaces at both budgets, within the codec, and of costs."""
    bounds = bound_rows(out)
    spaces, codec = comparison.of_spaces(), comparison.within_codec()
    budget = f"{comparison.options.budget_tflop:g} TFLOP"
    tables = [
        Table(
            "equal_flops",
            f"Equal training FLOPs, {budget} a run",
            [*bounds, *budget_rows(out, spaces, "flops")],
        ),
        Table("equal_steps", "Equal steps", [*bounds, *budget_rows(out, spaces, "steps")]),
        Table("codec", f"Within the codec, {budget} a run", budget_rows(out, codec, "flops")),
    ]
    clips = len(comparison.chosen)
    own = [run for run in codec if run.system.name not in (CODEC, *OURS)]
    costs = [*cost_rows(out, spaces, comparison.costs, clips)]
    costs += cost_rows(out, own, comparison.costs, clips)
    return [*(table for table in tables if table.rows), Table("cost", "Cost", costs)]


def markdown(comparison: Comparison, tables: list[Table], command: str) -> str:
    """The tables with how they came about."""
    parts = ["# The comparison", "\n".join(f"- {line}" for line in protocol(comparison))]
    parts.append(f"Command: `{command}`")
    parts += [f"Left out: {title}: {why}" for title, why in comparison.left_out.items()]
    for table in tables:
        parts += [f"## {table.title}", markdown_table(table.rows)]
    return "\n\n".join(parts) + "\n"


def shown_clips(comparison: Comparison, out: Path) -> list[Shown]:
    """Some test clips of different labels: real, then each space at equal FLOPs, seed 0."""
    count = len(comparison.chosen)
    places = np.linspace(0, count - 1, min(_PICTURED, count) + 2)[1:-1].round().astype(int)
    store = comparison.readers[PAPERS]
    clips = Clips(store, SPLIT)
    batch = clips.batch(np.array(comparison.chosen)[places], torch.device("cpu"))
    real, made = clips.frames(batch).numpy(), _made(comparison, out, count)
    return [
        Shown(
            store.attributes.labels[int(batch.label[n])],
            [("real", real[n]), *((name, films[place]) for name, films in made.items())],
        )
        for n, place in enumerate(places)
    ]


def _made(comparison: Comparison, out: Path, count: int) -> dict[str, np.ndarray]:
    """Clips by row's title: the spaces in the table's order, then ours."""
    runs = [run for run in comparison.of_spaces() if "flops" in run.budgets]
    first = {run.system.name: run.name for run in runs if run.recipe.seed == 0}
    titles = {name: name for name in SPACES} | {OURS[-1]: "codec, ours"}
    return {
        title: generated(run_folder(out, first[name]), count)
        for name, title in titles.items()
        if name in first
    }
