"""Clips as pictures: contact sheets, vectors over frames, flow as colours, PNG, WebP and GIF.

Pillow and matplotlib come with the extras of `preprocess` and `train`; `shared` itself does not
need them.
"""

from __future__ import annotations

from collections.abc import Sequence
from io import BytesIO
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from shared.schema import CodecOptions

Picture = NDArray[np.uint8]
"""RGB, shape (H, W, 3)."""

Film = NDArray[np.uint8]
"""RGB frames as the store has them, shape (T, 3, H, W)."""

FPS = 8
"""Frame rate of animations on pages."""

FRAME_PX, ARROWS_PX = 128, 320
"""Largest side of frames on a page, and of frames with vectors drawn over them, pixels."""

_SHAFT_COLOUR, _HEAD_COLOUR = (220, 30, 30), (255, 220, 0)

_WHEEL_PX, _MARGIN_PX = 81, 14
"""Diameter of a legend's wheel, and the white around it, which holds marks and text."""

_LEGEND_INK = (40, 40, 40)

_LAST_FRAME_MS = 800
"""Hold of the last frame."""

_PALETTE_FRAMES = 32
"""Largest number of frames that the colours of a GIF are chosen from."""


def evenly_spaced(total: int, count: int) -> NDArray[np.int64]:
    """At most `count` rising positions from 0 to `total` - 1, the first and the last among them.

    A single one is the first.
    """
    return np.linspace(0, total - 1, min(total, count)).round().astype(np.int64)


