"""Gather what a run left behind, draw it, and write the page."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from shared.console import Progress
from shared.errors import UserError
from shared.report import html
from shared.report.charts import Curve, curves
from shared.report.html import Html, write_page
from shared.report.pictures import png
from shared.schema import StoreAttributes
from shared.store.export import ClipReader
from train.data.clips import Clips
from train.evaluate.deviations import deviations as additions
from train.evaluate.report.pictures import (
    Generated,
    codec_sheets,
    data_sheet,
    draw_generated,
    films_over_time,
    generated_section,
    missing,
)
from train.evaluate.report.scores import cost_table, read_scores, scores_section, shown_clips
from train.generate.generator import Generator
from train.recipe import recipe_from_dict
from train.stages import diffusion
from train.stages.previews import read_films
from train.trainer.checkpoint import load_config
from train.trainer.monitor import processor, read_metrics

# MERGED: How training went: curves of every stage, from its `metrics.jsonl`.


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


# MERGED: What the page says of a run, in order.


@dataclass(frozen=True)
class Data:
    """What only the store can show."""

    sheet: bytes
    vectors: bytes
    restored: bytes
    train_clips: int
    test_clips: int


@dataclass(frozen=True)
class Page:
    """Everything the page says.

    Attributes:
        run: the run's folder, as it was named.
        store: attributes of the store it was trained on.
        recipe: as `Recipe.to_dict` gives it.
        generated: clips beside real ones, where there are any.
        scores: files of scores, by the folder they lie in.
        films: what the run could do at steps of its training.
        data: what the store shows, where it was given.
        stages: lines of each stage's log.
        cost: a table.
        processor: what this page was made on.
        commands: with their seconds, where they are known.
    """

    run: str
    store: StoreAttributes
    recipe: dict[str, Any]
    generated: Generated | None
    scores: dict[str, dict[str, Any]]
    films: dict[int, bytes]
    data: Data | None
    stages: dict[str, Lines]
    cost: Html
    processor: str
    commands: list[tuple[str, float | None]]


_GENERATED = {
    "codec": "one motion vector and one residual latent for every block of every later frame; the"
    " rest is motion compensation",
    "difference": "the difference of every later frame to its reference",
    "latent": "the latents of every later frame",
    "rgb": "the pixels of every later frame",
}


def render_page(page: Page) -> str:
    """The page as HTML."""
    sections = [
        generated_section(page.generated, page.store.labels, page.scores, page.run),
        _over_time(page),
        _motion(page),
        _scores(page),
        _data(page),
        _training(page),
        html.section("Cost", html.paragraph(_COUNTED, soft=True), page.cost),
        _recipe(page),
        html.commands(page.commands),
    ]
    return html.page(
        "From a picture and a text to a video, by generating motion"
        if page.recipe["space"]["kind"] == "codec"
        else "From a picture and a text to a video",
        *filter(None, sections),
        lead=_lead(page),
    )


_COUNTED = "Counted, not measured: on one clip of this store's shape, 2 FLOP a multiply-accumulate."


def _lead(page: Page) -> Html:
    what = _GENERATED.get(page.recipe["space"]["kind"], "every later frame")
    return html.join(
        "Data set ",
        html.bold(page.store.dataset),
        ", recipe ",
        html.bold(page.recipe["name"]),
        ": the model is given the first frame of a clip from the test split, and a label's text. It"
        f" generates {what}.",
    )


def _over_time(page: Page) -> Html | None:
    if not page.films:
        return None
    cards = [
        html.join(
            html.image(film, f"real above generated at step {step}", enlarge=True),
            html.paragraph(f"step {step:,}"),
        )
        for step, film in page.films.items()
    ]
    return html.section(
        "Samples over time",
        html.paragraph(
            "The same test clips (above) and what is generated from their first frames with the"
            " same noise (below), at checkpoints of the training; without the refining network."
        ),
        html.cards(cards, least_rem=18),
    )


def _motion(page: Page) -> Html | None:
    figures = []
    if page.generated is not None and page.generated.motion is not None:
        figures.append(
            html.figure(
                html.image(page.generated.motion, "generated motion vectors"),
                "Generated vectors over the frames they made: each arrow ends at a block and begins"
                f" where its pixels come from in {_reference(page)}.",
                wide=True,
            )
        )
    if page.data is not None:
        figures += [
            html.figure(
                html.image(page.data.vectors, "vectors and residuals of a real clip"),
                "A real clip: its vectors, and the residual they leave, around grey. First frame,"
                " vectors and residual together give back the clip bit for bit.",
                wide=True,
            ),
            html.figure(
                html.image(page.data.restored, "real above restored"),
                "The same frames, real above; below restored from what the model is to generate"
                f"{_code(page)}.",
                wide=True,
            ),
        ]
    return html.section("Motion, residual, reconstruction", *figures) if figures else None


def _reference(page: Page) -> str:
    return {
        "first": "frame 0",
        "previous": "the frame before",
        "either": "the frame before or frame 0, whichever the block has chosen",
    }[page.store.options.reference]


def _code(page: Page) -> str:
    """What a clip is restored from, in words."""
    numbers = (page.recipe["autoencoder"] or {}).get("latent_channels")
    return {
        "codec": f": exact vectors, and {numbers} numbers a block from the autoencoder",
        "latent": f": {numbers} numbers a cell from the autoencoder",
    }.get(page.recipe["space"]["kind"], "")


def _scores(page: Page) -> Html:
    if not page.scores:
        return html.section("Scores", missing(page.run, "Not evaluated yet."))
    tables = []
    for folder, scores in page.scores.items():
        if folder != ".":
            tables.append(html.heading(folder))
        tables.append(scores_section(scores))
    return html.section(
        "Scores",
        html.paragraph(
            "A generated clip need not equal the real one, so its PSNR is no more than a hint.",
            soft=True,
        ),
        *tables,
    )


def _data(page: Page) -> Html | None:
    if page.data is None:
        return None
    options = page.store.options
    return html.section(
        "The data",
        html.paragraph(
            f"{page.data.train_clips:,} training clips, {page.data.test_clips:,} test clips of"
            f" {options.frames} frames, {options.size} × {options.size}; {len(page.store.labels)}"
            f" labels, {len(page.store.subjects)} subjects. Shown are training clips."
        ),
        html.figure(html.image(page.data.sheet, "training clips", enlarge=True), wide=True),
    )


def _training(page: Page) -> Html | None:
    trained = {name: lines for name, lines in page.stages.items() if lines}
    if not trained:
        return None
    charts = {name: stage_charts(name, lines) for name, lines in trained.items()}
    main = charts.pop(diffusion.FOLDER, "")
    return html.section(
        "Training",
        stage_facts(trained),
        main,
        *(html.fold(f"curves of {name}", drawn) for name, drawn in charts.items() if drawn),
        html.paragraph(f"This page was made on: {page.processor}.", soft=True),
    )


def _recipe(page: Page) -> Html:
    own = additions(page.recipe, page.store.options)
    return html.section(
        "Recipe",
        html.paragraph(f"Not as in the papers: {'; '.join(own)}." if own else "As in the papers."),
        html.fold(
            "every option of the recipe",
            html.Html(f'<pre tabindex="0">{html.text(json.dumps(page.recipe, indent=1))}</pre>'),
        ),
        html.fold(
            "every option of the store",
            html.facts([(name, str(value)) for name, value in page.store.options]),
        ),
    )


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
    recipe = _recipe_build(run)
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
        data=trained and _data_build(*trained),
        stages={name: read_metrics(run / name) for name in _STAGES},
        cost=cost_table(recipe_from_dict(recipe), store.options),
        processor=processor(),
        commands=[*((command, None) for command in before), *_commands(run)],
    )
    write_page(out / "index.html", render_page(page))
    if shown is not None:
        (out / "first_frame.png").write_bytes(png(shown.real[0][0].transpose(1, 2, 0)))
    return out / "index.html"


def _data_build(generator: Generator, store: ClipReader) -> Data:
    clips = Clips(store, generator.recipe.split)
    vectors, restored = codec_sheets(generator, clips)
    return Data(data_sheet(clips), vectors, restored, len(clips.train), len(clips.test))


def _recipe_build(run: Path) -> dict[str, Any]:
    path = run / "recipe.json"
    if not path.exists():
        raise UserError(f"no recipe.json in {run}: run first: python -m train diffusion")
    recipe: dict[str, Any] = json.loads(path.read_text())
    return recipe


def _commands(run: Path) -> list[tuple[str, float | None]]:
    path = run / "commands.jsonl"
    lines = path.read_text().splitlines() if path.exists() else []
    return [(record["command"], record["seconds"]) for record in map(json.loads, lines)]
