"""The 24 NATOPS aircraft handling signals as keyframed poses, and their interpolation.

"Right" and "left" are the figure's; it faces the viewer. Every signal starts at rest, has raised
its arms by time 0.2 and ends in its final phase. No movement repeats more than twice, so that 16
frames of a whole clip still show it.

Angles are degrees in the picture plane: 0 hangs straight down, 90 points outwards, 180 up, and
-90 (or 270) inwards across the body; the same number mirrors for the other arm. The elbow angle is
the forearm's own direction, not the bend.
"""

import math
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from preprocess.datasets.gestures.subject import Subject

# Columns of a pose: the right arm's ARM_FIELDS numbers, the left arm's, then the head's turn.
ARM_FIELDS = 7
_ANGLES = [0, 1, ARM_FIELDS, ARM_FIELDS + 1]


class Hand(NamedTuple):
    """Extension of the fingers, the index finger and the thumb (sign = side), each 0 to 1."""

    fingers: float
    index_finger: float
    thumb: float


OPEN = Hand(1.0, 1.0, 0.8)
RELAXED = Hand(0.55, 0.55, 0.3)
FIST = Hand(0.0, 0.0, 0.0)
POINT = Hand(0.0, 1.0, 0.0)
THUMB = Hand(0.0, 0.0, 1.0)
THUMB_OTHER_SIDE = Hand(0.0, 0.0, -1.0)


class Arm(NamedTuple):
    """One arm: directions in degrees, hand, and foreshortening (1 lies in the picture plane)."""

    shoulder: float
    elbow: float
    hand: Hand = OPEN
    upper: float = 1.0
    fore: float = 1.0


REST = Arm(11, 3, RELAXED)


class Key(NamedTuple):
    """A pose at a time in [0, 1]; `look` turns the head, 1 towards the figure's left."""

    time: float
    right: Arm
    left: Arm = REST
    look: float = 0.0


class Signal(NamedTuple):
    """A named signal and its keyframes, the first of which is the rest pose at time 0."""

    name: str
    keys: tuple[Key, ...]


def _signal(name: str, *keys: tuple[float, Arm] | tuple[float, Arm, Arm] | Key) -> Signal:
    return Signal(name, (Key(0.0, REST), *(Key(*key) for key in keys)))


def _both(*keys: tuple[float, Arm]) -> Iterator[Key]:
    return (Key(time, arm, arm) for time, arm in keys)


def _mirrored(keys: tuple[Key, ...]) -> Iterator[Key]:
    return (Key(key.time, key.left, key.right, -key.look) for key in keys[1:])


def _loop(centre: Arm, swing: Arm, turns: float, direction: int, cross: int) -> Iterator[Arm]:
    """Move arms along a Lissajous loop: cross = 1 gives an ellipse, 2 a figure of eight."""
    for step in range(int(turns * 8) + 1):
        phase = direction * step * math.pi / 4
        yield Arm(
            centre.shoulder + swing.shoulder * math.cos(cross * phase - (cross - 1) * math.pi / 2),
            centre.elbow + swing.elbow * math.sin(phase),
            centre.hand,
            centre.upper,
            centre.fore + swing.fore * math.cos(phase),
        )


def _timed(start: float, end: float, arms: Iterator[Arm]) -> Iterator[tuple[float, Arm]]:
    poses = list(arms)
    step = (end - start) / (len(poses) - 1)
    return ((start + index * step, arm) for index, arm in enumerate(poses))


_OUT = Arm(91, 91)
_HUG = Arm(12, 247, OPEN, 0.8)
_HALF_HUG = Arm(48, 204, OPEN, 0.75, 0.65)
_HALF_SPREAD = Arm(76, 150, OPEN, 0.9, 0.6)
_PALM_DOWN = Arm(16, -88)
_TIEDOWN = Arm(48, 186, FIST, 0.9, 0.8), Arm(22, 58, FIST, 0, 0.25)
_TURN_KEYS = (
    Key(0.0, REST),
    Key(0.2, Arm(96, 96, POINT), Arm(80, 92), -1.0),
    Key(0.37, Arm(96, 96, POINT), Arm(72, 196), -1.0),
    Key(0.54, Arm(96, 96, POINT), Arm(80, 92), -1.0),
    Key(0.71, Arm(96, 96, POINT), Arm(72, 196), -1.0),
)
_NOSE = Arm(46, -140, POINT, 0.3)
_POINT_LOW = Arm(48, 48, POINT)

