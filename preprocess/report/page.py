"""What the page says of a store, in order."""

from __future__ import annotations

from typing import Any

import numpy as np

from preprocess.report.charts import (
    energy_chart,
    energy_map,
    prediction_chart,
    psnr,
    residual_chart,
    share,
    vector_chart,
)
from preprocess.report.command import command_of
from preprocess.report.findings import Findings
from preprocess.report.measure import Measured
from preprocess.report.sample import NO_LABEL
from preprocess.report.sheets import FRAME_PX
from preprocess.report.tables import (
    bytes_section,
    counts_section,
    options_section,
    rejects_section,
    splits_section,
)
from shared import html
from shared.html import Html

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
