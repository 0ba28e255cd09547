"""Split protocols: nothing on both sides, and the counts that the papers state."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from preprocess.planning.splits import read_lists, sides, usable_splits
from preprocess.records import Performance
from shared.errors import UserError
from shared.manifest import ListSplit, PathSplit, RandomSplit, SubjectSplit, load_manifest
from shared.schema import NEITHER, TEST, TRAIN
from shared.store.store import Store
from tests.conftest import moving_square, write_video

Cli = Callable[..., tuple[int, str, str]]

PERFORMANCES = st.lists(
    st.builds(Performance, st.sampled_from("abcdefgh"), st.integers(0, 3), st.sampled_from("123")),
    unique_by=lambda of: (of.video, of.segment),
    min_size=1,
)


def side_of(performances: list[Performance], split: object) -> list[int]:
    return [side for (side,) in sides(performances, {"only": split}, {})]  # type: ignore[dict-item]


@given(
    PERFORMANCES,
    st.sampled_from(["subject", "video", "segment"]),
    st.floats(0, 1),
    st.integers(0, 9),
)
def test_groups_are_whole_on_one_side(
    performances: list[Performance], by: str, test_fraction: float, seed: int
) -> None:
    split = RandomSplit(by=by, test_fraction=test_fraction, seed=seed)  # type: ignore[arg-type]
    found = side_of(performances, split)
    group = {
        "subject": lambda of: of.subject,
        "video": lambda of: of.video,
        "segment": lambda of: (of.video, of.segment),
    }[by]
    train = {
        group(performance)
        for performance, side in zip(performances, found, strict=True)
        if side == TRAIN
    }
    test = {
        group(performance)
        for performance, side in zip(performances, found, strict=True)
        if side == TEST
    }
    assert not train & test
    assert NEITHER not in found
    groups = len(train | test)
    assert len(test) == min(groups - 1, max(1, round(test_fraction * groups)))


def test_seeds_draw_differently_and_the_order_does_not_matter() -> None:
    performances = [Performance(f"{n}.mp4", 0, None) for n in range(30)]
    drawn = [
        side_of(performances, RandomSplit(by="video", test_fraction=0.3, seed=s)) for s in range(3)
    ]
    assert drawn[0] != drawn[1] != drawn[2]
    assert side_of(performances[::-1], RandomSplit(by="video", test_fraction=0.3))[::-1] == drawn[0]


def test_subjects_by_name() -> None:
    performances = [Performance(f"{subject}.mp4", 0, subject) for subject in ("1", "2", "3", None)]
    split = SubjectSplit(kind="subjects", train=("1",), test=("3",))
    assert side_of(performances, split) == [TRAIN, NEITHER, TEST, NEITHER]


def test_paths_by_pattern() -> None:
    performances = [
        Performance(name, 0, None) for name in ("x/sky_train/a", "sky_test/a", "other/a")
    ]
    split = PathSplit(kind="paths", train="(^|/)sky_train/", test="(^|/)sky_test/")
    assert side_of(performances, split) == [TRAIN, TEST, NEITHER]


def test_lists_by_name(tmp_path: Path) -> None:
    (tmp_path / "train.txt").write_text("Archery/v_A_g01.avi 3\n\nv_B_g01\n")
    (tmp_path / "test.txt").write_text("Archery/v_A_g02.avi\n")
    split = ListSplit(kind="lists", train="train.txt", test="test.txt")
    lists = read_lists(tmp_path, {"only": split})
    names = ("v_a_g01.avi", "v_B_g01", "v_A_g02.avi", "c")
    performances = [Performance(f"deep/{name}", 0, None) for name in names]
    assert sides(performances, {"only": split}, lists) == [(TRAIN,), (TRAIN,), (TEST,), (NEITHER,)]
    (tmp_path / "test.txt").write_text("v_b_g01.avi")
    with pytest.raises(UserError, match=r"both list v_b_g01; no video may be on both sides"):
        read_lists(tmp_path, {"only": split})


def test_lists_that_are_not_there(tmp_path: Path) -> None:
    manifest = load_manifest("ucf101")
    with pytest.raises(UserError, match=r"'official-1' needs ucfTrainTestlist/trainlist01.txt and"):
        usable_splits(tmp_path, manifest)
    (tmp_path / "ucfTrainTestlist").mkdir()
    for name in ("trainlist01", "testlist01", "trainlist02"):
        (tmp_path / f"ucfTrainTestlist/{name}.txt").write_text("")
    assert list(usable_splits(tmp_path, manifest)) == ["official-1"]


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One file of 40 frames of 8 x 8 pixels, to be linked under many names."""
    path = tmp_path_factory.mktemp("tiny") / "tiny.avi"
    return write_video(path, moving_square(40, 8, 8), codec="rawvideo", pixels="bgr24")


