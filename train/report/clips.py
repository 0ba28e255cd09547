"""The part of the page that shows generated clips beside real ones."""

from __future__ import annotations

from typing import Any

import numpy as np

from shared import html
from shared.html import Html
from train.report.pictures import Generated


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