SIGNALS: tuple[Signal, ...] = (
    # One open hand held high and motionless.
    _signal("I Have Command", (0.2, Arm(150, 172)), (0.3, Arm(168, 178)), (1.0, Arm(168, 178))),
    # Thumb up, pushed up twice with the arm out.
    _signal(
        "All Clear",
        (0.2, Arm(58, 88, THUMB)),
        (0.36, Arm(88, 128, THUMB)),
        (0.52, Arm(60, 92, THUMB)),
        (0.7, Arm(90, 130, THUMB)),
    ),
    # Thumb down, pushed down twice with the arm out.
    _signal(
        "Not Clear",
        (0.2, Arm(90, 106, THUMB_OTHER_SIDE)),
        (0.36, Arm(56, 62, THUMB_OTHER_SIDE)),
        (0.52, Arm(88, 102, THUMB_OTHER_SIDE)),
        (0.7, Arm(54, 60, THUMB_OTHER_SIDE)),
    ),
    # Arms hug the chest, then sweep out to horizontal.
    _signal(
        "Spread Wings",
        *_both((0.2, _HUG), (0.38, _HUG), (0.5, _HALF_HUG), (0.62, _HALF_SPREAD), (0.78, _OUT)),
    ),
    # Arms horizontal, then swept in to hug the chest.
    _signal(
        "Fold Wings",
        *_both((0.2, _OUT), (0.38, _OUT), (0.54, _HALF_SPREAD), (0.66, _HALF_HUG), (0.78, _HUG)),
    ),
    # Right forearm up; the left palm strikes its elbow twice.
    _signal(
        "Lock Wings",
        (0.2, Arm(58, 178, FIST), Arm(2, -52)),
        (0.36, Arm(58, 178, FIST), Arm(-58, -86)),
        (0.52, Arm(58, 178, FIST), Arm(2, -52)),
        (0.7, Arm(58, 178, FIST), Arm(-58, -86)),
    ),
    # Right thumb rises from below to meet the left palm.
    _signal(
        "Up Hook",
        (0.2, Arm(12, -14, THUMB_OTHER_SIDE), Arm(40, -104)),
        (0.38, Arm(12, -14, THUMB_OTHER_SIDE), Arm(40, -104)),
        (0.75, Arm(34, -92, THUMB_OTHER_SIDE), Arm(40, -104)),
    ),
    # Right thumb comes down from the face to meet the left palm.
    _signal(
        "Down Hook",
        (0.2, Arm(62, 206, THUMB), Arm(10, -76)),
        (0.38, Arm(62, 206, THUMB), Arm(10, -76)),
        (0.75, Arm(40, 264, THUMB), Arm(10, -76)),
    ),
    # Both fists circle, up the middle and down outside.
    _signal("Remove Tiedowns", *_both(*_timed(0.2, 0.88, _loop(*_TIEDOWN, 2, -1, 1)))),
    # Low arms, thumbs out, swung apart twice.
    _signal(
        "Remove Chocks",
        *_both(
            (0.2, Arm(2, -26, THUMB)),
            (0.38, Arm(46, 52, THUMB)),
            (0.54, Arm(2, -26, THUMB)),
            (0.74, Arm(46, 52, THUMB)),
        ),
    ),
    # Low arms, thumbs in, swung together twice.
    _signal(
        "Insert Chocks",
        *_both(
            (0.2, Arm(46, 52, THUMB_OTHER_SIDE)),
            (0.38, Arm(2, -26, THUMB_OTHER_SIDE)),
            (0.54, Arm(46, 52, THUMB_OTHER_SIDE)),
            (0.74, Arm(2, -26, THUMB_OTHER_SIDE)),
        ),
    ),
    # Both arms out, forearms beckon up and in twice.
    _signal(
        "Move Ahead",
        *_both((0.2, Arm(80, 92)), (0.37, Arm(72, 196)), (0.54, Arm(80, 92)), (0.72, Arm(72, 196))),
    ),
    # Right arm points out, left forearm beckons.
    _signal("Turn Left", *_TURN_KEYS[1:]),
    # Left arm points out, right forearm beckons.
    _signal("Turn Right", *_mirrored(_TURN_KEYS)),
    # Both arms swing from overhead to point to the next director at the figure's left.
    _signal(
        "Next Marshaller",
        (0.2, Arm(162, 190), Arm(150, 166)),
        (0.34, Arm(162, 190), Arm(150, 166)),
        Key(0.66, Arm(-58, -98, POINT, 0.95), Arm(96, 98, POINT), 1.0),
    ),
    # Straight arms, palms down, patting the air slowly.
    _signal(
        "Slow Down",
        *_both((0.2, Arm(84, 88)), (0.42, Arm(40, 46)), (0.64, Arm(84, 88)), (0.86, Arm(40, 46))),
    ),
    # Forearms crossed above the head.
    _signal("Stop", *_both((0.2, Arm(120, 150)), (0.42, Arm(198, 222)), (1.0, Arm(198, 222)))),
    # Right finger on the nose, left arm sweeps horizontally across the body.
    _signal(
        "Nosegear Steering",
        (0.2, _NOSE, Arm(88, 90)),
        (0.44, _NOSE, Arm(34, -86, OPEN, 0.9)),
        (0.74, _NOSE, Arm(88, 90)),
    ),
    # Left arm points down at the wheels, right hand fans next to the face.
    _signal(
        "Hot Brakes",
        (0.2, Arm(62, 148), _POINT_LOW),
        (0.37, Arm(56, 218), _POINT_LOW),
        (0.54, Arm(62, 148), _POINT_LOW),
        (0.72, Arm(56, 218), _POINT_LOW),
    ),
    # Open hands high; they close to fists as the forearms pull down.
    _signal(
        "Brakes On", *_both((0.2, Arm(138, 164)), (0.42, Arm(138, 164)), (0.68, Arm(84, 182, FIST)))
    ),
    # Fists next to the head; they open as the arms rise.
    _signal(
        "Brakes Off",
        *_both((0.2, Arm(84, 182, FIST)), (0.42, Arm(84, 182, FIST)), (0.68, Arm(138, 164))),
    ),
    # Both fists circle, up outside and down the middle.
    _signal("Install Tiedowns", *_both(*_timed(0.2, 0.88, _loop(*_TIEDOWN, 2, 1, 1)))),
    # Left arm points at the fire, right hand draws a large figure of eight.
    _signal(
        "Fire",
        *(
            Key(time, arm, Arm(62, 62, POINT), 0.7)
            for time, arm in _timed(
                0.2, 0.92, _loop(Arm(84, 120), Arm(26, 62, OPEN, 0, 0), 1.5, 1, 2)
            )
        ),
    ),
    # The right hand is drawn flat across the throat twice.
    _signal(
        "Cut Engine",
        (0.2, Arm(42, -106, OPEN, 0.35)),
        (0.38, Arm(82, -102, OPEN, 1.0, 0.7)),
        (0.54, Arm(42, -106, OPEN, 0.35)),
        (0.74, Arm(82, -102, OPEN, 1.0, 0.7)),
    ),
)

