"""Pictures of the page, as the bytes of their files."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import reduce
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from shared.report.pictures import (
    ARROWS_PX,
    FRAME_PX,
    Film,
    add_legend,
    animation,
    contact_sheet,
    draw_cells,
    enlarge,
    evenly_spaced,
    grey_residual,
    over_frames,
    sheet,
    shrink,
    vector_film,
    webp,
)
from shared.schema import CodecOptions
from train.data.clips import Clips
from train.evaluate.make_clips import reconstruct, unrefined_frames
from train.evaluate.report.scores import ShownClips
from train.generate.generator import Generator
from train.spaces.base import Drawing

CARDS_BYTES, FILMS_BYTES = 7_000_000, 4_000_000
"""Size of all animations beyond which no more are drawn: a page has to stay small."""

_SHEET_ROWS, _SHEET_COLUMNS, _MOVED_ROWS, _REFINED_ROWS, _DATA_ROWS = 8, 16, 4, 3, 8
_PARTS_CLIPS, _ARROW_COLUMNS, _MAP_COLUMNS = 3, 4, 8
_FILMS, _CANDIDATES = 12, 64


@dataclass(frozen=True)
class GeneratedPictures:
    """Pictures of generated clips.

    Attributes:
        pairs: animations of the real and the generated clip, of the clips that fit on the page.
        sheet: rows of real above generated clips.
        moved: rows of real clips, of what generated motion alone gives, and of generated clips,
            if there is motion.
        refined: rows of decoded above refined clips, if clips were refined.
        arrows: generated vectors over the generated frames, by the part's name.
        maps: rows of generated frames, and of each part drawn as colours or greys, if there is one.
    """

    pairs: list[tuple[bytes, bytes]]
    sheet: bytes
    moved: bytes | None
    refined: bytes | None
    arrows: dict[str, bytes]
    maps: bytes | None


@dataclass(frozen=True)
class DataPictures:
    """Pictures of the store's clips, and the sizes of its split.

    Attributes:
        sheet: training clips.
        vectors: vectors over frames of a test clip, and residuals.
        maps: its real frames, and parts decoded from its x_0: see `GeneratedPictures`.
        restored: its real frames above those restored from x_0.
        train_clips, test_clips: number of clips on each side.
    """

    sheet: bytes
    vectors: bytes
    maps: bytes | None
    restored: bytes
    train_clips: int
    test_clips: int


def draw_generated(
    clips: ShownClips,
    drawn: Mapping[str, Drawing],
    store: CodecOptions,
    on_clip: Callable[[], object],
) -> GeneratedPictures:
    """Draw generated clips, and their parts as `Space.drawn` says.

    `on_clip` is called after each clip, drawn or left out.
    """
    pairs: list[tuple[bytes, bytes]] = []
    used = 0
    for real, generated in zip(clips.real, clips.generated, strict=True):
        if used <= CARDS_BYTES:
            pairs.append((animation(real), animation(generated)))
            used += sum(map(len, pairs[-1]))
        on_clip()
    arrows: dict[str, bytes] = {}
    maps = None
    if clips.parts:
        chosen = _moving_most(next(iter(clips.parts.values())))
        frames = clips.generated[chosen]
        parts = {name: part[chosen] for name, part in clips.parts.items()}
        for name in (name for name in parts if drawn[name] == "arrows"):
            films = [_arrows(*pair, store) for pair in zip(frames, parts[name], strict=True)]
            arrows[name] = sheet(films, ARROWS_PX)
        maps = _draw_maps(frames, parts, drawn)
    refined = None
    if clips.unrefined is not None:
        refined = _sheet_of((clips.unrefined, clips.generated), _REFINED_ROWS)
    moved = None
    if clips.moved is not None:
        moved = _sheet_of((clips.real, clips.moved, clips.generated), _MOVED_ROWS)
    whole = _sheet_of((clips.real, clips.generated), _SHEET_ROWS)
    return GeneratedPictures(pairs, whole, moved, refined, arrows, maps)


def _moving_most(part: NDArray[Any]) -> NDArray[np.int64]:
    """Clips with the largest vectors: those at rest have no arrows and no colours."""
    lengths = np.abs(part[:, :, :2].astype(float)).mean(axis=(1, 2, 3, 4))
    return np.argsort(-lengths, kind="stable")[:_PARTS_CLIPS]


def _draw_maps(
    frames: NDArray[np.uint8], parts: Mapping[str, NDArray[Any]], drawn: Mapping[str, Drawing]
) -> bytes | None:
    """Rows of frames, and of each part drawn as colours or greys; None where none is.

    Args:
        frames: of clips, shape (B, T, 3, H, W).
        parts: of them, shape (B, T-1, ...).
        drawn: see `Space.drawn`.
    """
    picked = evenly_spaced(frames.shape[1] - 1, _MAP_COLUMNS)
    films, legends = [frames[:, 1:][:, picked]], []
    for name, part in parts.items():
        drawing = drawn[name]
        if drawing == "arrows":
            continue
        cells, legend = draw_cells(part, drawing)
        films.append(over_frames(cells[:, picked], *frames.shape[-2:]))
        legends += [] if legend is None else [legend]
    if len(films) == 1:
        return None
    factor = max(1, FRAME_PX // max(frames.shape[-2:]))
    rows = [film for clip in zip(*films, strict=True) for film in clip]
    shown = contact_sheet([shrink(enlarge(row, factor), FRAME_PX) for row in rows])
    return webp(reduce(add_legend, legends, shown))


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
    vectors, maps, restored = _draw_codec(generator, clips)
    return DataPictures(
        _draw_training(clips), vectors, maps, restored, len(clips.train), len(clips.test)
    )


def _draw_training(clips: Clips) -> bytes:
    """Training clips of different labels."""
    labels = np.unique(clips.label[clips.train])
    rng = np.random.default_rng(0)
    chosen = [
        rng.choice(clips.train[clips.label[clips.train] == label])
        for label in labels[evenly_spaced(len(labels), _DATA_ROWS)]
    ]
    return _film_sheet(list(clips.frames(clips.batch(chosen, torch.device("cpu"))).numpy()))


def _draw_codec(generator: Generator, clips: Clips) -> tuple[bytes, bytes | None, bytes]:
    """`vectors`, `maps` and `restored` of `DataPictures`, of the test clip that moves most."""
    candidates = clips.test[evenly_spaced(len(clips.test), _CANDIDATES)]
    motion = clips.read("motion", candidates)[:, :, :2].abs().float().mean(dim=(1, 2, 3, 4))
    chosen = candidates[int(motion.argmax())][None]
    batch = clips.batch(chosen, torch.device("cpu"))
    real = clips.frames(batch)[0].numpy()
    store = generator.store.options
    factor = max(1, ARROWS_PX // max(store.size))
    picked = evenly_spaced(store.frames - 1, _ARROW_COLUMNS)
    residual = enlarge(grey_residual(batch.residual[0].numpy())[picked], factor)
    vectors = _arrows(real, batch.motion[0].numpy(), store)
    decoded = reconstruct(generator.space, clips, chosen, generator.device)
    space = generator.space
    parts = {name: part.cpu().numpy() for name, part in space.drawn_parts(decoded).items()}
    maps = _draw_maps(real[None], parts, space.draws)
    restored = unrefined_frames(decoded)[0].cpu().numpy()
    compared = [enlarge(film[1:][picked], factor) for film in (real, restored)]
    return sheet([vectors, residual], ARROWS_PX), maps, sheet(compared, ARROWS_PX)


def _arrows(frames: Film, motion: NDArray[np.int8], store: CodecOptions) -> Film:
    return vector_film(frames, motion, store, _ARROW_COLUMNS)


def _sheet_of(kinds: Sequence[NDArray[np.uint8]], count: int) -> bytes:
    """Evenly spaced clips, of each a row of every kind."""
    chosen = evenly_spaced(len(kinds[0]), count)
    return _film_sheet([films[k] for k in chosen for films in kinds])


def _film_sheet(films: list[Film]) -> bytes:
    """Rows of evenly spaced frames."""
    picked = evenly_spaced(len(films[0]), _SHEET_COLUMNS)
    return sheet([film[picked] for film in films])
