"""README's Python example, as it stands there."""

from __future__ import annotations

import re
from pathlib import Path

import av
import numpy as np
import pytest
from PIL import Image

from tests.conftest import write_video

README = Path(__file__).parents[2] / "README.md"


def test_the_example_runs(run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """In a folder with the videos, the run and the picture that it names."""
    [example] = re.findall(r"```python\n(.*?)```", README.read_text(), re.DOTALL)
    frames = np.random.default_rng(0).integers(0, 256, (17, 48, 64, 3), np.uint8)
    write_video(tmp_path / "videos" / "Go" / "a.mkv", frames)
    (tmp_path / "demo").mkdir()
    (tmp_path / "demo" / "run").symlink_to(run)
    Image.fromarray(frames[0]).save(tmp_path / "photo.jpg")
    monkeypatch.chdir(tmp_path)
    names: dict[str, object] = {}
    exec(example, names)
    assert np.asarray(names["clip"].frames).shape == (16, 64, 64, 3)  # type: ignore[attr-defined]
    with av.open("video.mp4") as container:
        assert len(list(container.decode(video=0))) == 46
