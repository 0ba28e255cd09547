"""The comparison as a markdown table that says what its numbers are."""

from __future__ import annotations

from typing import Any

_SHOWN = (
    "size", "frames", "stride", "block", "search_range", "vector_unit", "reference", "motion_cost",
    "zero_bias",
)  # fmt: skip
"""Options of the store that move these numbers."""

_HEAD = (
    "| code | numbers a cell | closed loop: PSNR mean / last | SSIM mean / last |"
    " open loop: PSNR mean / last | SSIM mean / last | made in | a frame, to and fro |\n"
    "| --- | --- | --- | --- | --- | --- | --- | --- |\n"
)


def codes_table(content: dict[str, Any]) -> str:
    """Markdown, from what `codes.json` holds."""
    rows = "".join(_row(name, row) for name, row in content["codes"].items())
    return "\n".join([*_protocol(content), "", _HEAD + rows])


def _row(name: str, row: dict[str, Any]) -> str:
    closed, opened = row["closed"], row["open"]
    cells = [
        name,
        row["latent_channels"],
        _pair(closed, "psnr", 2),
        _pair(closed, "ssim", 3),
        _pair(opened, "psnr", 2),
        _pair(opened, "ssim", 3),
        "–" if row["seconds"] is None else f"{row['seconds']:.0f} s",
        "–" if closed["milliseconds"] is None else f"{closed['milliseconds']:.1f} ms",
    ]
    return "| " + " | ".join(map(str, cells)) + " |\n"


def _pair(loss: dict[str, float | None], name: str, digits: int) -> str:
    values = loss[name], loss[f"{name}_last"]
    return " / ".join("–" if value is None else f"{value:.{digits}f}" for value in values)


def _protocol(content: dict[str, Any]) -> list[str]:
    protocol, store = content["protocol"], content["store"]
    options = ", ".join(f"{name} {store[name]}" for name in _SHOWN if name in store)
    grid = "x".join(map(str, protocol["grid"]))
    return [
        f"# Residual codes of equal latent size: {content['dataset']}",
        "",
        f"Store: {options}. Latents of a frame: {protocol['latent_channels']} x {grid}.",
        f"Split `{protocol['split']}`: {protocol['train_clips']} training clips,"
        f" {protocol['test_clips']} test clips that no code has seen. PSNR (dB) and SSIM of each"
        " frame, mean over frames 1 to T-1 and for the last one; exact vectors, latents as floats,"
        " decoded frames rounded to grey levels.",
        "Closed loop: each residual is against the decoded frame before; open loop: against the"
        " real one. Where every frame is predicted from the first, the two are the same.",
        "",
        f"Hardware: {content['hardware']}. Command: `{content['command']}`",
    ]
