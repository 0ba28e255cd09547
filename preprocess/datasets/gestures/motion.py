"""From keyframes to a pose for every frame of a clip."""

import numpy as np
from numpy.typing import NDArray

from preprocess.datasets.gestures.pose import Key
from preprocess.datasets.gestures.signals import SIGNALS
from preprocess.datasets.gestures.subject import Subject

# Columns of a pose: the right arm's ARM_FIELDS numbers, the left arm's, then the head's turn.
ARM_FIELDS = 7
_ANGLES = [0, 1, ARM_FIELDS, ARM_FIELDS + 1]


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
