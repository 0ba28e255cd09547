"""Weizmann: the original's names, and the real videos of MoCoGAN's cut."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest

from shared.schema import TEST, TRAIN
from shared.store.store import Store
from tests.conftest import moving_square, write_video

Cli = Callable[..., tuple[int, str, str]]

ORIGINAL = {
    "daria_walk.avi": ("walk", "daria", TEST, TRAIN),
    "denis_bend.avi": ("bend", "denis", TEST, TRAIN),
    "eli_wave1.avi": ("wave one hand", "eli", TRAIN, TRAIN),
    "lena_run1.avi": ("run", "lena", TRAIN, TEST),
    "lena_run2.avi": ("run", "lena", TRAIN, TEST),
    "side/ira_side.avi": ("gallop sideways", "ira", TRAIN, TEST),
}
"""Text, person and sides of a few files, by name."""


def test_the_original_by_its_names(tmp_path: Path, cli: Cli) -> None:
    root, store = tmp_path / "videos", tmp_path / "store"
    for seed, name in enumerate((*ORIGINAL, "daria_walk1_mask.avi", "anna_walk.avi")):
        write_video(root / name, moving_square(36, 36, 45, seed))
    options = ("--size", 16, "--block", 8, "--search-range", 2, "--workers", 1)
    code, out, err = cli("run", "weizmann-original", "--root", root, "--out", store, *options)
    assert code == 0, err
    opened = Store(store)
    columns = (opened.column(name).tolist() for name in ("video", "label", "subject", "split"))
    found = {
        video: (opened.attributes.labels[label], opened.attributes.subjects[subject], *sides)
        for video, label, subject, sides in zip(*columns, strict=True)
    }
    assert found == ORIGINAL
    assert len(opened.attributes.labels) == 10
    # 36 frames hold windows of 31 at 0, 2 and 4.
    assert opened.column("start_frame").tolist() == [0, 2, 4] * len(ORIGINAL)
    assert "2 files rejected" in out
    assert cli("verify", store, "--root", root, "--sample", 1)[0] == 0


def test_the_real_cut(real_clips: Path, tmp_path: Path, cli: Cli) -> None:
    store, root = tmp_path / "store", real_clips / "weizmann"
    command = ("run", "weizmann", "--root", root, "--out", store, "--search-range", 2)
    code, out, err = cli(*command, "--workers", 1)
    assert code == 0, err
    assert "rejected" not in out
    opened = Store(store)
    options = opened.options
    assert (options.size.option, options.frames, options.stride, options.hop) == (64, 16, 2, 2)
    sides, people = opened.column("split"), opened.attributes.subjects
    assert Counter(sides[:, 0].tolist()) == {TRAIN: 618, TEST: 176}
    for protocol, test in enumerate((("s7", "s8"), ("s3", "s4"))):
        by_side = {
            side: {people[i] for i in opened.column("subject")[sides[:, protocol] == side]}
            for side in (TRAIN, TEST)
        }
        assert by_side == {TEST: set(test), TRAIN: set(people) - set(test)}
    assert set(opened.column("label").tolist()) == {0, 1, 2, 3}
    assert "is complete already" in cli(*command)[1]


@pytest.mark.parametrize("name", ["weizmann", "weizmann-strips", "weizmann-original"])
def test_without_videos_it_is_said_how_to_get_them(name: str, cli: Cli, tmp_path: Path) -> None:
    code, out, err = cli("run", name, "--root", tmp_path)
    assert (code, out) == (2, "")
    assert "Obtain:" in err and "Layout below the root:" in err
