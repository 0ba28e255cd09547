from __future__ import annotations

from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from train.stages.previews import Preview, read_films, read_latest, save_preview


def preview(step: int, motion: bool = True) -> Preview:
    rng = np.random.default_rng(step)
    clips = rng.integers(0, 256, (2, 2, 5, 3, 8, 12), np.uint8)
    vectors = rng.integers(-3, 4, (2, 4, 2, 2, 3)).astype(np.int8)
    return Preview(step, np.array([1, -1]), *clips, {"motion": vectors} if motion else {})


def test_the_newest_preview_is_read_back_as_it_was(tmp_path: Path) -> None:
    for step, motion in ((10, False), (200, True)):
        made = preview(step, motion)
        save_preview(tmp_path, made)
        found = read_latest(tmp_path)
        assert found is not None and found.step == step
        for name in ("label", "real", "generated"):
            assert np.array_equal(getattr(found, name), getattr(made, name))
        assert list(found.parts) == ["motion"] * motion
    assert np.array_equal(found.parts["motion"], made.parts["motion"])
    assert found.parts["motion"].dtype == np.int8
    assert list(read_films(tmp_path)) == [10, 200]


def test_films_have_real_above_generated_in_columns(tmp_path: Path) -> None:
    made = preview(1)
    film = made.columns()
    assert film.shape == (5, 3, 16, 24)
    assert np.array_equal(film[:, :, :8, 12:], made.real[1])
    assert np.array_equal(film[:, :, 8:, :12], made.generated[0])
    save_preview(tmp_path, made)
    with Image.open(BytesIO(read_films(tmp_path)[1].read_bytes())) as image:
        assert (image.format, image.n_frames, image.size) == ("WEBP", 5, (24, 16))


def test_a_repeated_step_replaces_its_film(tmp_path: Path) -> None:
    for motion in (True, False):
        save_preview(tmp_path, preview(7, motion))
    assert list(read_films(tmp_path)) == [7]
    latest = read_latest(tmp_path)
    assert latest is not None and latest.parts == {}
    assert not [path for path in (tmp_path / "previews").iterdir() if path.name.startswith(".")]


@pytest.mark.parametrize("folder", ["none", "."])
def test_a_stage_without_previews_has_none(tmp_path: Path, folder: str) -> None:
    assert read_films(tmp_path / folder) == {}
    assert read_latest(tmp_path / folder) is None
