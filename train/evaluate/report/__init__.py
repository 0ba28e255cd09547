"""A page on a run, made from the run's folder, and from its store if that is given."""

from __future__ import annotations

from pathlib import Path

from shared.console import Progress, byte_count, console, shell_command
from shared.errors import UserError
from shared.report.pages import prepare_page, write_page
from shared.report.pictures import png
from shared.schema import StoreAttributes
from shared.store.reader import ClipReader
from train.data.clips import Clips
from train.evaluate.report.page import Page, render_page
from train.evaluate.report.pictures import choose_films, draw_data, draw_generated
from train.evaluate.report.scores import cost_rows, read_scores, shown_clips
from train.generate.generator import Generator, load_with_store
from train.recipe import recipe_from_dict
from train.run import RunFolder
from train.spaces import SPACES
from train.stages.previews import read_films
from train.trainer.checkpoint import load_config
from train.trainer.distributed import choose_device
from train.trainer.monitor import processor, read_metrics

_PATIENCE_SECONDS = 2.0
_REMEDY = "run first: dvdm-train diffusion"


def report_run(
    run: Path, store_path: str | None, out: Path, before: list[str], device: str
) -> None:
    """Write the page of a run, with data and codec if its store is given, and print its path."""
    trained = load_with_store(run, store_path, choose_device(device)) if store_path else None
    page = build_report(run, out, before, trained, Progress())
    rest = "" if store_path else "; with --store STORE it shows data and reconstructions, too"
    console.print(f"open {page} ({byte_count(page.stat().st_size)}{rest})", markup=False)


def build_report(
    run: Path,
    out: Path,
    before: list[str],
    trained: tuple[Generator, ClipReader] | None,
    progress: Progress,
) -> Path:
    """Write OUT/index.html, which needs no other file, and OUT/first_frame.png.

    Args:
        run: a trained run, evaluated or not.
        out: a folder.
        before: commands that led to the store, listed above the run's own.
        trained: the run and its store, to show data and reconstruction, too.
        progress: shows the state.

    Returns:
        The page's path.

    Raises:
        UserError: the run's diffusion stage was not trained.
    """
    folder = RunFolder(run)
    config = load_config(folder.diffusion, _REMEDY)
    recipe = folder.recipe()
    if recipe is None:
        raise UserError(f"no recipe.json in {run}: {_REMEDY}")
    prepare_page(out / "index.html")
    store = StoreAttributes.model_validate(config["store"])
    drawn = SPACES[recipe["space"]["kind"]].drawn
    clips = shown_clips(folder.evaluation, folder.diffusion, drawn)
    count = 0 if clips is None else len(clips.label)
    with progress.bar("drawing", count, "clips", patience_seconds=_PATIENCE_SECONDS) as bar:
        generated = None if clips is None else draw_generated(clips, drawn, store.options, bar)
    data = None
    if trained is not None:
        generator, reader = trained
        data = draw_data(generator, Clips(reader, generator.recipe.split))
    page = Page(
        evaluation=shell_command("dvdm-train", "evaluate", "--run", run, "--store", "STORE"),
        store=store,
        recipe=recipe,
        clips=clips,
        generated=generated,
        scores=read_scores(folder.evaluation),
        films=choose_films(read_films(folder.diffusion)),
        data=data,
        stages={name: read_metrics(path) for name, path in folder.trained_stages.items()},
        cost=cost_rows(recipe_from_dict(recipe), store.options),
        processor=processor(),
        commands=[*((command, None) for command in before), *folder.commands()],
    )
    write_page(out / "index.html", render_page(page))
    if clips is not None:
        (out / "first_frame.png").write_bytes(png(clips.real[0][0].transpose(1, 2, 0)))
    return out / "index.html"
