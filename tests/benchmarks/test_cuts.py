from __future__ import annotations

import numpy as np
import pytest

from benchmarks.cuts import FRAMES, PART, Video, flashes, mixed, ours, score, truth

BLANK = np.zeros((3 * FRAMES, 3, 1, 1), np.uint8)


@pytest.mark.parametrize(
    ("transition", "spanning"),
    [
        ((FRAMES, FRAMES), [False, False, False]),  # between two clips
        ((FRAMES + 1, FRAMES + 1), [False, True, False]),
        ((FRAMES - 1, FRAMES - 1), [True, False, False]),
        ((FRAMES - 1, FRAMES + 1), [True, True, False]),
        ((FRAMES, FRAMES + 1), [False, True, False]),  # its first frame is mixed
        ((8, 40), [True, True, True]),
    ],
)
def test_clips_that_span_a_transition(transition: tuple[int, int], spanning: list[bool]) -> None:
    assert truth((BLANK, [transition])) == spanning


def test_precision_and_recall() -> None:
    video: Video = (BLANK, [(8, 8), (40, 40)])
    assert score(lambda frames: [True, True, False], [video]) == "50 / 50"
    assert score(lambda frames: [True, False, True], [video]) == "100 / 100"
    assert score(lambda frames: [False] * 3, [video]) == "– / 0"
    assert score(lambda frames: [True, False, False], [(BLANK, [])]) == "1 wrong"


@pytest.mark.slow
def test_the_rendered_videos_are_what_they_are_called() -> None:
    """One of each kind, with a transition where it is said to be, and ours finding it."""
    fade, transitions = next(mixed(12, black=True))
    [(_, alone)] = transitions
    assert not fade[alone:].any() and fade[alone - 1].any() and len(fade) == PART
    assert ours(fade) == truth((fade, transitions)) == [True]
    flash, none = next(flashes())
    assert not none and flash[9:11].min() > 220 and ours(flash) == [False]
