"""A supersampled Pillow picture addressed in frame units: (0, 0) top left, (1, 1) bottom right.

Instead of colours it can show depth: each shape in the grey of its layer, the nearer the brighter.
"""

from collections.abc import Sequence
from typing import Self

import numpy as np
from PIL import Image, ImageDraw

from preprocess.datasets.gestures.subject import Colour

Point = tuple[float, float]


BACKDROP, BODY, HEAD, ARM, HAND = 0, 96, 144, 200, 255
"""Layers in the order in which they are drawn, as grey levels."""


class Canvas:
    """Draws discs, tapered capsules and polygons on a picture with a margin around the frame.

    Attributes:
        layer: of the shapes that are drawn next; matters where the canvas shows depth.
    """

    def __init__(
        self, image: Image.Image, unit: float, margin: float, *, depth: bool = False
    ) -> None:
        self.image = image
        self.unit = unit
        self.margin = margin
        self.layer = BACKDROP
        self._depth = depth
        self._draw = ImageDraw.Draw(image)

    @classmethod
    def blank(cls, size: int, supersampling: int, margin_px: float, *, depth: bool = False) -> Self:
        """Make a black canvas for frames of `size` pixels with a margin around them."""
        side = round((size + 2 * margin_px) * supersampling)
        picture = Image.new("RGB", (side, side))
        return cls(picture, size * supersampling, margin_px * supersampling, depth=depth)

    def copy(self) -> "Canvas":
        """Copy the canvas with its content."""
        return Canvas(self.image.copy(), self.unit, self.margin, depth=self._depth)

    def disc(self, centre: Point, radius: float, colour: Colour, height: float = 0.0) -> None:
        """Draw a disc, or an upright ellipse where `height` (its half height) is given."""
        x, y = self._at(centre)
        rx, ry = radius * self.unit, (height or radius) * self.unit
        self._draw.ellipse((x - rx, y - ry, x + rx, y + ry), fill=self._shown(colour))

    def dome(self, centre: Point, radius: float, height: float, colour: Colour) -> None:
        """Draw the upper half of an ellipse, a little less than half a turn on each side."""
        x, y = self._at(centre)
        rx, ry = radius * self.unit, height * self.unit
        self._draw.chord((x - rx, y - ry, x + rx, y + ry), 176, 364, fill=self._shown(colour))

    def capsule(
        self, start: Point, end: Point, start_radius: float, end_radius: float, colour: Colour
    ) -> None:
        """Draw a limb: two discs and the band between them."""
        dx, dy = end[0] - start[0], end[1] - start[1]
        length = float(np.hypot(dx, dy)) or 1.0
        nx, ny = -dy / length, dx / length
        a, b = start_radius, end_radius
        self.polygon(
            (
                (start[0] + nx * a, start[1] + ny * a),
                (end[0] + nx * b, end[1] + ny * b),
                (end[0] - nx * b, end[1] - ny * b),
                (start[0] - nx * a, start[1] - ny * a),
            ),
            colour,
        )
        self.disc(start, a, colour)
        self.disc(end, b, colour)

    def polygon(self, points: Sequence[Point], colour: Colour) -> None:
        """Draw a filled polygon."""
        self._draw.polygon([self._at(point) for point in points], fill=self._shown(colour))

    def box(self, left: float, top: float, right: float, bottom: float, colour: Colour) -> None:
        """Draw a filled rectangle."""
        corners = self._at((left, top)), self._at((right, bottom))
        self._draw.rectangle(corners, fill=self._shown(colour))

    def gradient(self, top: float, bottom: float, upper: Colour, lower: Colour) -> None:
        """Fill the full width between two heights, blended vertically."""
        first, last = round(self._at((0, top))[1]), round(self._at((0, bottom))[1])
        weight = np.linspace(0, 1, last - first)[:, None]
        upper, lower = self._shown(upper), self._shown(lower)
        column = np.array(upper) * (1 - weight) + np.array(lower) * weight
        strip = Image.fromarray(column.round().astype(np.uint8)[:, None])
        self.image.paste(strip.resize((self.image.width, last - first)), (0, first))

    def _shown(self, colour: Colour) -> Colour:
        return (self.layer,) * 3 if self._depth else colour

    def _at(self, point: Point) -> Point:
        return point[0] * self.unit + self.margin, point[1] * self.unit + self.margin
