"""The page of an evaluation: scores, and real | generated | difference side by side."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from shared import html
from shared.html import Html
from shared.pictures import Film, animation, grey_residual
from train.evaluation.table import fact_rows, score_rows, shown

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
