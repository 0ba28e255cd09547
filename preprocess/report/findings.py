"""What the page is made from."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from preprocess.report.measure import Measured
from preprocess.report.sheets import Sheets
from shared.schema import StoreAttributes


@dataclass(frozen=True)
class Findings:
    """Everything the page says.

    Attributes:
        facts: from `preprocess.summary.describe`.
        attributes: of the store.
        videos: that gave clips.
        measured: statistics of a sample of clips.
        seed: of that sample.
        sheets: pictures of labels.
        motion: pictures of vectors and residuals, with where each clip is from.
    """

    facts: dict[str, Any]
    attributes: StoreAttributes
    videos: int
    measured: Measured
    seed: int
    sheets: Sheets
    motion: list[tuple[str, bytes]]
