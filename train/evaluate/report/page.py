"""The page on a run: its text, tables and charts, for the template `run.html`."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from shared.report.charts import Curve, curves
from shared.report.pages import Cell, Html, render
from shared.schema import StoreAttributes
from train.evaluate.deviations import deviations
from train.evaluate.report.pictures import DataPictures, GeneratedPictures
from train.evaluate.report.scores import ScoreTables, ShownClips
from train.spaces import SPACES

Lines = list[dict[str, float]]
"""A stage's log: figures by name, one dictionary a logged step."""

_BAND = re.compile(r"loss_t(\d+)-(\d+)")
_NO_LOSS = {"step", "seconds", "lr", "gradient_norm", "clips_per_second", "wait", "memory_gib"}
_CHARTS = (
    ("gradient_norm", "norm of the gradient", ""),
    ("clips_per_second", "throughput", "clips / s"),
    ("wait", "fraction of the time spent waiting for data", ""),
    ("lr", "learning rate", ""),
)
"""Column of a log, title of its chart, and unit."""


@dataclass(frozen=True)
class Page:
    """Content of the page.

    Attributes:
        evaluation: command that would score the run.
        store: attributes of the store it was trained on.
        recipe: as `Recipe.to_dict` gives it.
        clips: generated clips next to real ones, if any.
        generated: pictures of them.
        scores: tables of every file of scores.
        films: previews at steps of the training.
        data: pictures of the store's clips, if the store was given.
        stages: logs by stage.
        cost: names and figures.
        processor: that made this page.
        commands: with their seconds, if known.
    """

    evaluation: str
    store: StoreAttributes
    recipe: dict[str, Any]
    clips: ShownClips | None
    generated: GeneratedPictures | None
    scores: list[ScoreTables]
    films: dict[int, bytes]
    data: DataPictures | None
    stages: dict[str, Lines]
    cost: list[tuple[str, Cell]]
    processor: str
    commands: list[tuple[str, float | None]]


def render_page(page: Page) -> str:
    """The page as HTML."""
    trained = {name: lines for name, lines in page.stages.items() if lines}
    clips = page.clips
    right = None
    if clips is not None and clips.read_as is not None:
        right = int(np.count_nonzero(clips.read_as == clips.label))
    return render(
        "train/evaluate/report/run.html",
        **vars(page),
        options=page.store.options,
        space=SPACES[page.recipe["space"]["kind"]],
        latent_channels=(page.recipe["autoencoder"] or {}).get("latent_channels"),
        cards=_cards(page),
        right=right,
        accuracy_real=next((s.accuracy_real for s in page.scores if s.accuracy_real), None),
        explained=next((s.motion_explains for s in page.scores if s.motion_explains), None),
        deviations=deviations(page.recipe, page.store.options),
        stage_rows=[_stage_row(name, lines) for name, lines in trained.items()],
        charts_by_stage={name: stage_charts(name, lines) for name, lines in trained.items()},
        recipe_json=json.dumps(page.recipe, indent=1),
    )


def _cards(page: Page) -> list[dict[str, Any]]:
    """Label, animations and the classifier's verdict of each clip that has animations."""
    if page.clips is None or page.generated is None:
        return []
    texts, read_as = page.store.labels, page.clips.read_as

    def text(label: int) -> str:
        return texts[label] if 0 <= label < len(texts) else "no label"

    return [
        {
            "label": text(int(page.clips.label[k])),
            "real": real,
            "generated": generated,
            "read_as": None if read_as is None else text(int(read_as[k])),
            "right": read_as is not None and int(read_as[k]) == int(page.clips.label[k]),
        }
        for k, (real, generated) in enumerate(page.generated.pairs)
    ]


def stage_charts(stage: str, lines: Lines) -> list[Html]:
    """Losses of a stage by step, its losses by time step, and its speed; none of a single line."""
    if len(lines) < 2:
        return []
    columns = list(dict.fromkeys(name for line in lines for name in line))
    bands = [column for column in columns if _BAND.fullmatch(column)]
    drawn = [
        _chart(lines, [loss], f"{stage}: {loss}", log=all(line.get(loss, 1) > 0 for line in lines))
        for loss in columns
        if loss not in _NO_LOSS and loss not in bands
    ]
    if bands:
        drawn.append(_chart(lines, bands, f"{stage}: loss by time step, 0 = no noise", log=True))
    for column, title, unit in _CHARTS:
        if column in columns:
            drawn.append(_chart(lines, [column], f"{stage}: {title}", unit))
    return drawn


def _chart(
    lines: Lines, columns: Sequence[str], title: str, unit: str = "", log: bool = False
) -> Html:
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


def _stage_row(name: str, lines: Lines) -> list[Cell]:
    """Name, steps, seconds, last loss, clips a second, % waiting, and GiB of memory."""
    last = lines[-1]

    def mean(column: str) -> float | None:
        values = [line[column] for line in lines if column in line]
        return float(np.mean(values)) if values else None

    wait = mean("wait")
    return [
        name,
        int(last["step"]),
        round(last["seconds"], 1),
        last.get("loss"),
        mean("clips_per_second"),
        None if wait is None else 100 * wait,
        last.get("memory_gib"),
    ]
