"""Real clips and what each space made of their first frames, one under the other, as one PNG."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from shared.pictures import Film, Picture, contact_sheet

_MARGIN, _HEADING = 92, 18
"""Pixels left of the frames, and above each clip's rows, for text."""

_INK, _PAPER = (40, 40, 40), (255, 255, 255)


@dataclass(frozen=True)
class Shown:
    """A test clip and what each row made of it: titles and films, uint8 (T, 3, H, W)."""

    heading: str
    films: list[tuple[str, Film]]


def comparison_picture(clips: Sequence[Shown], *, frames: Sequence[int]) -> Picture:
    """A block of rows for each clip.

    Args:
        clips: of the same rows.
        frames: which frames are shown.

    Returns:
        RGB, shape (height, width, 3).
    """
    return np.concatenate([_block(clip, list(frames)) for clip in clips])


def _block(clip: Shown, frames: list[int]) -> Picture:
    sheet = contact_sheet([film[frames] for _, film in clip.films])
    height, width = sheet.shape[:2]
    canvas = Image.new("RGB", (width + _MARGIN, height + _HEADING), _PAPER)
    canvas.paste(Image.fromarray(sheet), (_MARGIN, _HEADING))
    pen, font = ImageDraw.Draw(canvas), ImageFont.load_default(12)
    pen.text((_MARGIN, 2), clip.heading, fill=_INK, font=font)
    step = (height + 2) / len(clip.films)
    for place, (title, _) in enumerate(clip.films):
        pen.text((2, _HEADING + (place + 0.5) * step - 8), title, fill=_INK, font=font)
    return np.asarray(canvas)
