"""Times at which a stream's frames are shown, also where its clock is set anew or wraps."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import NamedTuple

import numpy as np
from av.container import InputContainer
from av.video.stream import VideoStream
from numpy.typing import NDArray

LONGEST_GAP_SECONDS, LONGEST_LIVE_GAP_SECONDS = 10, 1
"""Time between two frames from which on the clock is held to have jumped; the second one where the
container is made for clocks that jump (MPEG transport and program streams)."""

_GAP_FRAMES = 10
"""Usual frame durations that such a gap holds at least: slides may stand for long."""

MAX_REORDERED = 16
"""Frames that a decoder holds back at most, to show them in another order."""

_JUMPING_CLOCK = 0x0200
"""FFmpeg's AVFMT_TS_DISCONT."""


class Stamp(NamedTuple):
    """Facts of a packet without its payload: times in units of the time base, None if unknown."""

    pts: int | None
    duration: int
    is_key: bool
    is_shown: bool


@dataclass(frozen=True)
class Clock:
    """Continuous times of packets, in decoding order.

    Attributes:
        times: of each packet, in units of the stream's time base, int64, distinct; None if the
            container does not state them.
        longest_step: largest one that is not a jump.
    """

    times: NDArray[np.int64] | None
    longest_step: int

    @classmethod
    def of(cls, packets: Sequence[Stamp], container: InputContainer, stream: VideoStream) -> Clock:
        """Make continuous times of those of a stream's packets, in decoding order.

        A frame after a jump follows the one before it after the usual time.
        """
        stamps = [packet.pts for packet in packets if packet.pts is not None]
        if len(stamps) < len(packets) or not packets or not stream.time_base:
            return cls(None, 0)
        pts = np.array(stamps, np.int64)
        reorders = bool(stream.codec_context.has_b_frames)
        keys = [packet.is_key for packet in packets]
        stretches = _stretches(pts, keys, reorders)
        orders = [stretch[np.argsort(pts[stretch], kind="stable")] for stretch in stretches]
        steps = np.concatenate([np.diff(pts[order]) for order in orders])
        if not (steps > 0).all():
            return cls(None, 0)
        usual = max(1, round(float(np.median(steps)))) if steps.size else 1
        jumping = container.format.flags & _JUMPING_CLOCK
        seconds = LONGEST_LIVE_GAP_SECONDS if jumping else LONGEST_GAP_SECONDS
        longest = max(int(seconds / Fraction(stream.time_base)), _GAP_FRAMES * usual)
        return cls(_joined(pts, orders, usual, longest), longest)


def _stretches(
    pts: NDArray[np.int64], keys: Sequence[bool], reorders: bool
) -> list[NDArray[np.intp]]:
    """Cut packets where their clock is set back; indices of each stretch.

    What comes before a key frame is shown before it: a key frame that is not the latest so far is
    shown by another clock. Between key frames, times go back as far as frames are reordered.
    """
    rising = np.diff(pts)
    usual = float(np.median(rising[rising > 0])) if (rising > 0).any() else 0.0
    tolerance = MAX_REORDERED * usual if reorders else 0
    starts, latest = [0], int(pts[0])
    for at in range(1, len(pts)):
        back = latest - int(pts[at])
        if back > tolerance or (keys[at] and back > 0):
            starts.append(at)
            latest = int(pts[at])
        latest = max(latest, int(pts[at]))
    return np.split(np.arange(len(pts)), starts[1:])


def _joined(
    pts: NDArray[np.int64], orders: Sequence[NDArray[np.intp]], usual: int, longest: int
) -> NDArray[np.int64]:
    """Times that go on from frame to frame; unchanged where nothing jumps."""
    times = np.empty_like(pts)
    start = int(pts[orders[0][0]])
    for order in orders:
        steps = np.diff(pts[order])
        steps[steps > longest] = usual
        times[order] = start + np.concatenate([[0], np.cumsum(steps)])
        start = int(times[order[-1]]) + usual
    return times
