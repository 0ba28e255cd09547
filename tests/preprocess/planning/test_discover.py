from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import unicodedata
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from preprocess.planning.discover import discover
from shared.errors import UserError
from shared.manifest import load_manifest, manifest_names
from shared.store.store import Store
from tests.conftest import moving_square, write_video

Cli = Callable[..., tuple[int, str, str]]
FOLDER = load_manifest("folder")


def test_videos_with_labels_and_rejects_with_reasons(folder: Path) -> None:
    found = discover(folder, FOLDER)
    assert {video.path: video.label for video in found.videos} == {
        "TOP.MP4": None,
        "jump/a 100%d.mp4": "jump",
        "jump/b:colon.mp4": "jump",
        "short.mp4": None,
        "text.mp4": None,
        "wave/-dash 'quote' 🎬.avi": "wave",
        "wave/new\nline.mkv": "wave",
    }
    assert [video.path for video in found.videos] == sorted(video.path for video in found.videos)
    assert {reject.file: reject.reason for reject in found.rejects} == {
        "dangling.mp4": "a dangling link",
        "empty.mp4": "the file is empty",
    }


def test_odd_entries_are_rejected_with_reasons(tmp_path: Path) -> None:
    (tmp_path / "folder.mp4").mkdir()
    os.mkfifo(tmp_path / "pipe.mp4")
    Path(os.fsdecode(os.fsencode(tmp_path) + b"/bad\xff.mp4")).write_text("x")
    reasons = {reject.file: reject.reason for reject in discover(tmp_path, FOLDER).rejects}
    assert reasons == {
        "bad\\xff.mp4": "its name is not valid UTF-8",
        "folder.mp4": "a folder, not a file",
        "pipe.mp4": "not a regular file",
    }


def test_links_are_followed_once(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "a/v.mp4").write_text("x")
    (tmp_path / "a/loop").symlink_to(tmp_path)
    assert [video.path for video in discover(tmp_path, FOLDER).videos] == ["a/v.mp4"]


def test_a_folder_with_several_names_has_the_same_one_whatever_the_order(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "in/pool").mkdir(parents=True)
    (tmp_path / "out").mkdir()
    for name in ("in/pool/v.mp4", "out/w.mp4"):
        (tmp_path / name).write_text("x")
    for link in ("a", "z"):
        (tmp_path / f"in/{link}").symlink_to("pool")
        (tmp_path / f"in/out-{link}").symlink_to(tmp_path / "out")
    (tmp_path / "in/pool/up").symlink_to(tmp_path / "in")
    (tmp_path / "in/pool/self").symlink_to("self")
    listed = os.walk

    def other_order(*arguments: Any, **options: Any) -> Iterator[tuple[str, list[str], list[str]]]:
        for folder, subfolders, files in listed(*arguments, **options):
            subfolders.reverse()
            files.reverse()
            yield folder, subfolders, files

    first = discover(tmp_path / "in", FOLDER)
    monkeypatch.setattr(os, "walk", other_order)
    assert discover(tmp_path / "in", FOLDER) == first
    assert {v.path: v.label for v in first.videos} == {"out-a/w.mp4": "out-a", "pool/v.mp4": "pool"}
    notes = dict(first.notes)
    assert notes["left out"] == (
        "4 links to folders read under another name: 'a' is 'pool', 'out-z' is 'out-a',"
        " 'z' is 'pool', 'pool/up' is '.'"
    )


def test_hidden_and_unknown_files_are_counted(tmp_path: Path, cli: Cli) -> None:
    root, store = tmp_path / "videos", tmp_path / "store"
    write_video(root / "wave/v.mp4", moving_square(8, 24, 24))
    for name in ("wave/._v.mp4", ".cache/w.mp4", ".cache/x.mp4", "wave/no_ending", "wave/v.dat"):
        (root / name).parent.mkdir(exist_ok=True)
        (root / name).write_bytes((root / "wave/v.mp4").read_bytes())
    (root / "notes.txt").write_text("no video")
    options = ("--size", 16, "--frames", 4, "--block", 8, "--search-range", 2, "--workers", 1)
    code, out, err = cli("run", "folder", "--root", root, "--out", store, *options)
    assert code == 0, err
    assert "1 in" in out and "2 hidden files and folders" in out
    assert "3 files, by name: 1 .dat, 1 .txt, 1 without ending; --any-name looks at them" in out
    code, out, err = cli("run", "folder", "--root", root, "--out", store, *options, "--any-name")
    assert code == 2
    assert "--any-name differs" in err
    command = ("run", "folder", "--root", root, "--out", tmp_path / "all", *options, "--any-name")
    code, out, err = cli(*command)
    assert code == 0, err
    assert "4 in" in out and "not looked at" not in out
    assert set(Store(tmp_path / "all").column("video")) == {
        "wave/no_ending", "wave/v.dat", "wave/v.mp4",
    }  # fmt: skip
    assert "'notes.txt'" in out


