"""FFmpeg's exhaustive search, an implementation that shares nothing with ours, finds the same."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from benchmarks.clips import lumas
from benchmarks.ffmpeg import mestimate, pipeline_seconds, vectors
from preprocess.motion import search
from shared.conventions import Codec
from shared.motion_compensation import predict


def moving(frames: int, height: int, width: int) -> NDArray[np.uint8]:
    """Pieces of a picture, which moves behind the frame, with a little noise."""
    rng = np.random.default_rng(3)
    picture = rng.integers(0, 230, (height + 64, width + 64), dtype=np.uint8)
    noise = rng.integers(0, 20, (frames, height, width), dtype=np.uint8)
    places = [(32 + 3 * n, 32 - 4 * n) for n in range(frames)]
    return np.stack([picture[y:, x:][:height, :width] for y, x in places]) + noise


def sad(luma: NDArray[np.uint8], motion: NDArray[np.int8]) -> int:
    moved = predict(luma[:-1, None], motion, Codec(16))[:, 0]
    return int(np.abs(luma[1:].astype(int) - moved).sum())


@pytest.mark.parametrize("search_range", [7, 16])
def test_the_same_vectors_as_esa(search_range: int) -> None:
    luma = moving(6, 64, 96)
    ours = search(luma, Codec(16), search_range=search_range)[:-1]
    assert ours.any()
    assert np.array_equal(vectors(luma, "esa", search_range), ours)


def test_the_same_vectors_as_esa_on_real_clips(real_clips: Path) -> None:
    names = ("bbb_mvx_h264_720p.mp4", "nasa_13013.mp4", "sam2_bedroom.mp4", "asl_book.mkv")
    for luma in lumas([real_clips / "clips" / name for name in names], 128):
        theirs = vectors(luma, "esa", 16)
        ours = search(luma, Codec(16), search_range=16)[:-1]
        assert sad(luma[:-1], ours) == sad(luma[:-1], theirs)
        assert np.array_equal(theirs, ours)


def test_what_is_not_exhaustive_is_no_better() -> None:
    luma = moving(6, 64, 96)
    ours = search(luma, Codec(16), search_range=16)[:-1]
    for method in ("epzs", "hexbs"):
        assert sad(luma[:-1], ours) <= sad(luma[:-1], vectors(luma, method, 16))


def test_the_filter_takes_time() -> None:
    luma = np.concatenate([moving(6, 64, 96)] * 4)
    assert pipeline_seconds(luma, mestimate("esa", 16)) > pipeline_seconds(luma, "null")
