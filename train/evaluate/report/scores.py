"""Scores and clips that `train evaluate` left in a run's folder, as tables and arrays."""

from __future__ import annotations

import json
import math
from collections.abc import Collection, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from shared.report.charts import Curve, curves
from shared.report.pages import Cell, Html
from shared.schema import CodecOptions
from train.evaluate.cost import GIGA, run_cost
from train.evaluate.page import fact_rows, score_rows, score_text
from train.recipe import Recipe
from train.stages.previews import read_latest

SCORES, CLIPS = "scores.json", "generated.safetensors"

_NAMES = {
    "clips": "generated clips",
    "read_as_asked": "generated clips that the classifier reads as the text asked for",
    "classifier_accuracy_real": "the classifier's accuracy on real test clips",
    "psnr_generated": "PSNR of generated clips against the real ones, dB",
    "psnr_unrefined": "PSNR before the refining network, dB",
    "psnr_first_frame": "PSNR of the first frame repeated, dB",
    "motion_ratio": "change between frames, generated over real",
    "motion_explains": "share of what generated clips improve on the first frame that their motion"
    " alone does",
    "motion_explains_restored": "the same of real test clips restored from exact targets",
    "psnr_reconstruction": "PSNR of real test clips restored from exact targets, dB",
    "psnr_vectors_alone": "PSNR of the same from exact vectors alone, dB",
    "psnr_reconstruction_first_frame": "PSNR of the same by the first frame repeated, dB",
}
"""Words for names of scores; other names are shown as they are in the file."""

_MIN_CURVE = 4
"""Length from which a list of numbers is drawn."""

_PROTOCOL_KEYS = {"protocol", "made", "distances", "frames", "scores", "first_frame_repeated"}
"""Fields of every file that `train.evaluate.evaluate` writes."""


@dataclass(frozen=True)
class ShownClips:
    """Generated clips, and the real ones whose first frames and labels they were given.

    Attributes:
        origin: of the clips, in words.
        label: int64, shape (B,); -1 = none.
        real: uint8, shape (B, T, 3, H, W).
        generated: uint8, shape (B, T, 3, H, W).
        unrefined: generated clips before the refining network, if one changed them.
        moved: what generated motion alone makes of the first frames, if there is motion.
        parts: generated, by name, shape (B, T-1, ...).
        read_as: the label that a classifier reads in each, int64, shape (B,), if there is one.
    """

    origin: str
    label: NDArray[np.int64]
    real: NDArray[np.uint8]
    generated: NDArray[np.uint8]
    unrefined: NDArray[np.uint8] | None = None
    moved: NDArray[np.uint8] | None = None
    parts: dict[str, NDArray[Any]] = field(default_factory=dict)
    read_as: NDArray[np.int64] | None = None


@dataclass(frozen=True)
class ScoreTables:
    """One file of scores.

    Attributes:
        folder: of the file, relative to the evaluation's; "." for that folder itself.
        numbers: names and values.
        others: names and values that are no numbers.
        charts: curves of lists, and of scores by frame.
        protocol: fields of the protocol, if `train.evaluate.evaluate` wrote the file.
        rows: meaning, score, and score of the first frame repeated, of that protocol.
        facts: names and values of the protocol and its provenance.
        accuracy_real: the classifier's accuracy on real test clips, if given.
        motion_explains: see `train.evaluate.summary.motion_explains`, if given.
    """

    folder: str
    numbers: list[tuple[str, float]]
    others: list[tuple[str, Cell]]
    charts: list[Html]
    protocol: dict[str, Any] | None = None
    rows: list[tuple[str, str, str]] | None = None
    facts: list[tuple[str, Any]] | None = None
    accuracy_real: float | None = None
    motion_explains: float | None = None


def read_scores(evaluation: Path) -> list[ScoreTables]:
    """Tables of every `scores.json` in and below a folder."""
    return [
        score_tables(
            path.parent.relative_to(evaluation).as_posix(),
            json.loads(path.read_bytes()),
        )
        for path in sorted(evaluation.rglob(SCORES))
    ]


def score_tables(folder: str, scores: dict[str, Any]) -> ScoreTables:
    """Tables of one file of scores, of `train.evaluate.evaluate` or of any other program."""
    real = scores.get("classifier_accuracy_real")
    accuracy = real if isinstance(real, float) else None
    if not scores.keys() >= _PROTOCOL_KEYS:
        return ScoreTables(folder, *_flat_tables(scores), accuracy_real=accuracy)
    known = {name: value for name, value in scores.items() if name in _NAMES}
    numbers, others, charts = _flat_tables(known)
    return ScoreTables(
        folder,
        numbers,
        others,
        [*charts, *_charts_by_frame(scores)],
        scores["protocol"],
        [(name, score_text(score), score_text(floor)) for name, score, floor in score_rows(scores)],
        fact_rows(scores),
        accuracy,
        explained if _is_number(explained := scores.get("motion_explains")) else None,
    )


