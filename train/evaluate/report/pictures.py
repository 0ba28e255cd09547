"""The page's pictures, as bytes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from shared.report import html
from shared.report.html import Html
from shared.report.pictures import (
    Film,
    animation,
    contact_sheet,
    draw_vectors,
    enlarge,
    evenly,
    grey_residual,
    shrink,
    webp,
)
from shared.schema import CodecOptions
from train.data.clips import ClipBatch, Clips, on_device
from train.evaluate.make_clips import reconstruct, unrefined_frames
from train.evaluate.report.scores import Shown
from train.generate.generator import Generator

# MERGED: The part of the page that shows generated clips beside real ones.


def generated_section(
    generated: Generated | None,
    labels: tuple[str, ...],
    scores: dict[str, dict[str, Any]],
    run: str,
) -> Html:
    """Animated pairs with the classifier's verdicts, and all of it as rows of frames."""
    if generated is None:
        return html.section("Generated clips", missing(run, "No clip was generated yet."))
    shown = generated.shown
    parts = [html.paragraph(f"Real on the left, generated on the right; from {shown.origin}.")]
    if shown.read_as is not None:
        parts.append(html.paragraph(_verdict(shown.label, shown.read_as, scores)))
    if left_out := len(shown.label) - len(generated.pairs):
        told = f"{left_out:,} more clips are not shown, so that the page stays small."
        parts.append(html.paragraph(told))
    parts.append(html.cards(_card(generated, k, labels) for k in range(len(generated.pairs))))
    sheet = html.image(generated.sheet, "real above generated", enlarge=True)
    parts.append(html.figure(sheet, "As rows, real above generated.", wide=True))
    if generated.refining is not None:
        parts.append(_refining(generated.refining))
    return html.section("Generated beside real", *parts)


def missing(run: str, what: str) -> Html:
    """What is not there, and the command that makes it."""
    command = f"python -m train evaluate --run {run} --store STORE"
    return html.paragraph(html.join(f"{what} Run first: ", html.code(command)))


def _verdict(label: np.ndarray, read_as: np.ndarray, scores: dict[str, dict[str, Any]]) -> str:
    right = int(np.count_nonzero(read_as == label))
    told = (
        "A small classifier of this project, trained on the real training clips, reads"
        f" {right} of {len(label)} generated clips as the text asked for"
    )
    for each in scores.values():
        if isinstance(real := each.get("classifier_accuracy_real"), float):
            return f"{told}; on real test clips it is right in {100 * real:.0f}%."
    return f"{told}."


def _card(generated: Generated, k: int, labels: tuple[str, ...]) -> Html:
    label, read_as = int(generated.shown.label[k]), generated.shown.read_as
    words = [html.bold(_text(label, labels))]
    if read_as is not None:
        right = int(read_as[k]) == label
        verdict = "✓" if right else f"read as {_text(int(read_as[k]), labels)}"
        words += [html.text(" "), html.verdict(verdict, good=right)]
    real, made = generated.pairs[k]
    pair = html.pair(
        html.image(real, f"real: {_text(label, labels)}", enlarge=True),
        html.image(made, f"generated: {_text(label, labels)}", enlarge=True),
    )
    return html.join(pair, html.paragraph(html.join(*words)))


def _refining(sheet: bytes) -> Html:
    return html.join(
        html.heading("What the refining network does"),
        html.figure(
            html.image(sheet, "decoded above refined", enlarge=True),
            "Decoded clips above, refined below. The network behind the decoder is an addition of"
            " this project; the paper has none.",
            wide=True,
        ),
    )


def _text(label: int, labels: tuple[str, ...]) -> str:
    return labels[label] if 0 <= label < len(labels) else "no label"


FPS = 8
CARDS_BYTES, FILMS_BYTES = 7_000_000, 4_000_000
"""Animations end where all of them together would be larger: a page has to stay small."""

_SHEET_ROWS, _SHEET_COLUMNS, _REFINED = 8, 16, 3
_ARROW_CLIPS, _ARROW_COLUMNS = 3, 4
_FRAME_PX, _ARROWS_PX = 128, 320
_FILMS, _DATA_ROWS = 12, 8


@dataclass(frozen=True)
class Generated:
    """Generated clips beside real ones, drawn.

    Attributes:
        shown: the clips.
        pairs: animations of real and generated clip, of as many clips as fit on the page.
        sheet: rows of real above generated.
        refining: rows of decoded above refined, where clips were refined.
        motion: generated vectors over the frames they made, where vectors are generated.
    """

    shown: Shown
    pairs: list[tuple[bytes, bytes]]
    sheet: bytes
    refining: bytes | None
    motion: bytes | None


