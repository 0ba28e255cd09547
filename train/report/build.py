"""Gather what the page shows, write its pictures, then the page."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from shared.errors import UserError
from shared.pictures import animation, contact_sheet, draw_vectors, enlarge, grey_residual, png
from shared.reader import ClipReader
from train.data import Clips
from train.evaluate import reconstruct
from train.generate import Generator
from train.log import read_metrics
from train.machine import processor
from train.report.curves import draw_curves
from train.report.page import Card, Page, render_page

_FPS = 8
_DATA_ROWS = 8
_SHEET_ROWS = 8
_STAGES = ("vae", "diffusion", "refiner")


@dataclass(frozen=True)
class _Evaluated:
    """What `train evaluate` left behind: see `train.evaluate`."""

    scores: dict[str, Any]
    indices: np.ndarray
    generated: np.ndarray
    unrefined: np.ndarray
    read_as: np.ndarray | None


def build_report(
    generator: Generator,
    store: ClipReader,
    run: Path,
    evaluation: Path,
    out: Path,
    before: list[str],
) -> Path:
    """Write OUT/index.html, OUT/pictures and OUT/first_frame.png; returns the page's path.

    `before`: commands that led to the store, shown above the run's own.

    Raises:
        UserError: the run was not evaluated.
    """
    evaluated = _load_evaluation(evaluation)
    clips = Clips(store, generator.recipe.split)
    real = clips.frames(clips.batch(evaluated.indices, torch.device("cpu"))).numpy()
    pictures = out / "pictures"
    _draw_data(clips, pictures)
    _draw_codec(generator, clips, evaluated.indices, real, pictures)
    _draw_generated(evaluated, real, pictures)
    draw_curves({name: read_metrics(run / name) for name in _STAGES}, pictures / "curves.png")
    _save(out / "first_frame.png", png(real[0][0].transpose(1, 2, 0)))
    page = Page(
        scores=evaluated.scores,
        store=generator.store,
        recipe=json.loads((run / "recipe.json").read_text()),
        refined=getattr(generator.space, "refiner", None) is not None,
        cards=_cards(evaluated, clips, real, pictures),
        seconds=_stage_seconds(run),
        commands=[*((command, None) for command in before), *_commands(run)],
        parameters=sum(p.numel() for p in generator.network.parameters()),
        train_clips=len(clips.train),
        test_clips=len(clips.test),
        processor=processor(),
    )
    path = out / "index.html"
    path.write_text(render_page(page))
    return path


def _load_evaluation(folder: Path) -> _Evaluated:
    from safetensors.numpy import load_file

    if not (folder / "scores.json").exists():
        raise UserError(f"no scores in {folder}: run first: python -m train evaluate")
    arrays = load_file(folder / "generated.safetensors")
    return _Evaluated(
        json.loads((folder / "scores.json").read_text()),
        arrays["clip"],
        arrays["frames"],
        arrays["unrefined"],
        arrays.get("read_as"),
    )


def _draw_data(clips: Clips, pictures: Path) -> None:
    """Training clips of different labels and subjects."""
    labels = np.unique(clips.label[clips.train])
    shown = labels[np.linspace(0, len(labels) - 1, min(_DATA_ROWS, len(labels))).astype(int)]
    rng = np.random.default_rng(0)
    chosen = [rng.choice(clips.train[clips.label[clips.train] == label]) for label in shown]
    frames = clips.frames(clips.batch(chosen, torch.device("cpu"))).numpy()
    _save(pictures / "data.png", png(contact_sheet(list(enlarge(frames, 2)))))


def _draw_codec(
    generator: Generator, clips: Clips, indices: np.ndarray, real: np.ndarray, pictures: Path
) -> None:
    """Vectors, residuals and reconstruction of one real clip, the one that moves most."""
    all_motion = clips.read("motion", indices)
    one = int(all_motion[:, :, :2].abs().float().mean(dim=(1, 2, 3, 4)).argmax())
    options = generator.store.options
    picked = slice(2, None, 4)
    alone = clips.batch(indices[one : one + 1], torch.device("cpu"))
    motion, residual = alone.motion[0].numpy(), alone.residual[0].numpy()
    unit = options.vector_unit
    vectors = draw_vectors(real[one], motion, block=options.block, vector_unit=unit)[picked]
    _save(pictures / "vectors.png", png(contact_sheet([vectors])))
    _save(
        pictures / "residual.png", png(contact_sheet([enlarge(grey_residual(residual), 4)[picked]]))
    )
    restored = reconstruct(generator.space, alone)[0].numpy()
    rows = [enlarge(film[1:], 4)[picked] for film in (real[one], restored)]
    _save(pictures / "reconstruction.png", png(contact_sheet(rows)))


def _draw_generated(evaluated: _Evaluated, real: np.ndarray, pictures: Path) -> None:
    """Rows of real above generated; and what the refining network changes."""
    count = len(evaluated.indices)
    chosen = np.linspace(0, count - 1, min(_SHEET_ROWS, count)).astype(int)
    rows = [film for k in chosen for film in (real[k], evaluated.generated[k])]
    _save(pictures / "generated.png", png(contact_sheet([enlarge(film, 2) for film in rows])))
    rows = [film for k in chosen[:3] for film in (evaluated.unrefined[k], evaluated.generated[k])]
    _save(pictures / "refining.png", png(contact_sheet([enlarge(film, 2) for film in rows])))


def _cards(evaluated: _Evaluated, clips: Clips, real: np.ndarray, pictures: Path) -> list[Card]:
    """One animated pair a generated clip."""
    texts = clips.store.attributes.labels
    cards = []
    for k, index in enumerate(evaluated.indices):
        names = (f"real{k:02d}.webp", f"generated{k:02d}.webp")
        for name, film in zip(names, (real[k], evaluated.generated[k]), strict=True):
            _save(pictures / name, animation(enlarge(film, 2), fps=_FPS))
        label = int(clips.label[index])
        read = None if evaluated.read_as is None else int(evaluated.read_as[k])
        cards.append(
            Card(
                text=texts[label] if label >= 0 else "no label",
                real=names[0],
                generated=names[1],
                read_as=None if read is None else texts[read],
                right=read == label,
            )
        )
    return cards


def _save(path: Path, data: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)


def _stage_seconds(run: Path) -> dict[str, float]:
    """Seconds and steps of every trained stage, from its last log line."""
    ends = {name: read_metrics(run / name) for name in _STAGES}
    return {name: lines[-1]["seconds"] for name, lines in ends.items() if lines}


def _commands(run: Path) -> list[tuple[str, float | None]]:
    lines = (run / "commands.jsonl").read_text().splitlines()
    return [(record["command"], record["seconds"]) for record in map(json.loads, lines)]
