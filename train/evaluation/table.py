"""scores.md: every number with its protocol, for people."""

from __future__ import annotations

from typing import Any

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
"""Of the numbers of `train.metrics.score.ClipScores` and of frames, in the order shown."""

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
