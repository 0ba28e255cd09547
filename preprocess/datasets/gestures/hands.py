"""Hands as palm, fingers and thumb, bare or gloved, with or without a lit wand."""

import math

from .canvas import Canvas, Point
from .palette import Colour, shaded
from .subject import HAND_LENGTH, Subject

# Finger directions from the hand's axis in degrees, from the thumb's side; the index comes first.
_FAN = (17.0, 6.0, -6.0, -17.0)
_LINE = 0.006
# Parts are given in this length, so that stretched fingers end at HAND_LENGTH.
_UNIT = 0.8 * HAND_LENGTH


def draw_hand(
    canvas: Canvas,
    wrist: Point,
    tip: Point,
    turn: float,
    extension: list[float],
    subject: Subject,
) -> None:
    """Draw a hand along wrist → tip; `turn` (±1) is the thumb's side, quarter turn in the picture.

    `extension` holds fingers, index finger and thumb, each 0 to 1; a negative thumb lies on the
    other side.
    """
    length = math.dist(wrist, tip) or 1.0
    axis = (tip[0] - wrist[0]) / length, (tip[1] - wrist[1]) / length
    if subject.clothes.wands is not None:
        _wand(canvas, wrist, tip, axis, subject)
        extension = [0.0, 0.0, extension[2]]
    unit = _UNIT * subject.scale
    hand = subject.lit(subject.clothes.hands)
    # The dark outline of all parts first, so that parts merge into one hand.
    for grow, colour in ((_LINE * subject.scale, shaded(hand, 0.42)), (0.0, hand)):
        _palm_and_fingers(canvas, wrist, axis, turn, extension, unit, grow, colour)
    if subject.clothes.gloved:
        _cuff(canvas, wrist, axis, unit, subject)


def _palm_and_fingers(
    canvas: Canvas,
    wrist: Point,
    axis: Point,
    turn: float,
    extension: list[float],
    unit: float,
    grow: float,
    colour: Colour,
) -> None:
    fingers, index, thumb = extension
    palm = _along(wrist, axis, 0.36 * unit)
    canvas.capsule(
        _along(wrist, axis, 0.14 * unit), palm, 0.36 * unit + grow, 0.44 * unit + grow, colour
    )
    for position, spread in enumerate(_FAN):
        extended = index if position == 0 else fingers
        direction = _turned(axis, turn * spread * (0.3 + 0.7 * extended))
        root = _along(palm, _turned(axis, turn * spread * 4.2), 0.3 * unit)
        end = _along(root, direction, (0.08 + 0.46 * extended) * unit)
        canvas.capsule(root, end, 0.125 * unit + grow, 0.11 * unit + grow, colour)
    if abs(thumb) > 0.05:
        end = _along(palm, _turned(axis, turn * math.copysign(78, thumb)), 0.85 * abs(thumb) * unit)
        canvas.capsule(palm, end, 0.17 * unit + grow, 0.14 * unit + grow, colour)


def _cuff(canvas: Canvas, wrist: Point, axis: Point, unit: float, subject: Subject) -> None:
    colour = subject.lit(subject.clothes.hands, 0.78)
    side = _turned(axis, 90)
    ends = _along(wrist, side, 0.36 * unit), _along(wrist, side, -0.36 * unit)
    canvas.capsule(*ends, 0.1 * unit, 0.1 * unit, colour)


def _wand(canvas: Canvas, wrist: Point, tip: Point, axis: Point, subject: Subject) -> None:
    assert subject.clothes.wands is not None
    radius = 0.02 * subject.scale
    start, end = _along(wrist, axis, 0.02 * subject.scale), _along(tip, axis, -radius)
    canvas.capsule(start, end, radius * 1.1, radius, shaded(subject.clothes.wands, 0.6))
    canvas.capsule(start, end, radius * 0.8, radius * 0.75, subject.clothes.wands)
    core = shaded(subject.clothes.wands, 1.5)
    canvas.capsule(start, end, radius * 0.35, radius * 0.35, core)


def _along(start: Point, direction: Point, distance: float) -> Point:
    return start[0] + direction[0] * distance, start[1] + direction[1] * distance


def _turned(direction: Point, degrees: float) -> Point:
    """The direction turned clockwise as seen in the picture."""
    cos, sin = math.cos(math.radians(degrees)), math.sin(math.radians(degrees))
    return direction[0] * cos - direction[1] * sin, direction[0] * sin + direction[1] * cos
