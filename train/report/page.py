"""What the page says of a run, in order."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

from shared import html
from shared.html import Html
from shared.schema import StoreAttributes
from train.additions import additions
from train.report.clips import generated_section, missing
from train.report.pictures import Generated
from train.report.scores import scores_section
from train.report.training import Lines, stage_charts, stage_facts
from train.stages import diffusion


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
