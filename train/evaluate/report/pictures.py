"""Pictures of the page, as the bytes of their files."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from shared.report.pictures import (
    ARROWS_PX,
    Film,
    animation,
    enlarge,
    evenly_spaced,
    grey_residual,
    sheet,
    vector_film,
)
from shared.schema import CodecOptions
from train.data.clips import ClipBatch, Clips, on_device
from train.evaluate.make_clips import reconstruct, unrefined_frames
from train.evaluate.report.scores import ShownClips
from train.generate.generator import Generator

CARDS_BYTES, FILMS_BYTES = 7_000_000, 4_000_000
"""Size of all animations beyond which no more are drawn: a page has to stay small."""

_SHEET_ROWS, _SHEET_COLUMNS, _REFINED_ROWS, _DATA_ROWS = 8, 16, 3, 8
_ARROW_ROWS, _ARROW_COLUMNS = 3, 4
_FILMS, _CANDIDATES = 12, 64


@dataclass(frozen=True)
class GeneratedPictures:
    """Pictures of generated clips.

    Attributes:
        pairs: animations of the real and the generated clip, of the clips that fit on the page.
        sheet: rows of real above generated clips.
        refined: rows of decoded above refined clips, if clips were refined.
        motion: generated vectors over the generated frames, if vectors are generated.
    """

    pairs: list[tuple[bytes, bytes]]
    sheet: bytes
    refined: bytes | None
    motion: bytes | None


@dataclass(frozen=True)
class DataPictures:
    """Pictures of the store's clips, and the sizes of its split.

    Attributes:
        sheet: training clips.
        vectors: vectors over frames of a test clip, and residuals.
        restored: its real frames above those restored from x_0.
        train_clips, test_clips: number of clips on each side.
    """

    sheet: bytes
    vectors: bytes
    restored: bytes
    train_clips: int
    test_clips: int


def draw_generated(
    clips: ShownClips, store: CodecOptions, on_clip: Callable[[], object]
) -> GeneratedPictures:
    """Draw generated clips; `on_clip` is called after each, drawn or left out."""
    pairs: list[tuple[bytes, bytes]] = []
    used = 0
    for real, generated in zip(clips.real, clips.generated, strict=True):
        if used <= CARDS_BYTES:
            pairs.append((animation(real), animation(generated)))
            used += sum(map(len, pairs[-1]))
        on_clip()
    motion = None
    if clips.motion is not None:
        # Clips that move most: blocks at rest have no arrows.
        lengths = np.abs(clips.motion[:, :, :2].astype(int)).mean(axis=(1, 2, 3, 4))
        chosen = np.argsort(-lengths, kind="stable")[:_ARROW_ROWS]
        motion = sheet(
            [_arrows(clips.generated[k], clips.motion[k], store) for k in chosen], ARROWS_PX
        )
    refined = None
    if clips.unrefined is not None:
        refined = _paired_sheet(clips.unrefined, clips.generated, _REFINED_ROWS)
    return GeneratedPictures(
        pairs, _paired_sheet(clips.real, clips.generated, _SHEET_ROWS), refined, motion
    )


def choose_films(films: dict[int, Path]) -> dict[int, bytes]:
    """Evenly spaced films by step, the first and the last among them; fewer if they are large."""
    steps = list(films)
    for count in range(_FILMS, 1, -1):
        chosen = [steps[i] for i in evenly_spaced(len(steps), count)]
        if sum(films[step].stat().st_size for step in chosen) <= FILMS_BYTES:
            return {step: films[step].read_bytes() for step in chosen}
    return {}


def draw_data(generator: Generator, clips: Clips) -> DataPictures:
    """Draw training clips, and a test clip with its vectors, residuals and reconstruction."""
    vectors, restored = _draw_codec(generator, clips)
    return DataPictures(_draw_training(clips), vectors, restored, len(clips.train), len(clips.test))


def _draw_training(clips: Clips) -> bytes:
    """Training clips of different labels."""
    labels = np.unique(clips.label[clips.train])
    rng = np.random.default_rng(0)
    chosen = [
        rng.choice(clips.train[clips.label[clips.train] == label])
        for label in labels[evenly_spaced(len(labels), _DATA_ROWS)]
    ]
    return _film_sheet(list(clips.frames(clips.batch(chosen, torch.device("cpu"))).numpy()))


def _draw_codec(generator: Generator, clips: Clips) -> tuple[bytes, bytes]:
    """Vectors and residuals, and real above restored frames, of the test clip that moves most."""
    candidates = clips.test[evenly_spaced(len(clips.test), _CANDIDATES)]
    motion = clips.read("motion", candidates)[:, :, :2].abs().float().mean(dim=(1, 2, 3, 4))
    batch = clips.batch(candidates[int(motion.argmax())][None], torch.device("cpu"))
    real = clips.frames(batch)[0].numpy()
    store = generator.store.options
    factor = max(1, ARROWS_PX // store.size)
    picked = evenly_spaced(store.frames - 1, _ARROW_COLUMNS)
    residual = enlarge(grey_residual(batch.residual[0].numpy())[picked], factor)
    vectors = _arrows(real, batch.motion[0].numpy(), store)
    moved = ClipBatch(**on_device(vars(batch), generator.device))
    restored = unrefined_frames(reconstruct(generator.space, moved))[0].cpu().numpy()
    compared = [enlarge(film[1:][picked], factor) for film in (real, restored)]
    return sheet([vectors, residual], ARROWS_PX), sheet(compared, ARROWS_PX)


def _arrows(frames: Film, motion: NDArray[np.int8], store: CodecOptions) -> Film:
    return vector_film(frames, motion, store, _ARROW_COLUMNS)


def _paired_sheet(above: NDArray[np.uint8], below: NDArray[np.uint8], count: int) -> bytes:
    """Rows of two films each, of evenly spaced clips."""
    return _film_sheet(
        [film for k in evenly_spaced(len(above), count) for film in (above[k], below[k])]
    )


def _film_sheet(films: list[Film]) -> bytes:
    """Rows of evenly spaced frames."""
    picked = evenly_spaced(len(films[0]), _SHEET_COLUMNS)
    return sheet([film[picked] for film in films])
