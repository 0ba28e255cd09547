"""Scores of any protocol as tables: whatever `scores.json` holds, numbers first."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from shared.report import html
from shared.report.charts import Curve, curves
from shared.report.html import Cell, Html
from shared.schema import CodecOptions
from train.evaluate.cost import GIGA
from train.evaluate.cost import run_cost as costed
from train.evaluate.page import fact_rows, score_rows, score_text
from train.recipe import Recipe
from train.stages.previews import Preview, read_latest

# MERGED: What the run's recipe costs on clips of its store, counted and not measured.


def cost_table(recipe: Recipe, store: CodecOptions) -> Html:
    """Parameters, operations and memory, by the convention of `train.evaluate.cost`."""
    case, denoiser, coder = costed(recipe, torch.device("cpu"), store)
    rows: list[tuple[str, html.Cell]] = [
        ("what is generated, x₀: channels, time, height, width", " × ".join(map(str, case.target))),
        ("parameters of the denoiser, million", denoiser.parameters / 1e6),
        ("GFLOP of a training pass of one clip, forward and backward", denoiser.gflop),
        ("GFLOP of one sampling step, without guidance", denoiser.forward_gflop),
        ("memory to train on one clip, GB, counted", denoiser.training_bytes / GIGA),
    ]
    if coder is not None:
        rows += [
            ("parameters of the autoencoder, million", coder.parameters / 1e6),
            ("GFLOP to encode a clip", coder.encode_gflop),
            ("GFLOP to decode a clip", coder.decode_gflop),
        ]
    return html.table(rows)


# MERGED: What `train evaluate` left in a run's folder: scores of any protocol, and clips where kept.


SCORES, CLIPS = "scores.json", "generated.safetensors"


@dataclass(frozen=True)
class Shown:
    """Generated clips beside the real ones whose first frames and labels they were given.

    Attributes:
        origin: where they are from, for people.
        label: int64, shape (B,); -1 = none.
        real: uint8, shape (B, T, 3, H, W).
        generated: likewise.
        unrefined: generated, before the refining network, where one changed it.
        motion: int8, shape (B, T-1, 2 or 3, h, w), where vectors were generated.
        read_as: int64, shape (B,): the label that a classifier reads in each, where there is one.
    """

    origin: str
    label: NDArray[np.int64]
    real: NDArray[np.uint8]
    generated: NDArray[np.uint8]
    unrefined: NDArray[np.uint8] | None = None
    motion: NDArray[np.int8] | None = None
    read_as: NDArray[np.int64] | None = None


def read_scores(evaluation: Path) -> dict[str, dict[str, Any]]:
    """Every `scores.json` in and below a folder, by the folder it lies in relative to that one."""
    return {
        path.parent.relative_to(evaluation).as_posix(): json.loads(path.read_text())
        for path in sorted(evaluation.rglob(SCORES))
    }


def shown_clips(evaluation: Path, stage: Path) -> Shown | None:
    """Evaluated clips, else those of the newest checkpoint; None where there are neither."""
    for path in sorted(evaluation.rglob(CLIPS), key=lambda path: (len(path.parts), path)):
        if (shown := _evaluated(path)) is not None:
            return shown
    latest = read_latest(stage)
    return None if latest is None else _previewed(latest)


def _evaluated(path: Path) -> Shown | None:
    """Clips of an evaluation; None where it restored them, or kept no real ones beside them."""
    from safetensors.numpy import load_file

    scores = path.with_name(SCORES)
    protocol = json.loads(scores.read_text()).get("protocol") if scores.exists() else None
    if isinstance(protocol, dict) and protocol.get("reconstruct"):
        return None
    arrays = load_file(path)
    if not {"frames", "real", "label"} <= arrays.keys():
        return None
    unrefined = arrays.get("unrefined")
    if unrefined is not None and np.array_equal(unrefined, arrays["frames"]):
        unrefined = None
    return Shown(
        "the evaluation",
        arrays["label"],
        arrays["real"],
        arrays["frames"],
        unrefined,
        arrays.get("motion"),
        arrays.get("read_as"),
    )


def _previewed(latest: Preview) -> Shown:
    return Shown(
        f"the checkpoint of step {latest.step:,}",
        latest.label,
        latest.real,
        latest.generated,
        motion=latest.motion,
    )


_KNOWN = {
    "clips": "generated clips",
    "read_as_asked": "generated clips that the classifier reads as the text asked for",
    "classifier_accuracy_real": "the classifier's accuracy on real test clips",
    "psnr_generated": "PSNR of generated clips against the real ones, dB",
    "psnr_unrefined": "PSNR before the refining network, dB",
    "psnr_first_frame": "PSNR of the first frame repeated, dB",
    "motion_ratio": "change between frames, generated over real",
    "psnr_reconstruction": "PSNR of real test clips restored from exact targets, dB",
    "psnr_vectors_alone": "PSNR of the same from exact vectors alone, dB",
    "psnr_reconstruction_first_frame": "PSNR of the same by the first frame repeated, dB",
}
"""In words; all other names are shown as they stand in the file."""

_CURVE = 4
"""Lists of so many numbers or more are drawn."""


_PROTOCOL = {"protocol", "made", "distances", "frames", "scores", "first_frame_repeated"}
"""What every protocol of `train.evaluate.evaluate` writes."""


def scores_section(scores: dict[str, Any]) -> Html:
    """One file of scores: of `train evaluate` in words, of anything else as it stands."""
    if not scores.keys() >= _PROTOCOL:
        return score_tables(scores)
    short = {name: value for name, value in scores.items() if name in _KNOWN}
    protocol = scores["protocol"]
    fewer = " Fewer clips than the protocol's, by --count." if protocol["shrunk"] else ""
    return html.join(
        html.paragraph(
            f"Protocol {protocol['name']}, after {protocol['follows']}.{fewer}", soft=True
        ),
        score_tables(short),
        html.table(
            [(name, score_text(a), score_text(b)) for name, a, b in score_rows(scores)],
            head=("what", "score", "first frame repeated"),
        ),
        html.cards(_by_frame(scores), least_rem=20),
        html.fold("How: protocol, clips, hashes, hardware", html.facts(fact_rows(scores))),
    )


def _by_frame(scores: dict[str, Any]) -> Iterator[Html]:
    """Scores of each frame, beside those of the first frame repeated."""
    for name, unit in (("psnr_by_frame", "PSNR, dB"), ("ssim_by_frame", "SSIM")):
        found = [
            (words, scores[part].get(name))
            for words, part in (("scored", "scores"), ("repeated", "first_frame_repeated"))
        ]
        drawn = [Curve(words, np.arange(1, len(v) + 1), np.array(v, float))
                 for words, v in found if isinstance(v, list) and len(v) > 1]  # fmt: skip
        if drawn:
            yield curves(drawn, title=f"{unit.partition(',')[0]} by frame", x="frame", y=unit)


def score_tables(scores: dict[str, Any]) -> Html:
    """A table of numbers, what is not a number below it, lists as curves."""
    flat = dict(_flat(scores))
    numbers = {name: value for name, value in flat.items() if _is_number(value)}
    lists = {name: value for name, value in flat.items() if _is_curve(value)}
    others = [(_words(name), _shown(value)) for name, value in flat.items()
              if name not in numbers and name not in lists]  # fmt: skip
    rows: list[list[Cell]] = [[_words(name), value] for name, value in numbers.items()]
    drawn = [
        curves(
            [Curve(name, np.arange(1, len(values) + 1), np.array(values, float))],
            title=_words(name),
            x="frame" if "frame" in name else "index",
            y="",
        )
        for name, values in lists.items()
    ]
    return html.join(
        html.table(rows) if rows else "",
        html.cards(drawn, least_rem=20) if drawn else "",
        html.facts(others) if others else "",
    )


def _flat(scores: dict[str, Any], above: str = "") -> Iterator[tuple[str, Any]]:
    """Nested names joined with a dot."""
    for name, value in scores.items():
        if isinstance(value, dict):
            yield from _flat(value, f"{above}{name}.")
        else:
            yield f"{above}{name}", value


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _is_curve(value: Any) -> bool:
    return (
        isinstance(value, list)
        and len(value) >= _CURVE
        and all(_is_number(v) and math.isfinite(v) for v in value)
        and any(isinstance(v, float) for v in value)  # seeds and counts are no curves
    )


def _shown(value: Any) -> Cell:
    if isinstance(value, list):
        return ", ".join(map(str, value[:20])) + (f", … ({len(value)})" if len(value) > 20 else "")
    return value if value is None or isinstance(value, bool) else str(value)


def _words(name: str) -> str:
    return _KNOWN.get(name, name.replace("_", " ").replace(".", " · "))
