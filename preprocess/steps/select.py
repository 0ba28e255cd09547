"""Decide which clips to leave out, by scene cuts and by motion: from their frames alone.

No option of the search has a part in it, so that a store that is searched again holds the same
clips as one that is made from the videos.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from preprocess.motion.cuts import find_transition
from preprocess.motion.encode import find_motion
from shared.motion_statistics import SEARCH, sums
from shared.schema import CodecOptions

_SEARCH = CodecOptions(**SEARCH)


def reason_to_leave_out(clip: NDArray[np.uint8], options: CodecOptions) -> str:
    """Reason for which a clip does not belong into the store; empty if it does.

    Args:
        clip: uint8 RGB, shape (T, 3, H, W).
        options: cuts, min_motion and max_motion are used here.
    """
    if options.cuts == "skip" and (transition := find_transition(clip)):
        return f"spans a {transition} (--cuts skip)"
    least, most = options.min_motion, options.max_motion
    if least is None and most is None:
        return ""
    motion = mean_motion(clip)
    if least is not None and motion < least:
        return f"moves less than --min-motion {least:g}"
    if most is not None and motion > most:
        return f"moves more than --max-motion {most:g}"
    return ""


def mean_motion(clip: NDArray[np.uint8]) -> float:
    """Mean length of a clip's vectors over blocks and frames, pixels a frame.

    The vectors are those of `shared.motion_statistics.SEARCH`, as `motion-stats` takes them.

    Args:
        clip: uint8 RGB, shape (T, 3, H, W).
    """
    vectors = find_motion(np.ascontiguousarray(clip), _SEARCH, _SEARCH.method)
    return float(sums(vectors[None]).mean())
