"""What a finished comparison leaves: compare.json, compare.md, compare.png, compare.html."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path

import numpy as np
import torch

from shared.paths import write_whole
from shared.pictures import png
from shared.spread import evenly
from train.compare.comparison import Comparison
from train.compare.page import comparison_page
from train.compare.picture import Shown, comparison_picture
from train.compare.protocol import protocol
from train.compare.results import Table, bound_rows, budget_rows, cost_rows
from train.compare.systems import CODEC, OURS, PAPERS, SPACES, SPLIT
from train.compare.table import markdown_table
from train.compare.work import generated, run_folder
from train.data import Clips

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
