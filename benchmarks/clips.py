"""Inputs of the benchmarks: real clips if there are any, rendered gestures, noise, flat frames."""

from __future__ import annotations

import os
from functools import cache
from itertools import islice
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from preprocess.datasets.gestures.dataset import ensure_rendered
from preprocess.frames.geometry import Geometry
from preprocess.sources.video import decode
from shared.console import Progress
from shared.conventions import luma

REAL = (
    "bbb_mvx_h264_720p.mp4",
    "nasa_13013.mp4",
    "sam2_bedroom.mp4",
    *(
        f"asl_{sign}.mkv"
        for sign in (
            "again", "book", "brother", "help", "learn", "no", "school", "student", "walk", "yes"
        )
    ),
)  # fmt: skip
FRAMES = 16


def real_videos() -> list[Path]:
    """Files in the folder that DVDM_TEST_CLIPS names; none if it is not set."""
    folder = os.environ.get("DVDM_TEST_CLIPS")
    return [Path(folder, "clips", name) for name in REAL] if folder else []


def real_people() -> list[Path]:
    """Real videos that show a person signing."""
    return [video for video in real_videos() if video.name.startswith("asl_")]


@cache
def gesture_videos(folder: Path) -> list[Path]:
    ensure_rendered(folder, 1, Progress())
    return sorted(folder.rglob("*.mp4"))[:24]


def first_frames(video: Path, size: int, count: int = FRAMES) -> NDArray[np.uint8]:
    """Decode the first frames of a video, uint8 RGB, shape (count, 3, size, size)."""
    return np.stack(
        [frame for _, frame in islice(decode(video, range(count), Geometry(size)), count)]
    )


def lumas(videos: list[Path], size: int) -> list[NDArray[np.uint8]]:
    return [luma(first_frames(video, size)) for video in videos]


def noise(size: int) -> NDArray[np.uint8]:
    return np.random.default_rng(0).integers(0, 256, (FRAMES, size, size), dtype=np.uint8)


def flat(size: int) -> NDArray[np.uint8]:
    return np.full((FRAMES, size, size), 90, np.uint8)
