"""The command `train export`: a run as a folder that travels, with a model card.

The folder is a run's, with what generation needs alone: configs and averaged weights, as JSON and
safetensors. Every command takes it in place of a run; nothing in it is executed.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from shared.console import console, shell_command
from shared.errors import UserError
from shared.report.pictures import contact_sheet, png
from shared.store.paths import scratch_folder, write_whole
from train.evaluate.deviations import deviations
from train.evaluate.evaluate import CLIPS, read_scores
from train.evaluate.page import score_rows, score_text
from train.generate.generator import Generator, load_generator
from train.run import RunFolder
from train.trainer.checkpoint import load_state, newest_checkpoint
from train.trainer.distributed import choose_device

CARD, PICTURE = "README.md", "generated.png"

_SHOWN = 4
"""Pairs of a real and a generated clip in the card's picture."""


def export_run(run: Path, out: Path, licence: str) -> None:
    """Write a run's configs, averaged weights and model card to a new folder, and print what next.

    Args:
        run: a trained one.
        out: folder to make.
        licence: identifier of the licence that the model is given, as the Hub writes it.

    Raises:
        UserError: the run cannot generate yet, or `out` is there already.
    """
    if out.exists():
        raise UserError(f"--out {out}: is there already; give a new folder, or remove it")
    if not licence.strip():
        raise UserError("--license: empty; give an identifier such as apache-2.0, cc-by-4.0, other")
    generator = load_generator(run, choose_device("cpu"))  # refuses a run that is not whole
    out.absolute().parent.mkdir(parents=True, exist_ok=True)
    with scratch_folder(out.absolute().parent, f".{out.name}.") as scratch:
        for source in _run_folders(RunFolder(run)):
            _copy_run(source, RunFolder(scratch / source.root.relative_to(run)))
        picture = _picture(RunFolder(run).evaluation / CLIPS)
        if picture is not None:
            write_whole(scratch / PICTURE, picture)
        card = model_card(generator, RunFolder(run), licence, picture=picture is not None)
        write_whole(scratch / CARD, card.encode())
        scratch.chmod(0o755)
        scratch.rename(out.absolute())
    size = sum(file.stat().st_size for file in out.rglob("*") if file.is_file())
    console.print(f"{out}: {size / 1e6:.1f} MB, with a model card to complete: {out / CARD}")
    console.print(f"Try:     {shell_command('dvdm-train', 'sample', '--run', out)}", markup=False)
    upload = shell_command("hf", "upload", "USER/NAME", out)
    console.print(f"Publish: {upload}", markup=False)


def _run_folders(run: RunFolder) -> Iterator[RunFolder]:
    """A run, and the runs that guide it."""
    yield run
    if run.guide.root.exists():
        yield from _run_folders(run.guide)


def _copy_run(source: RunFolder, target: RunFolder) -> None:
    """Copy what generation reads of a run."""
    target.root.mkdir(exist_ok=True)
    recipe = source.recipe()
    if recipe is not None:
        target.save_recipe(recipe)
    if (source.statistics / "config.json").exists():
        target.statistics.mkdir()
        shutil.copy(source.statistics / "config.json", target.statistics)
    for name, stage in source.trained_stages.items():
        if not (stage / "config.json").exists():
            continue
        folder = target.trained_stages[name]
        folder.mkdir()
        shutil.copy(stage / "config.json", folder)
        newest = newest_checkpoint(stage)
        if newest is None:  # an autoencoder that learns nothing
            continue
        weights = folder / newest.name
        weights.mkdir()
        shutil.copy(newest / "ema.safetensors", weights)
        state = {"step": load_state(newest)["step"], "files": ["ema"]}
        write_whole(weights / "state.json", json.dumps(state).encode())


def model_card(generator: Generator, run: RunFolder, licence: str, *, picture: bool) -> str:
    """Markdown of a model card, with the Hub's metadata.

    Args:
        generator: of the run.
        run: its folder, with its evaluations.
        licence: identifier.
        picture: whether the folder has one.
    """
    store, recipe = generator.store, run.recipe() or {}
    options = store.options
    named = recipe.get("name", "unnamed")
    head = {
        "license": licence,
        "library_name": "dvdm",
        "pipeline_tag": "image-to-video",
        "tags": ["dvdm", "video-diffusion", named, store.dataset],
    }
    front = "".join(f"{name}: {json.dumps(value)}\n" for name, value in head.items())
    own = deviations(recipe, options) if recipe else []
    facts = {
        "Recipe": f"`{named}`, which generates {generator.space.generates}",
        "Data set": f"{store.dataset}, {store.clips} clips",
        "Clips": f"{options.frames} frames of {options.size}",
        "Texts": ", ".join(store.labels) or "none",
        "Not in the papers": "; ".join(own) or "nothing",
    }
    sections = [
        f"---\n{front}---\n\n# {named}, trained on {store.dataset}",
        "".join(f"- **{name}**: {text}\n" for name, text in facts.items()).rstrip(),
    ]
    if picture:
        sections.append(f"![Real clips, and below each the generated one]({PICTURE})")
    sections += ["## Use\n\n```python\n" + _USE + "```", "## Scores"]
    scores = read_scores(run.evaluation)
    sections += [_score_table(name, found) for name, found in scores.items()] or ["None yet."]
    return "\n\n".join(sections) + "\n"


_USE = """import train

model = train.load("hf://USER/NAME")
model.sample("photo.jpg", model.labels[0], seed=0).save("video.mp4")
"""


def _score_table(name: str, scores: dict[str, Any]) -> str:
    """One evaluation as Markdown; windows of longer videos have no table."""
    if "scores" not in scores:
        return f"`{name}`: scores of longer videos, not shown here."
    made = scores["made"]
    rows = [
        f"| {what} | {score_text(value)} | {score_text(floor)} |"
        for what, value, floor in score_rows(scores)
        if not isinstance(value, str)  # why it could not be computed
    ]
    return (
        f"Protocol {scores['protocol']['name']}, split {made['split']},"
        f" {made['generated_clips']} clips; `{made['command']}` on {made['hardware']}.\n\n"
        "| what | score | first frame repeated |\n| --- | --- | --- |\n" + "\n".join(rows)
    )


def _picture(clips: Path) -> bytes | None:
    """Pairs of real and generated clips of an evaluation, as PNG; None where there is none."""
    if not clips.exists():
        return None
    from safetensors.numpy import load_file

    arrays = load_file(clips)
    pairs = zip(arrays["real"][:_SHOWN], arrays["frames"][:_SHOWN], strict=True)
    return png(contact_sheet([film for pair in pairs for film in pair], every=2))