NAMES: tuple[str, ...] = tuple(signal.name for signal in SIGNALS)


def poses(gesture: int, subject: Subject, frames: int) -> NDArray[np.float64]:
    """Poses of a clip, (frames, 15) float64.

    Per arm: shoulder and elbow angle in degrees, foreshortening of upper arm and forearm, extension
    of fingers, index finger and thumb; then the turn of the head. `gesture` counts from 1.
    """
    keys = SIGNALS[gesture - 1].keys
    values = np.array([_row(key) for key in keys])
    values[:, _ANGLES] = values[0, _ANGLES] + subject.amplitude * (
        values[:, _ANGLES] - values[0, _ANGLES]
    )
    when = np.linspace(0.0, 1.0, frames)
    progress = np.maximum(when - subject.onset, 0.0) * subject.tempo
    return monotone_cubic(np.array([key.time for key in keys]), values, progress)


def _row(key: Key) -> list[float]:
    arms = ((a.shoulder, a.elbow, a.upper, a.fore, *a.hand) for a in (key.right, key.left))
    return [*(value for arm in arms for value in arm), key.look]


def monotone_cubic(
    times: NDArray[np.float64], values: NDArray[np.float64], when: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Fritsch-Butland interpolation of `values` (K, N) at `when` (T,): smooth, never overshoots.

    Slopes are harmonic means of the neighbouring secants, zero at extrema and at both ends; before
    the first and after the last time the ends hold.
    """
    steps = np.diff(times)[:, None]
    secants = np.diff(values, axis=0) / steps
    slopes = np.zeros_like(values)
    before, after = secants[:-1], secants[1:]
    same_sign = before * after > 0
    slopes[1:-1] = 2 * before * after / np.where(same_sign, before + after, 1.0) * same_sign
    when = np.clip(when, times[0], times[-1])
    left = np.clip(np.searchsorted(times, when, side="right") - 1, 0, len(times) - 2)
    step = steps[left]
    u = (when - times[left])[:, None] / step
    start = (1 + 2 * u) * (1 - u) ** 2 * values[left] + u * (1 - u) ** 2 * step * slopes[left]
    end = u**2 * (3 - 2 * u) * values[left + 1] + u**2 * (u - 1) * step * slopes[left + 1]
    return start + end
