"""The commands `train runs` and `train compare-runs`: what was trained, and how two runs differ."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from rich.table import Table

from shared.console import PlainConsole
from shared.errors import UserError
from train.evaluate.evaluate import SCORES
from train.evaluate.page import score_rows, score_text
from train.recipe import recipe_from_dict
from train.run import RunFolder
from train.trainer.checkpoint import differences, differing
from train.trainer.monitor import read_metrics


def show_runs(folder: Path) -> None:
    """Print a line for each run in and below a folder: recipe, steps, seconds, scores.

    Raises:
        UserError: there is none.
    """
    runs = list(find_runs(folder))
    if not runs:
        raise UserError(f"no run in {folder}; make one with: make train, or dvdm-train vae")
    table = Table("run", "recipe", "data set", "steps", "seconds", "read as asked", "PSNR, dB")
    for run in runs:
        scores = _scores(run)
        read = f"{scores['read_as_asked']} of {scores['clips']}" if _read(scores) else "-"
        psnr = f"{scores['psnr_generated']:.2f}" if "psnr_generated" in scores else "-"
        recipe = run.recipe() or {}
        steps, seconds = _training(run)
        name = str(run.root.relative_to(folder)) if run.root != folder else str(folder)
        table.add_row(name, recipe.get("name", "-"), _dataset(run), steps, seconds, read, psnr)
    PlainConsole(soft_wrap=True).print(table)


def find_runs(folder: Path) -> Iterator[RunFolder]:
    """Runs in and below a folder, by their paths; not the guides within them."""
    if (folder / "recipe.json").is_file():
        yield RunFolder(folder)
        return
    inner = sorted(path for path in folder.glob("*") if path.is_dir() and path.name[0] != ".")
    for path in inner:
        yield from find_runs(path)


def compare_runs(one: Path, other: Path) -> None:
    """Print how two runs' recipes differ, and their scores next to each other.

    Raises:
        UserError: one of them is no run.
    """
    runs = [RunFolder(one), RunFolder(other)]
    recipes = []
    for run in runs:
        recipe = run.recipe()
        if recipe is None:
            raise UserError(f"{run.root}: no run, it has no recipe.json")
        # Completed: a run may be older than an option, and had what is now its default.
        recipes.append(recipe_from_dict(recipe).to_dict())
    console = PlainConsole(soft_wrap=True)
    console.print(f"A  {one}")
    console.print(f"B  {other}")
    fields = Table("field of the recipe", "A", "B")
    for name, pair in differing(recipes[0], recipes[1], missing="-"):
        fields.add_row(name, *map(json.dumps, pair))
    console.print(fields if fields.row_count else "The recipes are the same.")
    scores = [_scores(run) for run in runs]
    missing = [str(run.root) for run, found in zip(runs, scores, strict=True) if not found]
    if missing:
        console.print(f"No scores of {' and '.join(missing)}; dvdm-train evaluate makes them")
        return
    protocols = [found["protocol"] for found in scores]
    if unlike := differences(*protocols):
        console.print(f"Their protocols differ: {', '.join(unlike)}")
    table = Table("score", "A", "B")
    rows = [{what: value for what, value, _ in score_rows(found)} for found in scores]
    for what in dict.fromkeys((*rows[0], *rows[1])):
        values = [found.get(what) for found in rows]
        if any(isinstance(value, int | float) for value in values):
            table.add_row(what, *(_number(value) for value in values))
    console.print(table)


def _number(value: Any) -> str:
    return score_text(value) if isinstance(value, int | float) else "-"


def _training(run: RunFolder) -> tuple[str, str]:
    """Last steps of the trained stages, and their seconds together."""
    last = {
        name: lines[-1]
        for name, folder in run.trained_stages.items()
        if (folder / "metrics.jsonl").exists() and (lines := read_metrics(folder))
    }
    steps = ", ".join(f"{name} {line['step']:,}" for name, line in last.items())
    return steps or "-", f"{sum(line['seconds'] for line in last.values()):,.0f}"


def _dataset(run: RunFolder) -> str:
    for stage in (run.diffusion, run.statistics, run.autoencoder):
        if (stage / "config.json").is_file():
            return str(json.loads((stage / "config.json").read_bytes())["store"]["dataset"])
    return "-"


def _scores(run: RunFolder) -> dict[str, Any]:
    """Scores of the protocol `demo`; empty where there are none."""
    path = run.evaluation / SCORES
    return json.loads(path.read_bytes()) if path.is_file() else {}


def _read(scores: dict[str, Any]) -> bool:
    return scores.get("read_as_asked") is not None