def _flat_tables(
    scores: dict[str, Any],
) -> tuple[list[tuple[str, float]], list[tuple[str, Cell]], list[Html]]:
    """Numbers, other values, and curves of lists."""
    numbers: list[tuple[str, float]] = []
    others: list[tuple[str, Cell]] = []
    charts = []
    for name, value in _flatten(scores):
        words = _NAMES.get(name, name.replace("_", " ").replace(".", " · "))
        if _is_number(value):
            numbers.append((words, value))
        elif _is_curve(value):
            curve = Curve(name, np.arange(1, len(value) + 1), np.array(value, float))
            charts.append(curves([curve], title=words, x="frame" if "frame" in name else "index",
                                 y=""))  # fmt: skip
        elif isinstance(value, list):
            more = f", … ({len(value)})" if len(value) > 20 else ""
            others.append((words, ", ".join(map(str, value[:20])) + more))
        else:
            others.append(
                (words, value if value is None or isinstance(value, bool) else str(value))
            )
    return numbers, others, charts


def _flatten(scores: dict[str, Any], above: str = "") -> Iterator[tuple[str, Any]]:
    """Values with nested names joined by dots."""
    for name, value in scores.items():
        if isinstance(value, dict):
            yield from _flatten(value, f"{above}{name}.")
        else:
            yield f"{above}{name}", value


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _is_curve(value: Any) -> bool:
    return (
        isinstance(value, list)
        and len(value) >= _MIN_CURVE
        and all(_is_number(v) and math.isfinite(v) for v in value)
        and any(isinstance(v, float) for v in value)  # lists of integers are seeds or counts
    )


def _charts_by_frame(scores: dict[str, Any]) -> list[Html]:
    """PSNR and SSIM by frame, of the clips and of the first frame repeated."""
    charts = []
    for name, unit in (("psnr_by_frame", "PSNR, dB"), ("ssim_by_frame", "SSIM")):
        found = {
            "scored": scores["scores"].get(name),
            "repeated": scores["first_frame_repeated"].get(name),
        }
        drawn = [Curve(words, np.arange(1, len(v) + 1), np.array(v, float))
                 for words, v in found.items() if isinstance(v, list) and len(v) > 1]  # fmt: skip
        if drawn:
            title = f"{unit.partition(',')[0]} by frame"
            charts.append(curves(drawn, title=title, x="frame", y=unit))
    return charts


def shown_clips(evaluation: Path, stage: Path, drawn: Collection[str]) -> ShownClips | None:
    """Clips of an evaluation, else those of the stage's newest checkpoint, else None.

    Args:
        evaluation: folder.
        stage: folder of the stage `diffusion`.
        drawn: names of the parts to read, where they were kept.
    """
    for path in sorted(evaluation.rglob(CLIPS), key=lambda path: (len(path.parts), path)):
        if (found := _evaluated(path, drawn)) is not None:
            return found
    latest = read_latest(stage)
    if latest is None:
        return None
    origin = f"the checkpoint of step {latest.step:,}"
    parts = _found(latest.parts, drawn)
    return ShownClips(origin, latest.label, latest.real, latest.generated, parts=parts)


def _evaluated(path: Path, drawn: Collection[str]) -> ShownClips | None:
    """Clips of an evaluation; None if it restored real ones, or kept no real ones."""
    from safetensors.numpy import load_file

    scores = path.with_name(SCORES)
    protocol = json.loads(scores.read_bytes()).get("protocol") if scores.exists() else None
    if isinstance(protocol, dict) and protocol.get("reconstruct"):
        return None
    arrays = load_file(path)
    if not {"frames", "real", "label"} <= arrays.keys():
        return None
    unrefined = arrays.get("unrefined")
    if unrefined is not None and np.array_equal(unrefined, arrays["frames"]):
        unrefined = None
    return ShownClips(
        "the evaluation",
        arrays["label"],
        arrays["real"],
        arrays["frames"],
        unrefined,
        arrays.get("moved"),
        _found(arrays, drawn),
        arrays.get("read_as"),
    )


def _found(arrays: dict[str, NDArray[Any]], names: Collection[str]) -> dict[str, NDArray[Any]]:
    return {name: arrays[name] for name in names if name in arrays}


def cost_rows(recipe: Recipe, store: CodecOptions) -> list[tuple[str, Cell]]:
    """Parameters, operations and memory, by the convention of `train.evaluate.cost`."""
    given, denoiser, coder = run_cost(recipe, torch.device("cpu"), store)
    rows: list[tuple[str, Cell]] = [
        ("shape of x₀, channels first", " × ".join(map(str, given.shapes.x0))),
        ("parameters of the denoiser, million", denoiser.parameters / 1e6),
        ("GFLOP of a training pass of one clip, forward and backward", denoiser.gflop),
        ("GFLOP of one sampling step, without guidance", denoiser.forward_gflop),
        ("memory to train on one clip, GB", denoiser.training_bytes / GIGA),
    ]
    if coder is not None:
        rows += [
            ("parameters of the autoencoder, million", coder.parameters / 1e6),
            ("GFLOP to encode a clip", coder.encode_gflop),
            ("GFLOP to decode a clip", coder.decode_gflop),
        ]
    return rows
