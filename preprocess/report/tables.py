"""The parts of the page that are tables: compression, splits, counts, rejects, options."""

from __future__ import annotations

from typing import Any

import numpy as np

from preprocess.report.findings import Findings
from preprocess.summary import by_reason
from preprocess.videos import Reject
from shared import html
from shared.html import Cell, Html
from shared.schema import ARRAYS, LARGE, StoreAttributes

_SIDES = ("train", "test", "neither")
_ROWS_OPEN, _MOST_ROWS, _MOST_NAMES = 30, 1000, 40


def bytes_section(found: Findings) -> Html:
    """What each array takes, and what all of it would as raw RGB."""
    facts, options = found.facts, found.attributes.options
    valid, total = facts["valid_clips"], facts["bytes"]
    by_array = facts["bytes_by_array"]
    rows = [_bytes_row(found.attributes, name, by_array[name], valid, total) for name in LARGE]
    rest = total - sum(by_array[name] for name in LARGE)
    rows.append(
        [
            "all others",
            html.byte_count(rest),
            f"{100 * rest / total:.1f}%",
            None,
            None,
            round(rest / valid) if valid else None,
        ]
    )
    bits = 8 * total / max(1, valid * options.frames * options.size**2)
    return html.section(
        "Compression",
        html.table(rows, ("array", "on disk", "share", "uncompressed", "ratio", "bytes a clip")),
        html.paragraph(
            f"The store takes {html.byte_count(total)}; the same frames as raw RGB"
            f" {html.byte_count(facts['raw_rgb_bytes'])}, {facts['compression']:.2f} times as much"
            f" ({bits:.2f} bits a pixel here, 24 there). Nothing is lost."
        ),
    )


def _bytes_row(
    attributes: StoreAttributes, name: str, stored: int, valid: int, total: int
) -> list[Cell]:
    [spec] = [spec for spec in ARRAYS if spec.name == name]
    raw = attributes.clips * int(np.prod(spec.shape(attributes))) * np.dtype(spec.dtype).itemsize
    return [
        name,
        html.byte_count(stored),
        f"{100 * stored / total:.1f}%",
        html.byte_count(raw),
        raw / stored,
        round(stored / valid) if valid else None,
    ]


def splits_section(found: Findings) -> Html:
    """How many clips each protocol has on each side, and how it was made."""
    counts = found.facts["clips_by_split"]
    rows: list[list[Cell]] = [
        [
            name,
            sides["train"],
            sides["test"],
            sides["neither"],
            _made(found.attributes.splits[name]),
        ]
        for name, sides in counts.items()
    ]
    if not rows:
        return html.section("Splits", html.paragraph("None."))
    head = ("protocol", *_SIDES, "made by")
    return html.section(
        "Splits", html.paragraph("Clips on each side.", soft=True), html.table(rows, head)
    )


def _made(protocol: dict[str, Any]) -> str:
    return "; ".join(f"{key}: {_listed(value)}" for key, value in protocol.items())


def _listed(value: Any) -> str:
    if not isinstance(value, list | tuple):
        return str(value)
    names = ", ".join(map(str, value[:_MOST_NAMES]))
    return names + (f", … ({len(value)})" if len(value) > _MOST_NAMES else "")


def counts_section(found: Findings) -> Html | None:
    """How many clips each label and subject has, folded away."""
    tables = []
    for kind in ("label", "subject"):
        if counts := found.facts[f"clips_by_{kind}"]:
            rows = list(counts.items())
            shown = html.table(rows[:_MOST_ROWS], (kind, "clips"))
            if len(rows) > _MOST_ROWS:
                shown = html.join(
                    shown, html.paragraph(f"{len(rows) - _MOST_ROWS:,} more are not listed.")
                )
            tables.append(html.fold(f"{len(rows):,} {kind}s", shown))
    return html.section("Clips by label and subject", *tables) if tables else None


def rejects_section(found: Findings) -> Html:
    """Files that gave fewer clips than planned, by reason."""
    rejects = [Reject(**record) for record in found.facts["rejects"]]
    if not rejects:
        return html.section("Rejects", html.paragraph("None: every file gave all its clips."))
    rows = by_reason(rejects)
    cells: list[list[Cell]] = [
        [row.reason, row.files, row.kept, row.usable_frames or None, row.examples]
        for row in rows[:_ROWS_OPEN]
    ]
    more = f" {len(rows) - _ROWS_OPEN:,} more reasons are not listed." if rows[_ROWS_OPEN:] else ""
    return html.section(
        "Rejects",
        html.paragraph(
            f"{len(rejects):,} files were rejected or cut short.{more} All stand in"
            " rejected.jsonl in the store."
        ),
        html.table(cells, ("reason", "files", "clips kept", "usable frames", "for example")),
    )


def options_section(found: Findings) -> Html:
    """Every option that shaped the bytes."""
    attributes = found.attributes
    options = [(name, _option(value)) for name, value in attributes.options]
    return html.section(
        "Options",
        html.facts(
            [
                *options,
                ("colour", attributes.colour),
                ("manifest", attributes.manifest_hash),
                ("schema version", str(attributes.schema_version)),
                ("shards", f"{attributes.partitions:,} of {attributes.shard_clips:,} clips"),
            ]
        ),
    )


def _option(value: Any) -> str:
    return "none" if value is None else str(value)
