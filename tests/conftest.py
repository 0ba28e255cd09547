"""Small real video files, made with PyAV; and real ones from outside where there are any."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator
from fractions import Fraction
from itertools import product
from pathlib import Path

import numpy as np
import pytest
from hypothesis import settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from shared.conventions import BLOCKS, COMPENSATIONS, REFERENCES, VECTOR_UNITS, Codec

# One thread a process: the tests run in several, and threads that wait for each other's turn on few
# cores take many times as long. Set before torch or numba is imported, and for child processes.
os.environ.setdefault("OMP_NUM_THREADS", "1")

settings.register_profile("dvdm", deadline=None, max_examples=40, derandomize=True)
settings.load_profile("dvdm")

CODECS = [Codec(*values) for values in product(BLOCKS, REFERENCES, VECTOR_UNITS, COMPENSATIONS)]
"""Every block size with every reference, vector unit and compensation."""

codecs = st.sampled_from(CODECS)
"""Draws one of them."""


def moving_square(frames: int, height: int, width: int, seed: int = 0) -> NDArray[np.uint8]:
    """A textured square that moves over a textured ground, uint8 (T, H, W, 3)."""
    rng = np.random.default_rng(seed)
    ground = rng.integers(60, 120, (height, width, 3), dtype=np.uint8)
    side = max(1, min(height, width) // 3)
    square = rng.integers(150, 255, (side, side, 3), dtype=np.uint8)
    video = np.repeat(ground[None], frames, axis=0)
    for n in range(frames):
        y, x = (2 * n) % (height - side + 1), (3 * n) % (width - side + 1)
        video[n, y : y + side, x : x + side] = square
    return video


def write_video(
    path: Path,
    video: NDArray[np.uint8],
    *,
    codec: str = "mpeg4",
    pixels: str = "yuv420p",
    gop: int = 12,
    options: dict[str, str] | None = None,
) -> Path:
    """Write uint8 (T, H, W, 3), or 4 with alpha, to a file, a key frame every `gop` frames."""
    import av

    path.parent.mkdir(parents=True, exist_ok=True)
    with av.open(str(path.absolute()), "w") as container:
        stream = container.add_stream(codec, rate=Fraction(20), options=options or {})
        stream.codec_context.gop_size = gop
        stream.height, stream.width = video.shape[1:3]
        stream.pix_fmt = pixels
        for pts, picture in enumerate(video):
            frame = av.VideoFrame.from_ndarray(
                picture, format="rgba" if video.shape[-1] == 4 else "rgb24"
            )
            frame.pts = pts
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return path


@pytest.fixture(scope="session")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of good and bad files: 5 videos in two sub-folders, at the top, and 4 rejects."""
    root = tmp_path_factory.mktemp("videos")
    write_video(root / "jump" / "a 100%d.mp4", moving_square(20, 32, 48, 1))
    write_video(root / "jump" / "b:colon.mp4", moving_square(9, 32, 32, 2))
    write_video(root / "wave" / "-dash 'quote' 🎬.avi", moving_square(30, 40, 30, 3))
    write_video(root / "wave" / "new\nline.mkv", moving_square(13, 33, 35, 4), codec="ffv1")
    write_video(root / "TOP.MP4", moving_square(8, 24, 24, 5))
    write_video(root / "short.mp4", moving_square(3, 24, 24, 6))
    (root / "empty.mp4").touch()
    (root / "text.mp4").write_text("not a video")
    (root / "dangling.mp4").symlink_to(root / "nowhere.mp4")
    (root / "notes.txt").write_text("ignored")
    return root


def call_preprocess(*arguments: object) -> int:
    """Run the command line of `preprocess` in this process; returns its exit code."""
    from preprocess.__main__ import main

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", ["preprocess", *map(str, arguments)])
        patch.setenv("COLUMNS", "200")
        try:
            main()
        except SystemExit as stop:
            assert isinstance(stop.code, int | None)
            return stop.code or 0
    return 0


@pytest.fixture
def cli(capsys: pytest.CaptureFixture[str]) -> Iterator[Callable[..., tuple[int, str, str]]]:
    """Call the command line of `preprocess`: exit code, stdout, stderr."""

    def call(*arguments: object) -> tuple[int, str, str]:
        code = call_preprocess(*arguments)
        captured = capsys.readouterr()
        return code, captured.out, captured.err

    yield call


@pytest.fixture(scope="session")
def real_clips() -> Path:
    """A folder with `clips/` and `bad/`, named by DVDM_TEST_CLIPS; skips where it is not set."""
    named = os.environ.get("DVDM_TEST_CLIPS")
    if not named:
        pytest.skip("DVDM_TEST_CLIPS does not name a folder of real video files")
    return Path(named)
