"""Static surroundings: a wall, a carrier deck, a hangar or an airfield."""

from collections.abc import Callable

import numpy as np

from preprocess.datasets.gestures.canvas import Canvas
from preprocess.datasets.gestures.subject import Colour, Scene, shaded

# Backdrops reach beyond the frame, for a moving camera.
_FAR = 0.5


def draw_backdrop(canvas: Canvas, scene: Scene) -> None:
    """Fill the canvas with the scene; calm, low contrast, behind the figure."""
    upper, lower, floor = (shaded(colour, scene.brightness) for colour in scene.colours)
    canvas.box(-_FAR, -_FAR, 1 + _FAR, 1 + _FAR, upper)
    canvas.gradient(0.0, scene.horizon, upper, lower)
    canvas.box(-_FAR, scene.horizon, 1 + _FAR, 1 + _FAR, shaded(floor, 0.86))
    canvas.gradient(scene.horizon, 1.0, floor, shaded(floor, 0.86))
    rng = np.random.default_rng(scene.layout_seed)
    _DRAWN[scene.backdrop](canvas, scene.horizon, lower, floor, rng)


def _wall(
    canvas: Canvas, horizon: float, wall: Colour, floor: Colour, rng: np.random.Generator
) -> None:
    canvas.box(-_FAR, horizon - 0.025, 1 + _FAR, horizon, shaded(wall, 0.82))
    for x in (rng.uniform(0.0, 0.2), rng.uniform(0.8, 1.0)):
        canvas.box(x - 0.003, -_FAR, x + 0.003, horizon - 0.025, shaded(wall, 0.93))


def _carrier(
    canvas: Canvas, horizon: float, sky: Colour, deck: Colour, rng: np.random.Generator
) -> None:
    sea = (shaded(sky, 0.62)[0], shaded(sky, 0.72)[1], shaded(sky, 0.8)[2])
    canvas.box(-_FAR, horizon - 0.07, 1 + _FAR, horizon, sea)
    canvas.box(-_FAR, horizon - 0.006, 1 + _FAR, horizon + 0.006, shaded(deck, 0.7))
    side = rng.choice([0.1, 0.9])
    island = shaded(sky, 0.78)
    canvas.box(side - 0.09, horizon - 0.2, side + 0.09, horizon, island)
    canvas.box(side - 0.05, horizon - 0.28, side + 0.04, horizon - 0.2, island)
    canvas.box(side - 0.008, horizon - 0.4, side + 0.008, horizon - 0.28, island)
    stripe = shaded(deck, 1.22)
    x = rng.uniform(0.15, 0.85)
    canvas.polygon(
        ((x, horizon), (x + 0.015, horizon), (x * 2 - 0.35, 1.4), (x * 2 - 0.47, 1.4)), stripe
    )


def _hangar(
    canvas: Canvas, horizon: float, wall: Colour, floor: Colour, rng: np.random.Generator
) -> None:
    panels = int(rng.integers(5, 8))
    for index in range(-2, panels + 3):
        x = (index + 0.5) / panels
        canvas.box(x - 0.004, -_FAR, x + 0.004, horizon, shaded(wall, 0.9))
    canvas.box(-_FAR, -_FAR, 1 + _FAR, rng.uniform(0.06, 0.12), shaded(wall, 0.8))
    canvas.box(-_FAR, horizon - 0.012, 1 + _FAR, horizon, shaded(wall, 0.72))
    canvas.box(-_FAR, horizon + 0.08, 1 + _FAR, horizon + 0.095, shaded(floor, 1.18))


def _airfield(
    canvas: Canvas, horizon: float, sky: Colour, floor: Colour, rng: np.random.Generator
) -> None:
    hills = np.linspace(-_FAR, 1 + _FAR, 9)
    ridge = [(x, horizon - rng.uniform(0.02, 0.09)) for x in hills]
    canvas.polygon([(-_FAR, horizon), *ridge, (1 + _FAR, horizon)], shaded(sky, 0.84))
    _parked_jet(canvas, float(rng.choice([0.14, 0.86])), horizon, shaded(sky, 0.66))
    canvas.box(-_FAR, horizon - 0.004, 1 + _FAR, horizon + 0.004, shaded(floor, 0.85))


def _parked_jet(canvas: Canvas, x: float, ground: float, colour: Colour) -> None:
    facing = 1.0 if x < 0.5 else -1.0
    body = ((-0.16, -0.07), (0.1, -0.085), (0.19, -0.05), (0.1, -0.035), (-0.16, -0.035))
    tail = ((-0.16, -0.06), (-0.17, -0.15), (-0.12, -0.15), (-0.06, -0.07))
    for shape in (body, tail):
        canvas.polygon([(x + facing * dx, ground + dy) for dx, dy in shape], colour)
    for wheel in (-0.07, 0.09):
        canvas.disc((x + facing * wheel, ground - 0.012), 0.014, colour)


_DRAWN: dict[str, Callable[[Canvas, float, Colour, Colour, np.random.Generator], None]] = {
    "wall": _wall,
    "carrier": _carrier,
    "hangar": _hangar,
    "airfield": _airfield,
}
