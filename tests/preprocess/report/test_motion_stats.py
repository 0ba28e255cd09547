"""Motion of videos whose motion is known: one way, backwards, in a wrong order."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from tests.conftest import write_video

Cli = Callable[..., tuple[int, str, str]]

FRAMES, SIDE = 16, 32


def passing_square(seed: int) -> NDArray[np.uint8]:
    """A textured square that goes to the right, one or two pixels a frame, then is gone."""
    rng = np.random.default_rng(seed)
    square = rng.integers(150, 255, (10, 10, 3), dtype=np.uint8)
    top, speed = int(rng.integers(4, 18)), 1 + seed % 2
    video = np.full((FRAMES, SIDE, SIDE + 10, 3), 90, np.uint8)
    for n in range(FRAMES):
        left = min(2 + speed * n, SIDE)
        video[n, top : top + 10, left : left + 10] = square
    return video[:, :, :SIDE]


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folders `one`, `two`, `backwards` and `shuffled`: lossless videos of 16 frames."""
    root = tmp_path_factory.mktemp("motion")
    order = np.random.default_rng(0).permutation(FRAMES)
    for seed in range(12):
        video, name = passing_square(seed), f"{seed:02}.mkv"
        changes = {"one": video, "backwards": video[::-1], "shuffled": video[order]}
        for folder, frames in (changes if seed < 8 else {"two": video}).items():
            write_video(root / folder / name, frames, codec="ffv1", pixels="bgr0")
    return root


def compared(cli: Cli, one: Path, other: Path, *more: object) -> dict[str, Any]:
    code, out, err = cli("motion-stats", one, other, "--workers", 1, "--json", *more)
    assert code == 0, err
    facts: dict[str, Any] = json.loads(out)
    return facts


def test_real_is_near_real_and_other_play_is_far(cli: Cli, folders: Path) -> None:
    one, found = folders / "one", {}
    for name in ("two", "backwards", "shuffled"):
        facts = compared(cli, one, folders / name, "--size", SIDE)
        found[name] = {n: s["between"] for n, s in facts["statistics"].items()}
    assert [each["clips"] for each in facts["sets"]] == [8, 8]
    assert [each["frames"] for each in facts["sets"]] == [16, 16]
    js = {name: {n: s["jensen_shannon"] for n, s in of.items()} for name, of in found.items()}
    # Backwards: directions and places alone can see it.
    assert js["backwards"]["direction"] > 0.8 > 0.1 > js["two"]["direction"]
    assert js["backwards"]["place"] > 2 * js["two"]["place"]
    length = {name: of["length"]["wasserstein"] for name, of in found.items()}
    assert length["backwards"] < 0.1 and length["two"] < 0.1
    # In a wrong order: all of them.
    assert length["shuffled"] > 2 * max(length["two"], length["backwards"])
    for name in ("length", "direction", "place"):
        assert js["shuffled"][name] > 2 * js["two"][name]


def test_a_set_does_not_differ_from_itself_in_a_store_of_any_search(
    cli: Cli, folders: Path, tmp_path: Path
) -> None:
    one, store = folders / "one", tmp_path / "store"
    extraction = ("run", "folder", "--root", one, "--out", store, "--workers", 1)
    code, _, err = cli(*extraction, "--size", SIDE, "--reference", "first", "--block", 4)
    assert code == 0, err
    facts = compared(cli, store, one)
    assert facts["size"] == SIDE, "a folder takes the store's"
    for statistic in facts["statistics"].values():
        assert set(statistic["between"].values()) <= {0, None}
        assert statistic["halves_of_the_first"]["jensen_shannon"] > 0
    code, out, err = cli("motion-stats", store, one, "--workers", 1)
    assert code == 0, err
    assert f"A: {store}: 8 clips of 16 frames from 8 videos" in out
    assert "direction of every moving block" in out
    code, _, err = cli("motion-stats", store, one, "--size", "24x16", "--workers", 1)
    assert code == 2
    assert "frames of 32x32 pixels" in err and f"{one} of 24x16: pixels a frame" in err
    assert "extract one of them anew with --size 24x16 or 32" in err


def test_folders_without_videos_are_refused(cli: Cli, folders: Path, tmp_path: Path) -> None:
    code, _, err = cli("motion-stats", folders / "one", tmp_path / "none", "--size", SIDE)
    assert code == 2
    assert f"no folder {tmp_path / 'none'}" in err
