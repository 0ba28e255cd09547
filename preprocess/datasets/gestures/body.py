"""The parts of the figure that no signal moves: legs, torso, vest and neck."""

import math

from .canvas import Canvas, Point
from .palette import Colour, shaded
from .subject import Subject

# Width of the dark line around body parts, in frame units before the subject's scale.
OUTLINE = 0.007
_BELT: Colour = (44, 40, 40)
_TAPE: Colour = (232, 232, 214)


def draw_body(canvas: Canvas, subject: Subject) -> None:
    """Draw the body onto the backdrop, once a clip."""
    _legs(canvas, subject)
    _torso(canvas, subject)
    skin = subject.lit(subject.clothes.skin, 0.8)
    radii = 0.03 * subject.scale, 0.032 * subject.scale
    canvas.capsule(subject.at(0, -0.09), subject.at(0, -0.04), *radii, skin)


def _legs(canvas: Canvas, subject: Subject) -> None:
    cloth = subject.lit(subject.clothes.trousers)
    light = subject.scene.light * 0.016
    _leg_pair(canvas, subject, 1.0, OUTLINE, 0.0, shaded(cloth, 0.62))
    _leg_pair(canvas, subject, 1.0, 0.0, 0.0, shaded(cloth, 0.9))
    _leg_pair(canvas, subject, 0.4, 0.0, light, cloth)


def _leg_pair(
    canvas: Canvas, subject: Subject, width: float, grow: float, shift: float, colour: Colour
) -> None:
    """Both legs at a share of their width, grown by an outline and shifted sideways."""
    hip, top = subject.build.hip, subject.build.torso
    thigh = hip * 0.58
    for side in (-1.0, 1.0):
        canvas.capsule(
            subject.at(side * hip * 0.5 + shift, top + 0.03),
            subject.at(side * hip * 0.8 + shift, 0.8),
            (thigh * width + grow) * subject.scale,
            (thigh * 0.8 * width + grow) * subject.scale,
            colour,
        )


def _torso(canvas: Canvas, subject: Subject) -> None:
    half = _torso_half(subject)
    shirt = subject.lit(subject.clothes.shirt, 0.74)
    canvas.polygon(_mirrored(subject, half, OUTLINE), shaded(shirt, 0.6))
    canvas.polygon(_mirrored(subject, half), shirt)
    if subject.clothes.vest is None:
        _shade_side(canvas, subject, half, shaded(shirt, 0.86))
    else:
        _vest(canvas, subject, half, subject.lit(subject.clothes.vest))
    build, belt = subject.build, subject.lit(_BELT)
    _strip(canvas, subject, 0, build.hip, build.torso - 0.018, build.torso + 0.008, belt)


def _torso_half(subject: Subject) -> list[Point]:
    """Outline of the figure's left half, from the collar to the hip."""
    build = subject.build
    return [
        (0.03, -0.052),
        (build.shoulder * 0.6, -0.04),
        (build.shoulder, -0.036),
        (build.shoulder + 0.022, 0.0),
        (build.shoulder * 0.5 + build.waist * 0.56, 0.1),
        (build.waist, build.torso * 0.68),
        (build.hip, build.torso),
    ]


def _vest(canvas: Canvas, subject: Subject, half: list[Point], colour: Colour) -> None:
    """A float vest with reflective tape over the shoulders and around the chest."""
    build, tape = subject.build, subject.lit(_TAPE)
    vest = [(x * 0.9, y) for x, y in half[1:-1]]
    vest.append((build.hip * 0.97, build.torso - 0.012))
    canvas.polygon(_mirrored(subject, vest), colour)
    _shade_side(canvas, subject, vest, shaded(colour, 0.84))
    for side in (-0.55, 0.55):
        _strip(canvas, subject, side * build.shoulder, 0.011, -0.04, 0.15, tape)
    _strip(canvas, subject, 0, build.waist * 0.94, 0.135, 0.16, tape)
    _strip(canvas, subject, 0, 0.003, -0.03, build.torso - 0.018, shaded(colour, 0.6))


def _strip(
    canvas: Canvas,
    subject: Subject,
    centre: float,
    half_width: float,
    top: float,
    bottom: float,
    colour: Colour,
) -> None:
    left, right = subject.at(centre - half_width, top), subject.at(centre + half_width, bottom)
    canvas.box(*left, *right, colour)


def _shade_side(canvas: Canvas, subject: Subject, half: list[Point], colour: Colour) -> None:
    """Darken the side of the torso away from the light."""
    away = -math.copysign(1.0, subject.scene.light)
    outer = [subject.at(away * x, y) for x, y in half[1:]]
    inner = [subject.at(away * x * 0.45, y) for x, y in reversed(half[1:])]
    canvas.polygon(outer + inner, colour)


def _mirrored(subject: Subject, half: list[Point], grow: float = 0.0) -> list[Point]:
    """A closed outline from its half of positive x, from top to bottom."""
    right = [subject.at(x + grow, y) for x, y in half]
    left = [subject.at(-x - grow, y) for x, y in reversed(half)]
    return right + left
