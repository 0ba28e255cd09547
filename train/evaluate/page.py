"""The page of an evaluation: scores, and real | generated | difference side by side."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from shared.report import html
from shared.report.html import Html
from shared.report.pictures import Film, animation, grey_residual

# MERGED: scores.md: every number with its protocol, for people.


Rows = list[tuple[str, Any]]

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
"""Of the numbers of `train.evaluate.metrics.score.ClipScores` and of frames, in the order shown."""

_FRAMES = tuple(name for name in MEANINGS if name.startswith(("psnr", "ssim", "lpips")))

_MADE = ("command", "hardware", "device", "data_set", "split", "split_rule", "train_clips",
         "test_clips", "generated_clips", "first_frames", "real_windows",
         "real_windows_from_videos", "frames", "frame_stride", "frame_choice", "size", "seeds",
         "sampler", "run_hash", "judges_hash", "i3d_sha256", "real_windows_hash", "starts_hash",
         "store_plan_hash", "versions", "additions")  # fmt: skip


def score_rows(scores: dict[str, Any]) -> list[tuple[str, Any, Any]]:
    """(what, score, the same of the first frame repeated or None) of every number."""
    floor = scores["first_frame_repeated"]
    rows: list[tuple[str, Any, Any]] = [(n, v, None) for n, v in _joined(scores["distances"])]
    frames = scores["frames"]
    rows += [(MEANINGS[n], frames[n], floor.get(n)) for n in _FRAMES]
    rows += [
        (meaning, scores["scores"][name], None if "_real" in name else floor[name])
        for name, meaning in MEANINGS.items()
        if name not in _FRAMES
    ]
    for measure, found in scores.get("best_of", {}).items():
        rows += [
            (f"{measure}, {kind.replace('_', ' ')}, of {found['samples']} samples", value, None)
            for kind, value in found.items()
            if kind != "samples"
        ]
    return rows


def fact_rows(scores: dict[str, Any]) -> Rows:
    """Protocol and provenance, line by line."""
    protocol, made = scores["protocol"], scores["made"]
    count = f"{protocol['count']:,} × {protocol['samples']}"
    shrunk = "; FEWER than the protocol's, by --count" if protocol["shrunk"] else ""
    verb = "restored" if protocol["reconstruct"] else "generated"
    rows: Rows = [
        ("protocol", protocol["name"]),
        ("follows", protocol["follows"]),
        (f"clips {verb}", f"{count} asked for{shrunk}; {made['generated_clips']:,} made"),
    ]
    if protocol["frame_clips"]:
        rows.append(("PSNR, SSIM, LPIPS", f"of the first {scores['frames']['clips']} clips"))
    rows.append(("first frame repeated", f"of the first {scores['first_frame_repeated']['clips']}"))
    return rows + [(name.replace("_", " "), _plain(made[name])) for name in _MADE]


def score_table(scores: dict[str, Any]) -> str:
    """Markdown: the numbers, then what they are."""
    name = scores["protocol"]["name"]
    lines = [
        f"# Scores by the protocol `{name}`",
        "",
        "| what | score | first frame repeated |",
        "| --- | --- | --- |",
        *(
            f"| {what} | {shown(value)} | {shown(floor)} |"
            for what, value, floor in score_rows(scores)
        ),
        "",
        "Without `given`: frames 1 and later alone, the given first frame not counted.",
        "",
        "| how | |",
        "| --- | --- |",
        *(f"| {what} | {str(value).replace('|', '/')} |" for what, value in fact_rows(scores)),
        "",
    ]
    return "\n".join(lines)


def shown(value: Any) -> str:
    """A score as it stands in a table."""
    if isinstance(value, float):
        return f"{value:.4g}" if abs(value) < 10 else f"{value:.2f}"
    return "" if value is None else str(value)


def _joined(distances: dict[str, Any]) -> Rows:
    """Means with their spread."""
    rows: Rows = []
    for name, value in distances.items():
        if name.endswith(("_spread", "_groups")):
            continue
        spread = distances.get(f"{name}_spread")
        if spread is not None:
            value = f"{shown(value)} ± {shown(spread)} over {distances[f'{name}_groups']}"
        rows.append((name, value))
    return rows


def _plain(value: Any) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{name} {_plain(inner)}" for name, inner in value.items())
    if isinstance(value, list):
        return ", ".join(map(str, value)) or "none"
    return str(value)


_FPS = 8
_GAP_PX = 2
_MOST_BYTES = 13_000_000
"""Of all animations before they are written into the page, which adds a third."""


def evaluation_page(
    scores: dict[str, Any], kept: dict[str, Tensor], labels: tuple[str, ...]
) -> str:
    """One self-contained file.

    Args:
        scores: what scores.json holds.
        kept: what generated.safetensors holds.
        labels: texts of the store.
    """
    cards = _cards(kept, labels)
    protocol, made = scores["protocol"], scores["made"]
    verb = "restored" if protocol["reconstruct"] else "generated"
    fewer = " Fewer clips than the protocol's, by --count." if protocol["shrunk"] else ""
    return html.page(
        f"Scores: {protocol['name']}",
        html.section("Scores", *scores_shown(scores)),
        html.section(
            f"Real | {verb} | difference",
            html.paragraph(
                f"The first {len(cards)} of {made['generated_clips']:,} clips. Difference around"
                f" grey: {verb} minus real, in grey levels.",
                soft=True,
            ),
            html.cards(cards, least_rem=17),
        ),
        html.section("How", html.facts(fact_rows(scores))),
        html.commands([(made["command"], None)]),
        lead=f"Follows {protocol['follows']}.{fewer}",
    )


def scores_shown(scores: dict[str, Any]) -> list[Html]:
    """Numbers as a table, and below it why others are missing."""
    rows = score_rows(scores)
    numbers = [row for row in rows if not _missing(row[1])]
    reasons = [(what, str(value)) for what, value, _ in rows if _missing(value)]
    table = html.table(
        [(what, shown(value), shown(floor)) for what, value, floor in numbers],
        head=("what", "score", "first frame repeated"),
        caption="Frames 1 and later alone, but where the given frame is said to be counted.",
    )
    return [table, html.fold("Not computed, and why", html.facts(reasons))] if reasons else [table]


def _missing(value: object) -> bool:
    return isinstance(value, str) and value.startswith("not computed")


def _cards(kept: dict[str, Tensor], labels: tuple[str, ...]) -> list[Html]:
    """As many as a page has room for."""
    arrays = {name: tensor.numpy() for name, tensor in kept.items()}
    cards: list[Html] = []
    room = _MOST_BYTES
    for k, (real, generated) in enumerate(zip(arrays["real"], arrays["frames"], strict=True)):
        moving = animation(_side_by_side(real, generated), fps=_FPS)
        room -= len(moving)
        if room < 0 and cards:
            break
        words = _caption(k, arrays, labels)
        alt = "real, generated and difference"
        cards.append(html.join(html.image(moving, alt, enlarge=True), html.paragraph(words)))
    return cards


def _side_by_side(real: Film, generated: Film) -> Film:
    difference = grey_residual(generated.astype(np.int16) - real.astype(np.int16))
    gap = np.full((*real.shape[:-1], _GAP_PX), 255, np.uint8)
    return np.concatenate([real, gap, generated, gap, difference], axis=-1)


def _caption(k: int, arrays: dict[str, NDArray[Any]], labels: tuple[str, ...]) -> Html:
    label = int(arrays["label"][k])
    if label < 0:
        return html.text(f"clip {int(arrays['clip'][k])}")
    words = html.bold(labels[label])
    if "read_as" not in arrays:
        return words
    read = int(arrays["read_as"][k])
    good = read == label
    told = "✓" if good else f"read as {labels[read]}"
    return html.join(words, " ", html.verdict(told, good=good))
