"""Clips as pictures: contact sheets, vectors drawn over frames, PNG, animated WebP and GIF.

Pillow is in the extras of both sides, not among what `shared` itself needs.
"""

from __future__ import annotations

from collections.abc import Sequence
from io import BytesIO
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

# MERGED: Some of many, evenly: what is shown or looked at where all would be too much.


def evenly(total: int, most: int) -> NDArray[np.int64]:
    """Positions from 0 to `total` - 1, rising, at most so many; the first and the last are there.

    A single one is the first.
    """
    return np.linspace(0, total - 1, min(total, most)).round().astype(np.int64)


Picture = NDArray[np.uint8]
"""RGB, shape (H, W, 3)."""

Film = NDArray[np.uint8]
"""RGB frames as the store has them, shape (T, 3, H, W)."""

_SHAFT, _HEAD = (220, 30, 30), (255, 220, 0)
"""Colours of an arrow."""

_REST_MS = 800
"""So long an animation shows its last frame."""

_PALETTE_FRAMES = 32
"""A GIF's colours are chosen by so many of its frames at most."""


def contact_sheet(films: Sequence[Film], *, every: int = 1, gap: int = 2) -> Picture:
    """One row a film, one column a frame, white gaps between."""
    rows = [[frame.transpose(1, 2, 0) for frame in film[::every]] for film in films]
    height, width = rows[0][0].shape[:2]
    columns = max(len(row) for row in rows)
    sheet = np.full(
        (len(rows) * (height + gap) - gap, columns * (width + gap) - gap, 3), 255, np.uint8
    )
    for y, row in enumerate(rows):
        for x, frame in enumerate(row):
            top, left = y * (height + gap), x * (width + gap)
            sheet[top : top + height, left : left + width] = frame
    return sheet


def enlarge(film: Film, factor: int) -> Film:
    """Repeat every pixel `factor` times both ways."""
    return film.repeat(factor, axis=-2).repeat(factor, axis=-1)


def grey_residual(residual: NDArray[np.int16]) -> Film:
    """Residuals (T, 3, H, W) around mid-grey, contrast doubled."""
    return (128 + residual.astype(np.int32)).clip(0, 255).astype(np.uint8)


def draw_vectors(
    film: Film, motion: NDArray[np.int8], *, block: int, vector_unit: int, factor: int = 4
) -> Film:
    """Frames 1...T-1 enlarged, with an arrow to each block that moved from where it came from.

    Args:
        film: the clip, shape (T, 3, H, W).
        motion: vectors from block to predictor in units of 1/vector_unit pixel, shape
            (T-1, 2, h, w), or (T-1, 3, h, w) with a reference index, which is not drawn.
        block: block size, pixels.
        vector_unit: u.
        factor: enlargement.

    Returns:
        Shape (T-1, 3, H * factor, W * factor).
    """
    drawn = [
        _draw_field(frame, field[:2] * (factor / vector_unit), block * factor, max(1, factor // 3))
        for frame, field in zip(enlarge(film[1:], factor), motion, strict=True)
    ]
    return np.stack(drawn)


def png(picture: Picture) -> bytes:
    """A PNG file."""
    return _encoded([Image.fromarray(picture)], "PNG", optimize=True)


def webp(picture: Picture) -> bytes:
    """A WebP file with a loss that the eye does not see: a tenth of a PNG where frames are real."""
    return _encoded([Image.fromarray(picture)], "WEBP", quality=88)


def shrink(film: Film, most_px: int) -> Film:
    """Frames no higher and no wider than so many pixels; smaller ones stay as they are."""
    height, width = film.shape[-2:]
    scale = most_px / max(height, width)
    if scale >= 1:
        return film
    size = max(1, round(width * scale)), max(1, round(height * scale))
    images = [image.resize(size, Image.Resampling.BOX) for image in _images(film)]
    return np.stack([np.asarray(image).transpose(2, 0, 1) for image in images])


def animation(film: Film, *, fps: float, lossless: bool = True) -> bytes:
    """An animated WebP that repeats for ever and rests on its last frame."""
    durations = [round(1000 / fps)] * (len(film) - 1) + [_REST_MS]
    # Of a lossless file, quality is the effort spent on making it small.
    return _encoded(
        _images(film), "WEBP", duration=durations, loop=0, lossless=lossless, quality=80
    )


def gif(film: Film, *, fps: float) -> bytes:
    """A GIF that repeats for ever: 256 colours, the same for all frames, not dithered.

    A palette or a pattern of dots of each frame's own would flicker. GIF counts hundredths of a
    second, and players slow down what is faster than 50 frames a second.
    """
    sheet = contact_sheet([film], every=-(-len(film) // _PALETTE_FRAMES), gap=0)
    palette = Image.fromarray(sheet).quantize(256)
    flat = [image.quantize(palette=palette, dither=Image.Dither.NONE) for image in _images(film)]
    return _encoded(flat, "GIF", duration=max(20, round(1000 / fps)), loop=0)


def _images(film: Film) -> list[Image.Image]:
    return [Image.fromarray(np.ascontiguousarray(frame.transpose(1, 2, 0))) for frame in film]


def _encoded(images: list[Image.Image], kind: str, **options: Any) -> bytes:
    """One picture, or all of them as an animation where there are several."""
    more: dict[str, Any] = {"save_all": True, "append_images": images[1:]} if images[1:] else {}
    file = BytesIO()
    images[0].save(file, kind, **more, **options)
    return file.getvalue()


def _draw_field(frame: Film, field: NDArray[np.floating], block: int, width: int) -> Film:
    """Arrows over one frame (3, H, W): field, block and line width in its own pixels."""
    image = Image.fromarray(np.ascontiguousarray(frame.transpose(1, 2, 0)))
    canvas = ImageDraw.Draw(image)
    for y, x in np.argwhere(field.any(axis=0)):
        here = np.array([x + 0.5, y + 0.5]) * block
        away = field[:, y, x]
        canvas.line([*(here + away), *here], fill=_SHAFT, width=width)
        # The head is no longer than the arrow, so that short vectors still show their direction.
        length = float(np.hypot(*away))
        along = away / length * min(length, 3.0 * width + 2)
        across = np.array([-along[1], along[0]]) / 2
        corners = [here, here + along + across, here + along - across]
        canvas.polygon([tuple(corner) for corner in corners], fill=_HEAD)
    return np.asarray(image).transpose(2, 0, 1)
