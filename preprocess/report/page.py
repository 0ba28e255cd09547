"""Read a sample of a store's clips once, measure and draw them, and put the page together."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from preprocess.records import Reject
from preprocess.report.command import command_of
from preprocess.report.measure import (
    NO_LABEL,
    SHARE_EDGES,
    Measured,
    Sample,
    draw_sample,
    read_clip,
)
from preprocess.report.sheets import (
    FRAME_PX,
    MOTION_CLIPS,
    Findings,
    draw_motion,
    draw_sheets,
    mean_length_px,
    most_moving,
)
from preprocess.summary import by_reason, describe
from shared.console import Progress
from shared.report import html
from shared.report.charts import Curve, curves, heat_map, histogram
from shared.report.html import Cell, Html, write_page
from shared.schema import ARRAYS, LARGE, StoreAttributes
from shared.store.paths import Location
from shared.store.store import Store

# MERGED: What was measured, drawn.


_PEAK = 255.0


def vector_chart(measured: Measured) -> Html:
    """How often each vector component occurs."""
    unit = measured.options.vector_unit
    counts, lowest = _trimmed(measured.vectors)
    edges = (np.arange(counts.shape[1] + 1) + lowest - 0.5) / unit
    return histogram(
        edges,
        {"x, to the right": counts[0], "y, down": counts[1]},
        title="Vectors",
        x="component, pixels",
        y="blocks",
        log=True,
    )


def residual_chart(measured: Measured) -> Html:
    """How often each residual value occurs."""
    counts, lowest = _trimmed(measured.residuals[None])
    edges = np.arange(counts.shape[1] + 1) + lowest - 0.5
    return histogram(
        edges, {"": counts[0]}, title="Residuals", x="grey levels", y="values", log=True
    )


def energy_map(measured: Measured) -> Html:
    """Where in the picture vectors explain the change, and where they do not."""
    left = 100 * share(measured.after, measured.before)
    return heat_map(left, title="Energy left, by block", label="% of the change's energy")


def energy_chart(measured: Measured) -> Html:
    """Blocks that change and moved, by the share of their energy that their vectors leave."""
    return histogram(
        100 * SHARE_EDGES,
        {"": measured.block_shares},
        title="Energy left in blocks that moved",
        x="% of the change's energy",
        y="blocks",
    )


def prediction_chart(measured: Measured) -> Html:
    """PSNR by frame: from vectors alone, and of the reference frame repeated."""
    frames = np.arange(1, measured.options.frames)
    numbers = 3 * measured.pixels
    drawn = [
        Curve("vectors alone", frames, psnr(measured.frame_after / numbers)),
        Curve("reference repeated", frames, psnr(measured.frame_before / numbers)),
    ]
    return curves(drawn, title="Prediction, by frame", x="frame", y="PSNR, dB")


def psnr(error: NDArray[np.float64]) -> NDArray[np.float64]:
    """dB from mean squared errors in grey levels; NaN where there is none."""
    there = error > 0
    return np.where(there, 10 * np.log10(_PEAK**2 / np.where(there, error, 1)), np.nan)


def share(part: NDArray[np.float64], whole: NDArray[np.float64]) -> NDArray[np.float64]:
    """part / whole; NaN where there is nothing to share."""
    return np.where(whole > 0, part / np.where(whole > 0, whole, 1), np.nan)


def _trimmed(counts: NDArray[np.int64]) -> tuple[NDArray[np.int64], int]:
    """Histograms around 0 without the empty bins at both ends, and the value of the first one."""
    zero = counts.shape[1] // 2
    used = np.flatnonzero(counts.any(axis=0)) - zero
    reach = int(abs(used).max()) if used.size else 0
    reach = min(max(reach, 1), counts.shape[1] - 1 - zero)
    return counts[:, zero - reach : zero + reach + 1], -reach


# MERGED: The parts of the page that are tables: compression, splits, counts, rejects, options.


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


# MERGED: What the page says of a store, in order.


_SOURCES = {"video": "video files", "images": "folders of images", "bair": "records"}
_REFERENCES = {
    "first": "frame 0",
    "previous": "the frame before",
    "either": "the frame before or frame 0, whichever the block has chosen",
}


def render_page(found: Findings) -> str:
    """The page as HTML."""
    line, remark = command_of(found.attributes, found.facts["store"])
    sections = [
        _contents(found),
        _clips(found),
        _motion(found),
        _energy(found),
        bytes_section(found),
        splits_section(found),
        counts_section(found),
        rejects_section(found),
        options_section(found),
        html.commands([(line, None)], remark),
    ]
    lead = html.join(
        "Clips of ", html.bold(found.attributes.dataset), " as first frames, motion vectors and ",
        "residuals, which together give every frame back bit for bit.",
    )  # fmt: skip
    return html.page(f"The store {found.attributes.dataset}", *filter(None, sections), lead=lead)


def _contents(found: Findings) -> Html:
    facts, options = found.facts, found.attributes.options
    invalid = facts["clips"] - facts["valid_clips"]
    grid = " × ".join(map(str, options.grid))
    rows = [
        ("store", html.code(facts["store"])),
        ("clips", f"{facts['valid_clips']:,}" + (f", and {invalid:,} that failed" * bool(invalid))),
        ("from", f"{found.videos:,} {_SOURCES[found.attributes.source]}"),
        ("frames", f"{options.frames} a clip, {options.size} × {options.size}, RGB"),
        ("vectors", f"one a block of {options.block} × {options.block}: {grid} a frame"),
        ("labels", len(found.attributes.labels) or "none"),
        ("subjects", len(found.attributes.subjects) or "none"),
        ("on disk", html.byte_count(facts["bytes"])),
        ("as raw RGB", _raw(facts)),
    ]
    return html.section("What is in it", html.facts(rows))


def _raw(facts: dict[str, Any]) -> str:
    return f"{html.byte_count(facts['raw_rgb_bytes'])}, {facts['compression']:.2f} × the store"


def _clips(found: Findings) -> Html | None:
    sheets = found.sheets
    if not sheets.by_label:
        return None
    told = [f"Drawn at random, seed {found.seed}: one row a clip, evenly spread frames of it."]
    if sheets.labels > 1:
        told.append("The clips of a label are of different subjects if possible.")
    if found.attributes.options.size > FRAME_PX:
        told.append(f"Frames are shown at {FRAME_PX} × {FRAME_PX}.")
    if sheets.left_out:
        told.append(f"{sheets.left_out:,} more labels are not shown, so that the page stays small.")
    pictures = {
        label: html.image(data, f"clips of {label}", enlarge=True)
        for label, data in sheets.by_label.items()
    }
    if sheets.labels == 1:
        [only] = pictures.values()
        shown = html.figure(only, wide=True)
    else:
        counts = found.facts["clips_by_label"]
        shown = html.cards(
            (
                html.join(picture, html.paragraph(_label_line(label, counts)))
                for label, picture in pictures.items()
            ),
            least_rem=20,
        )
    return html.section("Clips", html.paragraph(" ".join(told), soft=True), shown)


def _label_line(label: str, counts: dict[str, int]) -> Html:
    count = counts.get("(none)" if label == NO_LABEL else label)
    return html.join(html.bold(label), "" if count is None else f", {count:,} clips")


def _motion(found: Findings) -> Html | None:
    measured, options = found.measured, found.attributes.options
    if not measured.clips:
        return None
    reference = _REFERENCES[options.reference]
    pictures = [
        html.figure(html.image(data, f"vectors and residuals of {clip}"), clip, wide=True)
        for clip, data in found.motion
    ]
    return html.section(
        "Motion and residual",
        html.paragraph(
            "Each arrow ends at a block that moved and begins where its pixels come from"
            f" in {reference}. Below it, what the vectors leave, around grey. The clips with the"
            " longest vectors of those measured, one a video."
        ),
        *pictures,
        html.paragraph(
            f"{_of(found)}: {100 * measured.moving / measured.blocks:.1f}% of the vectors are not"
            f" zero; {100 * _zeros(measured):.1f}% of the residual values are.{_chosen(measured)}"
        ),
        html.cards([vector_chart(measured), residual_chart(measured)], least_rem=20),
    )


def _chosen(measured: Measured) -> str:
    if measured.options.reference != "either":
        return ""
    return f" {100 * measured.from_first / measured.blocks:.1f}% of the blocks chose frame 0."


def _zeros(measured: Measured) -> float:
    return float(measured.residuals[len(measured.residuals) // 2] / measured.residuals.sum())


def _of(found: Findings) -> str:
    """On how many clips a figure rests."""
    clips, valid = found.measured.clips, found.facts["valid_clips"]
    if clips == valid:
        return "Over all clips"
    return f"Over {clips:,} of the {valid:,} clips, drawn with seed {found.seed}"


def _repeated(found: Findings) -> str:
    """What a zero vector repeats."""
    return "frame 0" if found.attributes.options.reference == "first" else "the frame before"


def _energy(found: Findings) -> Html:
    measured = found.measured
    heading = "Energy left by block"
    before, after = measured.before.sum(), measured.after.sum()
    if not before:
        told = f"{_of(found)}: no frame differs from its reference."
        return html.section(heading, html.paragraph(told))
    numbers = 3.0 * measured.pixels * (found.attributes.options.frames - 1)
    repeated, predicted = psnr(np.array([before, after]) / numbers)
    moved = int(measured.block_shares.sum())
    return html.section(
        heading,
        html.paragraph(
            f"{_of(found)}: of the squared difference to {_repeated(found)}, the vectors leave"
            f" {100 * float(share(after, before)):.1f}%. From vectors alone, frames would have"
            f" {predicted:.2f} dB; with that frame repeated they have {repeated:.2f} dB."
        ),
        html.paragraph(
            f"Of {measured.blocks:,} blocks {measured.still:,} do not change (mean squared"
            f" difference at most 1), {measured.unmoved:,} change under a zero vector, which leaves"
            f" all of it, and {moved:,} have another vector: their energy is in the second chart,"
            " whose last bar holds all above it.",
            soft=True,
        ),
        html.cards(
            [energy_map(measured), energy_chart(measured), prediction_chart(measured)], least_rem=20
        ),
    )


@dataclass(frozen=True)
class Written:
    """What was made: for the summary."""

    page: Location
    measured: int
    clips: int
    labels_left_out: int
    bytes: int


def build_report(
    path: Location, out: Location, count: int, seed: int, progress: Progress
) -> Written:
    """Write one self-contained page on a store.

    Args:
        path: a sealed store.
        out: the HTML file.
        count: clips to measure; all where the store has fewer.
        seed: of the clips that are drawn.
        progress: shows how far it is.

    Raises:
        StoreError: the store is not there, not sealed, or has lost files.
    """
    store = Store(path)
    options = store.options
    label, subject = store.column("label"), store.column("subject")
    sample = draw_sample(label, subject, store.attributes.labels, count, seed)
    measured, lengths = _measure(store, sample, progress)
    videos, starts = store.column("video").tolist(), store.column("start_frame")
    moving = most_moving(lengths, sample.measured, videos, MOTION_CLIPS)
    with progress.bar("Drawing", sum(map(len, sample.shown.values())), "clips") as bar:
        sheets = draw_sheets(store, sample, bar)
    page = render_page(
        Findings(
            facts=describe(path),
            attributes=store.attributes,
            videos=len(set(videos)),
            measured=measured,
            seed=seed,
            sheets=sheets,
            motion=[
                (f"{videos[i]}, from frame {starts[i]}", draw_motion(read_clip(store, i), options))
                for i in moving.tolist()
            ],
        )
    )
    write_page(out, page)
    return Written(out, measured.clips, len(store), sheets.left_out, len(page.encode()))


def _measure(
    store: Store, sample: Sample, progress: Progress
) -> tuple[Measured, NDArray[np.float64]]:
    """Statistics of the sample, and the mean vector length of each of its clips, pixels."""
    measured, lengths = Measured(store.options), []
    with progress.bar("Measuring", len(sample.measured), "clips") as bar:
        for index in sample.measured.tolist():
            clip = read_clip(store, index)
            measured.add(clip)
            lengths.append(mean_length_px(clip.motion, store.options.vector_unit))
            bar()
    return measured, np.array(lengths)