def draw_generated(shown: Shown, store: CodecOptions, on_pair: Callable[[], object]) -> Generated:
    """Draw all of it; `on_pair` is called after each clip, drawn or left out."""
    return Generated(
        shown,
        _pair_films(shown, on_pair),
        _generated_sheet(shown),
        _refining_sheet(shown),
        _generated_motion(shown, store),
    )


def films_over_time(films: dict[int, Path]) -> dict[int, bytes]:
    """The films of checkpoints evenly spread, the first and the last always; fewer if large."""
    steps = list(films)
    for count in range(_FILMS, 1, -1):
        chosen = [steps[i] for i in evenly(len(steps), count)]
        if sum(films[step].stat().st_size for step in chosen) <= FILMS_BYTES:
            return {step: films[step].read_bytes() for step in chosen}
    return {}


def data_sheet(clips: Clips) -> bytes:
    """Training clips of different labels and subjects."""
    labels = np.unique(clips.label[clips.train])
    rng = np.random.default_rng(0)
    chosen = [
        rng.choice(clips.train[clips.label[clips.train] == label])
        for label in labels[evenly(len(labels), _DATA_ROWS)]
    ]
    return _rows(list(clips.frames(clips.batch(chosen, torch.device("cpu"))).numpy()))


def codec_sheets(generator: Generator, clips: Clips) -> tuple[bytes, bytes]:
    """Of the test clip that moves most: vectors and residuals; real above restored frames."""
    candidates = clips.test[evenly(len(clips.test), 64)]
    motion = clips.read("motion", candidates)[:, :, :2].abs().float().mean(dim=(1, 2, 3, 4))
    one = clips.batch(candidates[int(motion.argmax())][None], torch.device("cpu"))
    real = clips.frames(one)[0].numpy()
    store = generator.store.options
    factor = max(1, _ARROWS_PX // store.size)
    picked = evenly(store.frames - 1, _ARROW_COLUMNS)
    rest = enlarge(grey_residual(one.residual[0].numpy()), factor)[picked]
    vectors = _with_arrows(real, one.motion[0].numpy(), store)
    moved = ClipBatch(**on_device(vars(one), generator.device))
    restored = unrefined_frames(reconstruct(generator.space, moved))[0].cpu().numpy()
    compared = [enlarge(film[1:], factor)[picked] for film in (real, restored)]
    return _sheet([vectors, rest]), _sheet(compared)


def _pair_films(shown: Shown, on_pair: Callable[[], object]) -> list[tuple[bytes, bytes]]:
    """Real and generated clip, lossless animations, as many pairs as fit on the page."""
    pairs: list[tuple[bytes, bytes]] = []
    used = 0
    for real, generated in zip(shown.real, shown.generated, strict=True):
        if used <= CARDS_BYTES:
            pairs.append((animation(real, fps=FPS), animation(generated, fps=FPS)))
            used += sum(map(len, pairs[-1]))
        on_pair()
    return pairs


def _generated_sheet(shown: Shown) -> bytes:
    """Rows of real above generated, for clips evenly spread."""
    return _rows([film for k in evenly(len(shown.real), _SHEET_ROWS)
                  for film in (shown.real[k], shown.generated[k])])  # fmt: skip


def _refining_sheet(shown: Shown) -> bytes | None:
    """Rows of decoded above refined; None where nothing was refined."""
    if shown.unrefined is None:
        return None
    return _rows([film for k in evenly(len(shown.real), _REFINED)
                  for film in (shown.unrefined[k], shown.generated[k])])  # fmt: skip


def _generated_motion(shown: Shown, store: CodecOptions) -> bytes | None:
    """Generated vectors over the frames they made; None where no vectors are generated."""
    if shown.motion is None:
        return None
    # Those that move most: what stands still has no arrows.
    lengths = np.abs(shown.motion[:, :, :2].astype(int)).mean(axis=(1, 2, 3, 4))
    chosen = np.argsort(-lengths, kind="stable")[:_ARROW_CLIPS]
    return _sheet([_with_arrows(shown.generated[k], shown.motion[k], store) for k in chosen])


def _with_arrows(frames: Film, motion: NDArray[np.int8], store: CodecOptions) -> Film:
    """Frames evenly spread, the first left out, enlarged, with an arrow to each moved block."""
    picked = evenly(store.frames - 1, _ARROW_COLUMNS)
    return draw_vectors(
        np.concatenate([frames[:1], frames[1:][picked]]),
        motion[picked],
        block=store.block,
        vector_unit=store.vector_unit,
        factor=max(1, _ARROWS_PX // store.size),
    )


def _rows(films: list[Film]) -> bytes:
    """A sheet of films, a row each, of frames evenly spread."""
    picked = evenly(len(films[0]), _SHEET_COLUMNS)
    return webp(contact_sheet([shrink(film[picked], _FRAME_PX) for film in films]))


def _sheet(films: list[Film]) -> bytes:
    return webp(contact_sheet([shrink(film, _ARROWS_PX) for film in films]))
