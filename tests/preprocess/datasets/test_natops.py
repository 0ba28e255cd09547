from __future__ import annotations

from pathlib import Path

import pytest

from preprocess.datasets.natops import parse_segmentation
from preprocess.planning.discover import discover
from preprocess.records import Segment
from shared.errors import UserError
from shared.manifest import load_manifest
from tests.conftest import moving_square, write_video

TEXT = """\
// Subject 1
1,1,2
1:1,40
2:41,75

1,2,1
1:3,30
// Subject 2
2,1,1
1:10,60
"""


def test_repetitions_are_half_open_and_count_from_zero() -> None:
    assert parse_segmentation(TEXT) == {
        "g01s01.avi": (Segment(0, 40), Segment(40, 75)),
        "g02s01.avi": (Segment(2, 30),),
        "g01s02.avi": (Segment(9, 60),),
    }


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("1:1,40", "line 1: '1:1,40'; expected"),
        ("1,1,20\nnonsense", "line 2: 'nonsense'; expected"),
        ("1,1,20\n1:0,5", "line 2: frames 0 to 5; frames count from 1"),
        ("1,1,20\n1:9,5", "line 2: frames 9 to 5"),
    ],
)
def test_malformed_lines_are_named(text: str, message: str) -> None:
    with pytest.raises(UserError, match=message):
        parse_segmentation(text)


def test_a_tree_in_the_true_layout(tmp_path: Path, cli) -> None:  # type: ignore[no-untyped-def]
    root, store = tmp_path / "natops", tmp_path / "store"
    for name in ("g01s01", "g01s02", "g02s01"):
        write_video(root / f"data/gesture{name[1:3]}/{name}.avi", moving_square(75, 24, 32))
    for kind in "md":
        (root / f"data/gesture01/g01s01{kind}.avi").write_text("masks and depth are not used")
    (root / "data/gesture03").mkdir()
    (root / "data/gesture03/g03s01.avi").write_text("not in the segmentation file")
    (root / "data/segmentation.txt").write_text(TEXT)
    code, out, err = cli(
        *("run", "natops", "--root", root, "--out", store, "--size", 16, "--workers", 1),
        *("--clips", "windows", "--stride", 2, "--crop", "none"),
    )
    assert code == 0, err
    from shared.store.store import Store

    opened = Store(store)
    # 31 frames make a clip of 16 at stride 2; segment 3..30 of gesture 2 has 28.
    found = list(
        zip(opened.column("video").tolist(), opened.column("start_frame").tolist(), strict=True)
    )
    assert found == [
        ("data/gesture01/g01s01.avi", 0),
        ("data/gesture01/g01s01.avi", 40),
        ("data/gesture01/g01s02.avi", 9),
    ]
    assert opened.column("label").tolist() == [0, 0, 0]
    assert [opened.attributes.subjects[i] for i in opened.column("subject")] == ["01", "01", "02"]
    assert opened.attributes.labels[0] == "I Have Command"
    assert "the segmentation file does not mention it" in out
    assert "1 of 1 segments are too short; one clip at stride 2 needs 31" in out


def test_a_missing_segmentation_file_is_the_users_mistake(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"segmentation\.txt is missing"):
        discover(tmp_path, load_manifest("natops"))
