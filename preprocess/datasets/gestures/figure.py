"""The figure: its static body, the arms' joints, and the moving head, arms and hands."""

import math
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from preprocess.datasets.gestures.canvas import ARM, BODY, HAND, HEAD, Canvas, Point
from preprocess.datasets.gestures.signals import ARM_FIELDS
from preprocess.datasets.gestures.subject import HAND_LENGTH, Colour, Subject, shaded

# Width of the dark line around body parts, in frame units before the subject's scale.
OUTLINE = 0.007
_BELT: Colour = (44, 40, 40)
_TAPE: Colour = (232, 232, 214)


def draw_body(canvas: Canvas, subject: Subject) -> None:
    """Draw the body onto the backdrop, once a clip."""
    canvas.layer = BODY
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
    """Draw both legs at a fraction of their width, grown by an outline and shifted sideways."""
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
    """Draw a float vest with reflective tape over the shoulders and around the chest."""
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


# --- arms ----------------------------------------------------------------------------------------


class ArmJoints(NamedTuple):
    """One arm's joints in frame units; `tip` is the end of the fingers or of the wand."""

    shoulder: Point
    elbow: Point
    wrist: Point
    tip: Point


def arm_joints(poses: NDArray[np.float64], subject: Subject) -> NDArray[np.float64]:
    """Joints of both arms, (T, 2, 4, 2): right and left; shoulder, elbow, wrist, tip; x and y."""
    build, scale = subject.build, subject.scale
    joints = np.empty((len(poses), 2, 4, 2))
    for arm, outwards in enumerate((-1.0, 1.0)):
        shoulder, elbow, upper, fore = poses[:, arm * ARM_FIELDS :][:, :4].T
        bones = (
            _bone(shoulder, build.upper_arm * upper, outwards),
            _bone(elbow, build.forearm * fore, outwards),
            _bone(elbow, np.full(len(poses), subject.hand_length), outwards),
        )
        joints[:, arm, 0] = np.add(subject.neck, (outwards * build.shoulder * scale, 0.0))
        joints[:, arm, 1:] = joints[:, arm, :1] + scale * np.cumsum(np.stack(bones, 1), axis=1)
    return joints


def _bone(
    degrees: NDArray[np.float64], length: NDArray[np.float64], outwards: float
) -> NDArray[np.float64]:
    angle = np.radians(degrees)
    return np.stack([outwards * np.sin(angle) * length, np.cos(angle) * length], axis=-1)


def draw_moving(
    canvas: Canvas, pose: NDArray[np.float64], joints: NDArray[np.float64], subject: Subject
) -> None:
    """Draw head and arms of one frame over the body: `pose` (15,) and its `joints` (2, 4, 2)."""
    canvas.layer = HEAD
    draw_head(canvas, float(pose[-1]), subject)
    canvas.layer = ARM
    arms = [ArmJoints(*map(tuple, arm.tolist())) for arm in joints]
    radius = subject.build.arm_radius * subject.scale
    upper_radii, forearm_radii = (radius * 1.04, radius * 0.94), (radius * 0.94, radius * 0.8)
    edge = OUTLINE * subject.scale
    for arm in arms:
        _limb(canvas, arm.shoulder, arm.elbow, upper_radii, (edge, edge), subject)
    # No outline at the elbow, where it would cut the arm in two.
    for arm in arms:
        _limb(canvas, arm.elbow, arm.wrist, forearm_radii, (0.0, edge), subject)
    # Hands carry the signal: nothing may cover them.
    canvas.layer = HAND
    for side, arm in enumerate(arms):
        extension = pose[side * ARM_FIELDS + 4 : (side + 1) * ARM_FIELDS].tolist()
        draw_hand(canvas, arm.wrist, arm.tip, 1.0 - 2.0 * side, extension, subject)


def _limb(
    canvas: Canvas,
    start: Point,
    end: Point,
    radii: tuple[float, float],
    edges: tuple[float, float],
    subject: Subject,
) -> None:
    """Draw a rounded sleeve: dark edge, body colour, and a lighter band on its lit side."""
    sleeve = subject.lit(subject.clothes.shirt)
    canvas.capsule(start, end, radii[0] + edges[0], radii[1] + edges[1], shaded(sleeve, 0.5))
    canvas.capsule(start, end, *radii, shaded(sleeve, 0.9))
    dx, dy = _towards_light(start, end, subject.scene.light)
    shift = 0.32 * radii[1]
    lit_start = start[0] + dx * shift, start[1] + dy * shift
    lit_end = end[0] + dx * shift, end[1] + dy * shift
    canvas.capsule(lit_start, lit_end, radii[0] * 0.52, radii[1] * 0.52, shaded(sleeve, 1.08))


def _towards_light(start: Point, end: Point, light: float) -> Point:
    """Unit normal of the limb on its lit side; light falls from above and one side."""
    length = math.dist(start, end) or 1.0
    nx, ny = (start[1] - end[1]) / length, (end[0] - start[0]) / length
    return (nx, ny) if nx * light - ny > 0 else (-nx, -ny)


# --- head ----------------------------------------------------------------------------------------


