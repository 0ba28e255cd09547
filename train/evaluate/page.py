"""Tables of an evaluation, as Markdown and as a page with real | generated | difference."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from shared.motion_statistics import STATISTICS
from shared.report.pages import render, table
from shared.report.pictures import Film, animation, grey_residual

MEANINGS = {
    "psnr": "PSNR, dB: mean over frames and clips",
    "psnr_over_clip": "PSNR, dB: of each clip's pooled error, mean over clips",
    "psnr_over_clip_with_given": "the same, the given frame counted",
    "ssim": "SSIM",
    "ssim_with_given": "SSIM, the given frame counted",
    "lpips": "LPIPS (AlexNet)",
    "lpips_with_given": "LPIPS (AlexNet), the given frame counted",
    "gesture_accuracy": "gesture accuracy: read by a classifier of ours as the text asked for",
    "gesture_accuracy_real": "… of real test clips",
    "subject_accuracy": "subject accuracy: matched to the right person's other real clips",
    "subject_accuracy_real": "… of real test clips",
    "subject_accuracy_chance": "… by chance",
    "frechet_gesture_features": "Fréchet distance in our gesture classifier's features (not FVD)",
    "frechet_subject_features": "Fréchet distance in our subject encoder's features (not FVD)",
    "warping_error": "warping error along block vectors, grey levels",
    "warping_error_real": "… of real test clips",
    "flicker": "flicker where the real clip is still, grey levels",
    "flicker_real": "… of real test clips",
    "motion_ratio": "change between frames, generated over real",
}
"""Names of the figures of summaries, in the order shown."""

_FRAME_WISE = tuple(name for name in MEANINGS if name.startswith(("psnr", "ssim", "lpips")))

_FACTS = ("command", "hardware", "device", "data_set", "split", "split_rule", "train_clips",
          "test_clips", "generated_clips", "first_frames", "real_windows",
          "real_windows_from_videos", "frames", "frame_stride", "frame_choice", "size", "seeds",
          "sampler", "run_hash", "judges_hash", "i3d_sha256", "real_windows_hash", "starts_hash",
          "store_plan_hash", "versions", "additions")  # fmt: skip
"""Entries of `made` in scores.json that tables show."""

_HEADINGS = ("what", "score", "first frame repeated")

FPS = 8
_GAP_PX = 2
_MAX_FILM_BYTES = 13_000_000
"""Size of all animations before they are written into the page, which adds a third."""

ScoreRow = tuple[str, Any, Any]


def score_rows(scores: dict[str, Any]) -> list[ScoreRow]:
    """List every figure: (name, value, the same of the first frame repeated or None).

    Args:
        scores: content of scores.json.
    """
    floor, frames, summary = (scores[k] for k in ("first_frame_repeated", "frames", "scores"))
    rows = _distance_rows(scores["distances"])
    rows += [(MEANINGS[name], frames[name], floor.get(name)) for name in _FRAME_WISE]
    if "psnr_vectors_alone" in scores and scores["protocol"]["reconstruct"]:
        for metric in ("psnr", "ssim"):
            last, of_floor = (side[f"{metric}_by_frame"][-1:] for side in (summary, floor))
            if last:
                rows.append((f"{metric.upper()} of the last frame", last[0], of_floor[0]))
        rows.append(("PSNR, dB: of exact vectors alone", scores["psnr_vectors_alone"], None))
    rows += [
        (meaning, summary[name], None if "_real" in name else floor[name])
        for name, meaning in MEANINGS.items()
        if name not in _FRAME_WISE
    ]
    rows += _motion_rows(summary, floor)
    for metric, found in scores.get("best_of", {}).items():
        rows += [
            (f"{metric}, {kind.replace('_', ' ')}, of {found['samples']} samples", value, None)
            for kind, value in found.items()
            if kind != "samples"
        ]
    return rows


def _motion_rows(summary: dict[str, Any], floor: dict[str, Any]) -> list[ScoreRow]:
    """Divergences of motion vectors, each with its bound; none in scores of earlier versions."""
    rows: list[ScoreRow] = []
    bounds, of_floor = summary.get("motion_vectors_real", {}), floor.get("motion_vectors", {})
    for name, value in summary.get("motion_vectors", {}).items():
        statistic = STATISTICS[name.rpartition("_")[0]]
        of_histograms = name.endswith("_js")
        kind = "Jensen-Shannon, bits" if of_histograms else f"Wasserstein, {statistic.unit}"
        rows.append((f"motion vectors, {statistic.meaning}: {kind}", value, of_floor.get(name)))
        rows.append(("… of real test clips from training clips", bounds[name], None))
    return rows


def _distance_rows(distances: dict[str, Any]) -> list[ScoreRow]:
    """FVD and its variants; means over groups with their deviation."""
    rows: list[ScoreRow] = []
    for name, value in distances.items():
        if name.endswith(("_spread", "_groups")):
            continue
        deviation = distances.get(f"{name}_spread")
        if deviation is not None:
            groups = distances[f"{name}_groups"]
            value = f"{score_text(value)} ± {score_text(deviation)} over {groups}"
        rows.append((name, value, None))
    return rows


def fact_rows(scores: dict[str, Any]) -> list[tuple[str, str]]:
    """List protocol and provenance: (name, value)."""
    protocol, made = scores["protocol"], scores["made"]
    count = f"{protocol['count']:,} × {protocol['samples']}"
    shrunk = "; FEWER than the protocol's, by --count" if protocol["shrunk"] else ""
    rows = [
        ("protocol", protocol["name"]),
        ("follows", protocol["follows"]),
        (
            f"clips {_verb(protocol)}",
            f"{count} asked for{shrunk}; {made['generated_clips']:,} made",
        ),
    ]
    if protocol["frame_clips"]:
        rows.append(("PSNR, SSIM, LPIPS", f"of the first {scores['frames']['clips']} clips"))
    rows.append(("first frame repeated", f"of the first {scores['first_frame_repeated']['clips']}"))
    return rows + [(name.replace("_", " "), _fact_text(made[name])) for name in _FACTS]


def score_text(value: Any) -> str:
    """Format a figure for tables."""
    if isinstance(value, float):
        return f"{value:.4g}" if abs(value) < 10 else f"{value:.2f}"
    return "" if value is None else str(value)


def markdown(scores: dict[str, Any]) -> str:
    """Write scores.md: figures, then protocol and provenance."""
    figures = [(name, score_text(a), score_text(b)) for name, a, b in score_rows(scores)]
    return "\n\n".join(
        [
            f"# Scores by the protocol `{scores['protocol']['name']}`",
            table(figures, _HEADINGS, kind="markdown"),
            "Without `given`: frames 1 and later alone, the given first frame not counted.",
            table(fact_rows(scores), ("how", ""), kind="markdown"),
            "",
        ]
    ).removesuffix("\n")


def evaluation_page(
    scores: dict[str, Any], shown: dict[str, Tensor], labels: tuple[str, ...]
) -> str:
    """Render the page of an evaluation, one self-contained file.

    Args:
        scores: content of scores.json.
        shown: content of generated.safetensors.
        labels: texts of the store.
    """
    return render(
        "train/evaluate/evaluation.html",
        protocol=scores["protocol"],
        made=scores["made"],
        verb=_verb(scores["protocol"]),
        rows=[(name, score_text(a), score_text(b)) for name, a, b in score_rows(scores)],
        clips=_page_clips({name: tensor.numpy() for name, tensor in shown.items()}, labels),
        facts=fact_rows(scores),
    )


def _page_clips(arrays: dict[str, NDArray[Any]], labels: tuple[str, ...]) -> list[dict[str, Any]]:
    """Animations with the label asked for and the classifier's verdict, while there is room."""
    clips: list[dict[str, Any]] = []
    room = _MAX_FILM_BYTES
    for k, (real, generated) in enumerate(zip(arrays["real"], arrays["frames"], strict=True)):
        film = animation(_side_by_side(real, generated), fps=FPS)
        room -= len(film)
        if room < 0 and clips:
            break
        label, read = (int(arrays[n][k]) if n in arrays else None for n in ("label", "read_as"))
        clip = {"film": film, "name": f"clip {arrays['clip'][k]}", "verdict": None, "good": False}
        if label is not None and label >= 0:
            clip["name"] = labels[label]
            if read is not None:
                clip["good"] = read == label
                clip["verdict"] = "✓" if read == label else f"read as {labels[read]}"
        clips.append(clip)
    return clips


def _side_by_side(real: Film, generated: Film) -> Film:
    difference = grey_residual(generated.astype(np.int16) - real.astype(np.int16))
    gap = np.full((*real.shape[:-1], _GAP_PX), 255, np.uint8)
    return np.concatenate([real, gap, generated, gap, difference], axis=-1)  # (T, 3, H, 3W + gaps)


def _verb(protocol: dict[str, Any]) -> str:
    return "restored" if protocol["reconstruct"] else "generated"


def _fact_text(value: Any) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{name} {_fact_text(inner)}" for name, inner in value.items())
    if isinstance(value, list):
        return ", ".join(map(str, value)) or "none"
    return str(value)
