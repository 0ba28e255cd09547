"""Texts of labels and subjects: how they are written, and which of them a user's text names."""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence

from shared.errors import UserError


def normalised(text: str) -> str:
    """Compose a text's characters (Unicode NFC) and remove blanks at its ends.

    File systems and keyboards write the same letters in different ways.
    """
    return unicodedata.normalize("NFC", text).strip()


def find_label(text: str, labels: Sequence[str]) -> int | None:
    """Index of the label that a text names; None if there is none.

    A label of the very same text comes first, then of the same normalised text, then without case.

    Raises:
        UserError: several labels are equally near.
    """

    def folded(text: str) -> str:
        return normalised(normalised(text).casefold())

    for form in (str, normalised, folded):
        near = [index for index, label in enumerate(labels) if form(label) == form(text)]
        if len(near) > 1:
            several = ", ".join(repr(labels[index]) for index in near)
            raise UserError(f"{text!r} may be any of the labels {several}; give one as it is there")
        if near:
            return near[0]
    return None