def test_what_was_not_looked_at_is_named_where_there_is_nothing_else(tmp_path: Path) -> None:
    (tmp_path / "v.dat").write_text("x")
    with pytest.raises(UserError, match=r"no file below .* \(1 file, .*: 1 \.dat; --any-name"):
        discover(tmp_path, FOLDER)
    with pytest.raises(UserError, match="--any-name: frames of davis are known by"):
        discover(tmp_path, load_manifest("davis"), any_name=True)


@given(names=st.lists(st.sampled_from(["é", "e\u0301", " é ", "É", "wave", "wave "]), unique=True))
def test_labels_are_composed_and_without_blanks(
    names: list[str], tmp_path_factory: pytest.TempPathFactory
) -> None:
    root = tmp_path_factory.mktemp("labels")
    for name in ["other", *names]:
        (root / name).mkdir()
        (root / name / "v.mp4").write_text("x")
    labels = {video.path.split("/")[0]: video.label for video in discover(root, FOLDER).videos}
    assert labels == {n: unicodedata.normalize("NFC", n).strip() for n in ["other", *names]}


def test_a_blank_label_is_refused(tmp_path: Path) -> None:
    (tmp_path / "  ").mkdir()
    (tmp_path / "  /v.mp4").write_text("x")
    assert [reject.reason for reject in discover(tmp_path, FOLDER).rejects] == [
        "its label is blank"
    ]


LIST_REJECTS = """
import json, sys
from pathlib import Path
from preprocess.planning.discover import discover
from shared.manifest import load_manifest

rejects = discover(Path(sys.argv[1]), load_manifest("folder")).rejects
print(json.dumps({reject.file: reject.reason for reject in rejects}))
"""


def test_unreadable_files_and_folders_are_rejected(tmp_path: Path) -> None:
    (tmp_path / "v.mp4").write_text("x")
    (tmp_path / "v.mp4").chmod(0)
    (tmp_path / "locked").mkdir(mode=0)
    # Root reads everything, but for the capability to do so.
    command = ["setpriv", "--bounding-set=-dac_override,-dac_read_search"]
    if os.geteuid() == 0 and not shutil.which(command[0]):
        pytest.skip("root reads everything, and there is no setpriv")
    command = (command if os.geteuid() == 0 else []) + [sys.executable, "-c", LIST_REJECTS]
    listed = subprocess.run([*command, str(tmp_path)], check=True, capture_output=True)
    assert json.loads(listed.stdout) == {
        "locked": "the folder cannot be read: Permission denied",
        "v.mp4": "no permission to read it",
    }


def test_an_empty_or_absent_root_says_what_was_looked_for(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"no file below .* matches \*\.mp4"):
        discover(tmp_path, FOLDER)
    with pytest.raises(UserError, match=r"(?s)no folder .*archive.*segmentation\.txt.*--root DIR"):
        discover(tmp_path / "nowhere", load_manifest("natops"))


def test_names_outside_the_layout_are_rejected(tmp_path: Path) -> None:
    for name in ("gesture01/g01s01r01.mp4", "gesture01/g01s0xr1.mp4", "gesture77/g77s01r01.mp4"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text("x")
    found = discover(tmp_path, load_manifest("gestures"))
    assert [(v.label, v.subject) for v in found.videos] == [("I Have Command", "01")]
    assert {reject.file: reject.reason for reject in found.rejects} == {
        "gesture01/g01s0xr1.mp4": "its name does not follow the data set's layout",
        "gesture77/g77s01r01.mp4": "label '77' is not in the manifest",
    }


def test_every_data_set_with_its_place(cli: Cli, tmp_path: Path) -> None:
    (tmp_path / "mhad/RGB").mkdir(parents=True)
    (tmp_path / "mhad/RGB/a1_s1_t1_color.avi").touch()
    (tmp_path / "natops").mkdir()
    code, out, _ = cli("datasets", "--data", tmp_path, "--json")
    assert code == 0
    facts = {entry["name"]: entry for entry in json.loads(out)}
    assert sorted(facts) == manifest_names()
    assert [name for name, entry in facts.items() if entry["present"]] == ["mhad"]
    assert facts["natops"]["root"] == str(tmp_path / "natops")
    assert facts["mhad"]["bytes"] == 1106885499
    assert facts["natops"]["bytes"] is None
    assert facts["natops"]["files"] == 25


def test_the_table(cli: Cli) -> None:
    code, out, _ = cli("datasets")
    assert code == 0
    for shown in ("data/ucf101", "861 videos", "1.1 GB", "By hand", "download NAME"):
        assert shown in out
