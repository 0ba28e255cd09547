"""The script that ours is compared with does the same work: its clips come back exactly."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from benchmarks.straightforward import _move, extract
from tests.conftest import moving_square, write_video


def test_clips_come_back(tmp_path: Path) -> None:
    video = write_video(tmp_path / "v.mp4", moving_square(35, 48, 64))
    assert extract(video, tmp_path, 32) == 2
    stored = np.load(tmp_path / "v-1.npz")
    assert stored["motion"].shape == (15, 2, 2, 2)
    frame = stored["first"]
    for motion, residual in zip(stored["motion"], stored["residual"], strict=True):
        frame = _move(frame, motion) + residual
        assert frame.min() >= 0
        assert frame.max() <= 255
    assert np.abs(stored["residual"]).mean() < 40