OPTIONS = ("--size", 8, "--frames", 2, "--block", 4, "--search-range", 1, "--crop", "none")


def counts(store: Path, protocol: str) -> tuple[int, int]:
    """Clips for training and test, after a look that nothing is on both sides."""
    from train.data.clips import split_clips

    opened = Store(store)
    train, test = split_clips(opened, protocol)
    performances = [*zip(opened.column("video"), opened.column("segment"), strict=True)]
    assert not {performances[i] for i in train} & {performances[i] for i in test}
    return len(train), len(test)


@pytest.mark.slow
def test_mhad_of_full_size(tiny: Path, tmp_path: Path, cli: Cli) -> None:
    absent = {(8, 1, 4), (23, 6, 4), (27, 8, 4)}
    root, store = tmp_path / "mhad", tmp_path / "store"
    (root / "RGB").mkdir(parents=True)
    for a in range(1, 28):
        for s in range(1, 9):
            for t in range(1, 5):
                if (a, s, t) not in absent:
                    (root / f"RGB/a{a}_s{s}_t{t}_color.avi").hardlink_to(tiny)
    code, _, err = cli("run", "mhad", "--root", root, "--out", store, *OPTIONS, "--workers", 1)
    assert code == 0, err
    assert counts(store, "dvdm-random") == (602, 259)
    assert counts(store, "lfdm-subject") == (431, 430)
    opened = Store(store)
    assert opened.attributes.splits["dvdm-random"]["seed"] == 0
    subjects = np.array(opened.attributes.subjects)[opened.column("subject")]
    sides_now = opened.column("split")[:, 1]
    assert set(subjects[sides_now == TRAIN]) == set("1235")
    assert set(subjects[sides_now == TEST]) == set("4678")
    assert opened.column("frame_index")[0].tolist() == [0, 39]
    assert "602 train, 259 test" in cli("inspect", store)[1]


@pytest.mark.slow
def test_natops_of_full_size(
    tiny: Path, tmp_path: Path, cli: Cli, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Few large shards: what performances time here are files, not clips.
    monkeypatch.setattr("preprocess.planning.plan.MAX_SHARD_CLIPS", 4096)
    root, store = tmp_path / "natops", tmp_path / "store"
    lines = []
    for subject in range(1, 21):
        lines.append(f"// Subject {subject}")
        for gesture in range(1, 25):
            lines.append(f"{subject},{gesture},20")
            lines += [f"{n + 1}:{2 * n + 1},{2 * n + 2}" for n in range(20)]
            path = root / f"data/gesture{gesture:02d}/g{gesture:02d}s{subject:02d}.avi"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.hardlink_to(tiny)
    (root / "data/segmentation.txt").write_text("\n".join(lines))
    code, _, err = cli("run", "natops", "--root", root, "--out", store, *OPTIONS, "--workers", 1)
    assert code == 0, err
    assert counts(store, "dvdm-random") == (6720, 2880)
    # Ten and nine of twenty subjects, 480 repetitions each; subject 1 is in neither.
    assert counts(store, "lfdm-subject") == (4800, 4320)
    assert len(Store(store)) == 9600


def test_ucf101_with_its_lists(tiny: Path, tmp_path: Path, cli: Cli) -> None:
    root, store = tmp_path / "ucf101", tmp_path / "store"
    groups = {1: range(1, 8), 2: range(8, 15), 3: range(15, 22)}
    names = [f"{c}/v_{c}_g{g:02d}_c01.avi" for c in ("Archery", "YoYo") for g in range(1, 26)]
    for name in names:
        (root / "UCF-101" / name).parent.mkdir(parents=True, exist_ok=True)
        (root / "UCF-101" / name).hardlink_to(tiny)
    (root / "ucfTrainTestlist").mkdir()
    for number, held_out in groups.items():
        test = [name for name in names if int(name[-10:-8]) in held_out]
        train = [f"{name} 1" for name in names if name not in test]
        for kind, listed in (("train", train), ("test", test)):
            path = root / f"ucfTrainTestlist/{kind}list{number:02d}.txt"
            path.write_text("\r\n".join(listed))
    options = (*OPTIONS, "--clips", "span", "--workers", 1)
    code, _, err = cli("run", "ucf101", "--root", root, "--out", store, *options)
    assert code == 0, err
    for number in groups:
        assert counts(store, f"official-{number}") == (36, 14)
    opened = Store(store)
    assert len(opened.attributes.labels) == 101
    assert {opened.attributes.labels[i] for i in opened.column("label")} == {"archery", "yo yo"}
