"""What moves: the arms' joints, and the head and arms drawn over the static body."""

import math
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from .body import OUTLINE
from .canvas import Canvas, Point
from .hands import draw_hand
from .head import draw_head
from .motion import ARM_FIELDS
from .palette import shaded
from .subject import Subject


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
    draw_head(canvas, float(pose[-1]), subject)
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
    """A rounded sleeve: dark edge, body colour, and a lighter band on its lit side."""
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