def contact_sheet(films: Sequence[Film], *, every: int = 1, gap: int = 2) -> Picture:
    """A picture with one row a film and one column a frame, white gaps between them."""
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
    """Frames 1...T-1 enlarged, with an arrow from the predictor of each moved block to the block.

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


def vector_film(film: Film, motion: NDArray[np.int8], options: CodecOptions, count: int) -> Film:
    """Like `draw_vectors`, for `count` evenly spaced frames of a store's clip.

    Frames smaller than `ARROWS_PX` are enlarged by a whole factor, up to that size.
    """
    picked = evenly_spaced(options.frames - 1, count)
    return draw_vectors(
        np.concatenate([film[:1], film[1:][picked]]),
        motion[picked],
        block=options.block,
        vector_unit=options.vector_unit,
        factor=max(1, ARROWS_PX // max(options.size)),
    )


def longest_vector(flow: NDArray[Any]) -> float:
    """The largest length in a flow, shape (..., 2, h, w)."""
    return float(np.hypot(*np.moveaxis(flow, -3, 0)).max())


def flow_colours(flow: NDArray[Any], longest: float) -> NDArray[np.uint8]:
    """Flow as colours: hue is direction, saturation is length, white is no motion.

    From red, right, by way of yellow-green, down, and cyan, left, to violet, up: the order of Baker
    et al., "A Database and Evaluation Methodology for Optical Flow" (IJCV 2011), in even hues.

    Args:
        flow: x to the right and y down, pixels, shape (..., 2, h, w).
        longest: length that is drawn in full saturation, as longer ones are.

    Returns:
        RGB, shape (..., 3, h, w).
    """
    from matplotlib.colors import hsv_to_rgb

    x, y = np.moveaxis(flow.astype(np.float64), -3, 0)
    hue = np.arctan2(y, x) / (2 * np.pi) % 1
    saturation = np.minimum(np.hypot(x, y) / longest, 1) if longest else np.zeros_like(x)
    colours = hsv_to_rgb(np.stack([hue, saturation, np.ones_like(x)], axis=-1))  # (..., h, w, 3)
    return np.moveaxis((255 * colours).round().astype(np.uint8), -1, -3)


def flow_legend(longest: float) -> Picture:
    """The wheel of `flow_colours`: each place has the colour of a vector from the centre to it.

    Marks around it point right, down, left and up; the text below is the length of a vector to the
    edge, `longest`, in pixels.
    """
    radius = _WHEEL_PX // 2
    middle = radius + _MARGIN_PX
    y, x = np.indices((2 * middle + 1 + _MARGIN_PX, 2 * middle + 1)) - middle
    colours = flow_colours(np.stack([x, y]), radius)  # (3, H, W)
    wheel = np.where(np.hypot(x, y) < radius + 0.5, colours, np.uint8(255))
    image = Image.fromarray(wheel.transpose(1, 2, 0))
    canvas = ImageDraw.Draw(image)
    for turn in range(4):
        out = np.array([np.cos(turn * np.pi / 2), np.sin(turn * np.pi / 2)])
        base, across = middle + (radius + 3) * out, 4 * out[::-1]
        corners = (base + across, base - across, base + 7 * out)
        canvas.polygon([tuple(corner) for corner in corners], fill=_LEGEND_INK)
    text = f"{longest:.3g} px"
    canvas.text((middle, image.height - 2), text, fill=_LEGEND_INK, font_size=13, anchor="md")
    return np.asarray(image)


def grey_levels(maps: NDArray[np.floating]) -> NDArray[np.uint8]:
    """Maps in [0, 1], shape (..., 1, h, w), from black to white, as RGB, shape (..., 3, h, w)."""
    return (255 * maps).round().astype(np.uint8).repeat(3, axis=-3)


def draw_cells(
    maps: NDArray[np.floating], drawing: Literal["colours", "greys"]
) -> tuple[NDArray[np.uint8], Picture | None]:
    """Flow as colours in which its longest vector is saturated, or maps as greys.

    Args:
        maps: as for `flow_colours` or `grey_levels`.
        drawing: one of the two.

    Returns:
        RGB, shape (..., 3, h, w), and the legend that colours need.
    """
    if drawing == "greys":
        return grey_levels(maps), None
    longest = longest_vector(maps)
    return flow_colours(maps, longest), flow_legend(longest)


def over_frames(cells: NDArray[np.uint8], height: int, width: int) -> NDArray[np.uint8]:
    """Pictures of cells, shape (..., h, w), as large as the frames that the cells cover.

    Cells have a whole number of pixels; those of the last row and column may reach beyond.
    """
    rows, columns = cells.shape[-2:]
    return enlarge(cells, max(-(-height // rows), -(-width // columns)))[..., :height, :width]


def add_legend(picture: Picture, legend: Picture) -> Picture:
    """A legend to the right of a picture, white below the shorter one."""
    height = max(len(picture), len(legend))
    sides = [
        np.pad(side, ((0, height - len(side)), (0, 0), (0, 0)), constant_values=255)
        for side in (picture, legend)
    ]
    return np.concatenate(sides, axis=1)


def sheet(films: Sequence[Film], most_px: int = FRAME_PX) -> bytes:
    """A contact sheet as WebP, of frames shrunk to at most `most_px` pixels a side."""
    return webp(contact_sheet([shrink(film, most_px) for film in films]))


def png(picture: Picture) -> bytes:
    """A PNG file."""
    return _encoded([Image.fromarray(picture)], "PNG", optimize=True)


def webp(picture: Picture) -> bytes:
    """A WebP file with invisible loss; for photographs it has a tenth of the size of a PNG."""
    return _encoded([Image.fromarray(picture)], "WEBP", quality=88)


def shrink(film: Film, most_px: int) -> Film:
    """Frames scaled down to at most `most_px` pixels a side; smaller ones are returned as given."""
    height, width = film.shape[-2:]
    scale = most_px / max(height, width)
    if scale >= 1:
        return film
    size = max(1, round(width * scale)), max(1, round(height * scale))
    images = [image.resize(size, Image.Resampling.BOX) for image in _images(film)]
    return np.stack([np.asarray(image).transpose(2, 0, 1) for image in images])


def fitted(film: Film, most_px: int) -> Film:
    """Frames enlarged by a whole factor, or scaled down, to at most `most_px` pixels a side."""
    return shrink(enlarge(film, max(1, most_px // max(film.shape[-2:]))), most_px)


def animation(film: Film, *, fps: float = FPS, lossless: bool = True) -> bytes:
    """An animated WebP that loops for ever, with a pause on its last frame."""
    durations = [round(1000 / fps)] * (len(film) - 1) + [_LAST_FRAME_MS]
    # In lossless mode, quality is the effort spent on a small file.
    return _encoded(
        _images(film), "WEBP", duration=durations, loop=0, lossless=lossless, quality=80
    )


def gif(film: Film, *, fps: float, colours: Picture | None = None) -> bytes:
    """A GIF that loops for ever, with 256 colours for all frames and without dithering.

    A palette or a dither pattern for each frame would flicker. GIF counts hundredths of a second,
    and players slow down films of more than 50 frames a second.

    Args:
        film: to be shown.
        fps: frame rate.
        colours: picture that the palette is chosen from; None: the film.
    """
    if colours is None:
        colours = contact_sheet([film], every=-(-len(film) // _PALETTE_FRAMES), gap=0)
    palette = Image.fromarray(colours).quantize(256)
    flat = [image.quantize(palette=palette, dither=Image.Dither.NONE) for image in _images(film)]
    return _encoded(flat, "GIF", duration=max(20, round(1000 / fps)), loop=0)


def _images(film: Film) -> list[Image.Image]:
    return [Image.fromarray(np.ascontiguousarray(frame.transpose(1, 2, 0))) for frame in film]


def _encoded(images: list[Image.Image], kind: str, **options: Any) -> bytes:
    """A file of one picture, or of several as an animation."""
    more: dict[str, Any] = {"save_all": True, "append_images": images[1:]} if images[1:] else {}
    file = BytesIO()
    images[0].save(file, kind, **more, **options)
    return file.getvalue()


def _draw_field(frame: Film, field: NDArray[np.floating], block: int, width: int) -> Film:
    """Draw arrows over a frame (3, H, W); field, block and line width are in its pixels."""
    image = Image.fromarray(np.ascontiguousarray(frame.transpose(1, 2, 0)))
    canvas = ImageDraw.Draw(image)
    for y, x in np.argwhere(field.any(axis=0)):
        centre = np.array([x + 0.5, y + 0.5]) * block
        vector = field[:, y, x]
        canvas.line([*(centre + vector), *centre], fill=_SHAFT_COLOUR, width=width)
        # A head no longer than the arrow lets short vectors show their direction.
        length = float(np.hypot(*vector))
        along = vector / length * min(length, 3.0 * width + 2)
        across = np.array([-along[1], along[0]]) / 2
        corners = [centre, centre + along + across, centre + along - across]
        canvas.polygon([tuple(corner) for corner in corners], fill=_HEAD_COLOUR)
    return np.asarray(image).transpose(2, 0, 1)
