"""Gather what a run left behind, draw it, and write the page."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from shared.console import Progress
from shared.errors import UserError
from shared.html import write_page
from shared.pictures import png
from shared.reader import ClipReader
from shared.schema import StoreAttributes
from train.checkpoint import load_config
from train.data import Clips
from train.generate import Generator
from train.log import read_metrics
from train.machine import processor
from train.previews import read_films
from train.recipe import recipe_from_dict
from train.report.costs import cost_table
from train.report.evaluated import read_scores, shown_clips
from train.report.page import Data, Page, render_page
from train.report.pictures import codec_sheets, data_sheet, draw_generated, films_over_time
from train.stages import diffusion

EVALUATION = "evaluation"
_STAGES = ("vae", "diffusion", "refiner")
_PATIENCE_SECONDS = 2.0


def build_report(
    run: Path,
    out: Path,
    before: list[str],
    trained: tuple[Generator, ClipReader] | None,
    progress: Progress,
) -> Path:
    """Write OUT/index.html, which needs no other file, and OUT/first_frame.png.

    Args:
        run: a trained run; what its evaluation left is shown, where there is one.
        out: a folder.
        before: commands that led to the store, shown above the run's own.
        trained: the run and its store, to show data, codec and reconstruction too.
        progress: shows how far it is.

    Returns:
        The page's path.

    Raises:
        UserError: the run's diffusion stage was not trained.
    """
    config = load_config(run / diffusion.FOLDER, "run first: python -m train diffusion")
    recipe = _recipe(run)
    store = StoreAttributes.model_validate(config["store"])
    shown = shown_clips(run / EVALUATION, run / diffusion.FOLDER)
    count = 0 if shown is None else len(shown.label)
    with progress.bar("drawing", count, "clips", patience_seconds=_PATIENCE_SECONDS) as bar:
        generated = None if shown is None else draw_generated(shown, store.options, bar)
    page = Page(
        run=str(run),
        store=store,
        recipe=recipe,
        generated=generated,
        scores=read_scores(run / EVALUATION),
        films=films_over_time(read_films(run / diffusion.FOLDER)),
        data=trained and _data(*trained),
        stages={name: read_metrics(run / name) for name in _STAGES},
        cost=cost_table(recipe_from_dict(recipe), store.options),
        processor=processor(),
        commands=[*((command, None) for command in before), *_commands(run)],
    )
    write_page(out / "index.html", render_page(page))
    if shown is not None:
        (out / "first_frame.png").write_bytes(png(shown.real[0][0].transpose(1, 2, 0)))
    return out / "index.html"


def _data(generator: Generator, store: ClipReader) -> Data:
    clips = Clips(store, generator.recipe.split)
    vectors, restored = codec_sheets(generator, clips)
    return Data(data_sheet(clips), vectors, restored, len(clips.train), len(clips.test))


def _recipe(run: Path) -> dict[str, Any]:
    path = run / "recipe.json"
    if not path.exists():
        raise UserError(f"no recipe.json in {run}: run first: python -m train diffusion")
    recipe: dict[str, Any] = json.loads(path.read_text())
    return recipe


def _commands(run: Path) -> list[tuple[str, float | None]]:
    path = run / "commands.jsonl"
    lines = path.read_text().splitlines() if path.exists() else []
    return [(record["command"], record["seconds"]) for record in map(json.loads, lines)]
