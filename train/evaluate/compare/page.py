"""Write what people and programs read: compare.json, compare.md, compare.png, compare.html."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageDraw, ImageFont

from shared.report.pages import render, table, write_page
from shared.report.pictures import Film, Picture, animation, contact_sheet, evenly_spaced, png
from shared.store.paths import write_whole
from shared.store.reader import open_path
from train.data.clips import Clips
from train.evaluate.compare.jobs import Comparison, generated_clips
from train.evaluate.compare.results import (
    MeanStd,
    Row,
    Table,
    bound_rows,
    ceilings,
    cost_rows,
    missing_columns,
    score_rows,
)
from train.evaluate.compare.systems import TableName
from train.evaluate.metrics.consistency import BLOCK
from train.trainer.monitor import processor

Films = list[tuple[str, Film]]
"""Clips of one first frame by title: the real one, then one of each system."""

_CLIPS, _FRAMES, _FPS = 3, 6, 8
"""Test clips in the picture, frames of each, and frames a second on the page."""
_MARGIN_PX, _HEADING_PX = 92, 18
"""Room for text to the left of the frames, and above each clip's rows."""
_INK, _PAPER = (40, 40, 40), (255, 255, 255)


def write_output(comparison: Comparison, command: str) -> list[Path]:
    """Write tables, picture and page into the comparison's folder; returns the files."""
    out, sentences = comparison.setup.out, protocol(comparison)
    tables, clips = all_tables(comparison), shown_clips(comparison)
    left_out = comparison.left_out | missing_columns(out)
    frames = evenly_spaced(comparison.store.options.frames, _FRAMES).tolist()
    picture = png(np.concatenate([_block(*clip, frames) for clip in clips]))
    content = {
        "command": command,
        "options": asdict(comparison.options),
        "protocol": sentences,
        "left_out": left_out,
        "chosen": comparison.setup.chosen,
        "tables": {each.name: [asdict(row) for row in each.rows] for each in tables},
        "runs": {run.name: asdict(run) for run in comparison.runs},
    }
    texts = [(each.title, *table_text(each.rows)) for each in tables]
    markdown = [
        "# The comparison",
        "\n".join(f"- {line}" for line in sentences),
        f"Command: `{command}`",
        *(f"Left out: {name}: {reason}" for name, reason in left_out.items()),
    ]
    for title, head, rows in texts:
        align = "l" + "r" * (len(head) - 1)
        markdown += [f"## {title}", table(rows, head, kind="markdown", align=align)]
    write_whole(out / "compare.json", json.dumps(content, indent=1, ensure_ascii=False).encode())
    write_whole(out / "compare.md", ("\n\n".join(markdown) + "\n").encode())
    write_whole(out / "compare.png", picture)
    films = [
        (label, [(title, animation(film, fps=_FPS)) for title, film in of_clip])
        for label, of_clip in clips
    ]
    page = render(
        "train/evaluate/compare/comparison.html", clips=films, picture=picture, tables=texts,
        protocol=sentences, left_out=left_out, command=command,
    )  # fmt: skip
    write_page(out / "compare.html", page)
    return [out / f"compare.{kind}" for kind in ("json", "md", "png", "html")]


_NEAREST = "PSNR is the mean over samples; nearest: of the sample closest to the real clip. "
_COUNTED = {
    "denoiser": "forward and backward passes of the denoiser. Autoencoders, cached latents and"
    " refining networks are not included; the table of costs has them.",
    "all": "of all stages. Autoencoder and refining network get a share that each system states: an"
    " autoencoder of latent flow one half, one of blocks 1/19. The denoiser gets the rest, less"
    " the cached latents. The table of costs has them all.",
}


def all_tables(comparison: Comparison) -> list[Table]:
    """Gather the scores at equal FLOPs, at equal steps and within the codec, and the costs."""
    jobs, bounds = comparison.jobs, bound_rows(comparison.setup.out)
    titles = {name: system.title for name, system in comparison.systems.items()}
    budget = f"{comparison.options.budget_tflop:g} TFLOP a run"
    names: dict[TableName, str] = {
        "equal_flops": f"Equal training FLOPs, {budget}",
        "equal_steps": "Equal steps",
        "codec": f"Within the codec, {budget}",
    }
    tables = [Table(name, title, score_rows(jobs, titles, name)) for name, title in names.items()]
    tables.append(Table("cost", "Cost", cost_rows(jobs, titles, comparison.costs)))
    return [
        each if each.name == "cost" else replace(each, rows=[*bounds, *each.rows])
        for each in tables
        if each.rows
    ]


def table_text(rows: Sequence[Row]) -> tuple[list[str], list[list[str]]]:
    """Headings and cells of a table, without the columns that no row has a figure for."""
    every = dict.fromkeys(name for row in rows for name in row.figures)
    names = [name for name in every if any(row.figures.get(name) for row in rows)]
    cells = [
        [
            row.title,
            f"{row.steps:,}" if row.steps else "–",
            *(figure_text(row.figures.get(name)) for name in names),
        ]
        for row in rows
    ]
    return ["system", "steps", *names], cells


def figure_text(figure: MeanStd | None) -> str:
    """Mean ± deviation, with the digits that the size of the mean needs."""
    if figure is None:
        return "–"
    size = abs(figure.mean)
    whole = size >= 1000 or (size >= 100 and figure.mean.is_integer())
    digits = 0 if whole else 1 if size >= 100 else 2 if size >= 1 else 3
    text = f"{figure.mean:,.{digits}f}"
    return text if figure.deviation is None else f"{text} ± {figure.deviation:,.{digits}f}"


