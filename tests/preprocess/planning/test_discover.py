from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from preprocess.planning.discover import discover
from shared.errors import UserError
from shared.manifest import load_manifest, manifest_names

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