def draw_head(canvas: Canvas, look: float, subject: Subject) -> None:
    """Draw the head above the neck; `look` is -1 to 1, 1 towards the viewer's right."""
    clothes = subject.clothes
    width = subject.build.head_width * subject.scale
    height = subject.build.head_height * subject.scale
    skin = subject.lit(clothes.skin)
    centre = x, y = subject.at(0, -0.09 - subject.build.head_height * 0.72)
    canvas.disc(centre, width + 0.006, shaded(skin, 0.5), height + 0.006)
    canvas.disc(centre, width, shaded(skin, 0.92), height)
    lit = x + 0.14 * width * (1 if subject.scene.light > 0 else -1)
    canvas.disc((lit, y), width * 0.84, skin, height * 0.94)
    _face(canvas, (x + look * width * 0.38, y), width, height, subject)
    _HEADGEAR[clothes.headgear](canvas, centre, width, height, look, subject)


def _face(canvas: Canvas, centre: Point, width: float, height: float, subject: Subject) -> None:
    x, y = centre
    skin = subject.lit(subject.clothes.skin)
    for side in (-0.4, 0.4):
        canvas.disc((x + side * width, y + 0.05 * height), width * 0.12, (28, 24, 24), width * 0.15)
    nose = (x, y + 0.16 * height), (x, y + 0.34 * height)
    canvas.capsule(*nose, width * 0.06, width * 0.1, shaded(skin, 0.8))
    mouth = (x - width * 0.22, y + 0.6 * height), (x + width * 0.22, y + 0.6 * height)
    canvas.capsule(*mouth, width * 0.07, width * 0.07, shaded(skin, 0.6))


def _hair(
    canvas: Canvas, centre: Point, width: float, height: float, look: float, subject: Subject
) -> None:
    x, y = centre
    hair = subject.lit(subject.clothes.hair)
    canvas.dome((x, y - 0.34 * height), width * 1.02, height * 0.74, hair)
    for side in (-1.0, 1.0):
        temple = x + side * width * 0.94
        canvas.capsule(
            (temple, y - 0.4 * height), (temple, y - 0.05 * height), width * 0.14, width * 0.1, hair
        )


def _ear_protectors(
    canvas: Canvas, centre: Point, width: float, height: float, look: float, subject: Subject
) -> None:
    _hair(canvas, centre, width, height, look, subject)
    x, y = centre
    colour = subject.lit(subject.clothes.headgear_colour)
    canvas.dome((x, y - 0.34 * height), width * 1.14, height * 0.86, shaded(colour, 0.55))
    canvas.dome((x, y - 0.34 * height), width, height * 0.7, subject.lit(subject.clothes.hair))
    _cups(canvas, centre, width, height, subject)


def _cups(canvas: Canvas, centre: Point, width: float, height: float, subject: Subject) -> None:
    colour = subject.lit(subject.clothes.headgear_colour)
    for side in (-1.0, 1.0):
        cup = (centre[0] + side * width * 1.04, centre[1] + 0.06 * height)
        canvas.disc(cup, width * 0.34, shaded(colour, 0.45), height * 0.42)
        canvas.disc(cup, width * 0.25, shaded(colour, 0.75), height * 0.33)


def _helmet(
    canvas: Canvas, centre: Point, width: float, height: float, look: float, subject: Subject
) -> None:
    x, y = centre
    colour = subject.lit(subject.clothes.headgear_colour)
    light = 1 if subject.scene.light > 0 else -1
    canvas.dome((x, y - 0.2 * height), width * 1.2, height * 0.98, shaded(colour, 0.5))
    canvas.dome((x, y - 0.22 * height), width * 1.1, height * 0.88, shaded(colour, 0.86))
    canvas.disc(
        (x + light * width * 0.3, y - 0.72 * height),
        width * 0.5,
        shaded(colour, 1.1),
        height * 0.26,
    )
    _cups(canvas, centre, width, height, subject)
    if subject.clothes.goggles:
        band = (x - width * 0.95, y - 0.36 * height), (x + width * 0.95, y - 0.36 * height)
        canvas.capsule(*band, width * 0.16, width * 0.16, (36, 36, 40))
        for side in (-0.42, 0.42):
            lens = x + (side + 0.3 * look) * width, y - 0.36 * height
            canvas.disc(lens, width * 0.36, (44, 44, 50), height * 0.22)
            canvas.disc(lens, width * 0.26, (150, 196, 214), height * 0.14)


def _cap(
    canvas: Canvas, centre: Point, width: float, height: float, look: float, subject: Subject
) -> None:
    _hair(canvas, centre, width, height, look, subject)
    x, y = centre
    colour = subject.lit(subject.clothes.headgear_colour)
    canvas.dome((x, y - 0.26 * height), width * 1.12, height * 0.86, shaded(colour, 0.55))
    canvas.dome((x, y - 0.28 * height), width * 1.04, height * 0.78, shaded(colour, 0.95))
    middle = x + look * width * 0.5
    brim = (middle - width * 0.7, y - 0.28 * height), (middle + width * 0.7, y - 0.28 * height)
    canvas.capsule(*brim, width * 0.16, width * 0.16, shaded(colour, 0.6))


_HEADGEAR = {
    "hair": _hair,
    "ear protectors": _ear_protectors,
    "helmet": _helmet,
    "cap": _cap,
}


# --- hands ---------------------------------------------------------------------------------------


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
    """Turn a direction clockwise in the picture."""
    cos, sin = math.cos(math.radians(degrees)), math.sin(math.radians(degrees))
    return direction[0] * cos - direction[1] * sin, direction[0] * sin + direction[1] * cos