def protocol(comparison: Comparison) -> list[str]:
    """Say in sentences how the numbers came about: data, budgets, common choices, scores."""
    options, store, setup = comparison.options, comparison.store, comparison.setup
    recipe, several = comparison.runs[0].load_recipe(), setup.samples > 1
    training, sampler, noise = recipe.diffusion_training, recipe.sampler, recipe.noise
    rule = store.splits.get(setup.split, {})
    by_person = rule.get("kind") == "subjects" or rule.get("by") == "subject"
    apart = ": nobody in a test clip was trained on" if by_person else ""
    choice = (
        f"{options.clips_a_label} a label, subjects taking turns, from its first frame and label"
    )
    choice = choice if store.labels else "evenly spaced, from its first frame"
    size = f"{store.options.frames} frames of {store.options.size}"
    return [
        f"Data: {store.dataset}, {store.clips} clips of {size}, {len(store.labels)} labels,"
        f" {len(store.subjects)} subjects; split {setup.split}{apart}. {setup.samples} generated"
        f" video{'s' * several} for each of {len(setup.chosen)} test clips, {choice}.",
        f"Equal FLOPs: {options.budget_tflop:g} TFLOP of training a run, two operations a"
        f" multiply-accumulate, {_COUNTED[options.count]} Equal steps: as many as rgb has at equal"
        " FLOPs.",
        "The same for every system: about as many parameters (stated), a learned embedding of the"
        f" label, {noise.prediction}-prediction, {noise.schedule} schedule, {training.optimiser},"
        f" learning rate {training.learning_rate:g} falling along half a cosine, batch"
        f" {training.batch}, averaged weights, {sampler.name} with {sampler.steps} steps, guidance"
        f" {sampler.guidance:g}; the seed decides weights, data order and noise.",
        "Additions of ours, none of them in the papers: the block-wise autoencoder from the optimal"
        " linear code, which latent and codec both have; flow's small autoencoder without VGG, at"
        " first pulled towards the store's vectors where they point into frame 0; in the table"
        " within the codec the vector cost, the closed loop, the references first and per block,"
        " and the filter.",
        "Scores are this project's own, none is FVD. Gestures and persons are read by networks"
        f" trained on real training clips ({options.judge_steps} steps), Fréchet distances are"
        " between their features of generated and of all real test clips."
        f" {ceilings(setup)} Frame 0 is given and does not count; 100 dB stands for equal."
        f" {_NEAREST * several}PSNR restored: real test clips through the space and back, the most"
        " it can show.",
        "Warping error: mean absolute difference of each frame from the one before, whose"
        f" {BLOCK}x{BLOCK} blocks are moved by the best vectors that a search in the clip itself"
        " finds, of real and generated clips alike; flicker: mean absolute change from frame to"
        " frame where the real clip stands still; both in grey levels. Motion: mean absolute change"
        " from frame to frame, over that of the real clips. Vectors: divergence of block vectors'"
        " statistics from those of all real test clips (Wasserstein in pixels a frame and in bits,"
        " Jensen-Shannon in bits), definitions of this project; the row of real clips has that of"
        " all test clips from training clips.",
        f"Seeds 0-{options.seeds - 1} for all systems, {options.codec_seeds} within the codec; ± is"
        " the standard deviation over seeds. CPU seconds are of all threads of a process of one"
        f" thread, on {processor()}, which other work may have shared.",
    ]


def shown_clips(comparison: Comparison) -> list[tuple[str, Films]]:
    """Test clips of different labels: the real one, then each system's at its first seed."""
    setup = comparison.setup
    count = len(setup.chosen)
    places = np.linspace(0, count - 1, min(_CLIPS, count) + 2)[1:-1].round().astype(int)
    clips = Clips(open_path(setup.store), setup.split)
    batch = clips.batch(np.array(setup.chosen)[places], torch.device("cpu"))
    equal = [job for job in comparison.jobs if "equal_flops" in job.run.tables]
    first = {
        job.run.system: job for job in sorted(equal, key=lambda job: job.run.seed, reverse=True)
    }
    made = {name: generated_clips(job.folder).numpy() for name, job in first.items()}
    # Of the two of ours, the better one.
    hidden = "codec-first" if "codec-filter" in made else None
    names = [name for name in comparison.systems if name in made and name != hidden]
    titles = {"codec-filter": "codec, ours"}
    labels = comparison.store.labels
    return [
        (
            labels[int(batch.label[n])] if labels else f"clip {setup.chosen[place]}",
            [
                ("real", clips.frames(batch)[n].numpy()),
                *((titles.get(name, name), made[name][place]) for name in names),
            ],
        )
        for n, place in enumerate(places)
    ]


def _block(heading: str, films: Films, frames: list[int]) -> Picture:
    """Rows of frames, one under the other, with a heading and the titles."""
    sheet = contact_sheet([film[frames] for _, film in films])
    height, width = sheet.shape[:2]
    canvas = Image.new("RGB", (width + _MARGIN_PX, height + _HEADING_PX), _PAPER)
    canvas.paste(Image.fromarray(sheet), (_MARGIN_PX, _HEADING_PX))
    pen, font = ImageDraw.Draw(canvas), ImageFont.load_default(12)
    pen.text((_MARGIN_PX, 2), heading, fill=_INK, font=font)
    step = (height + 2) / len(films)
    for place, (title, _) in enumerate(films):
        pen.text((2, _HEADING_PX + (place + 0.5) * step - 8), title, fill=_INK, font=font)
    return np.asarray(canvas)
