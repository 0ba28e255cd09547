"""The vocabulary of poses: hands, arms, keyframes and signals.

Angles are degrees in the picture plane: 0 hangs straight down, 90 points outwards, 180 up, and
-90 (or 270) inwards across the body; the same number mirrors for the other arm. The elbow angle is
the forearm's own direction, not the bend.
"""

from typing import NamedTuple


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
    """A named signal and its keyframes after the rest pose at time 0."""

    name: str
    keys: tuple[Key, ...]
