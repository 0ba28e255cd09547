"""A data set of the user's own: the template, copied and used as the documentation says."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from shared.schema import NEITHER, TEST, TRAIN
from shared.store.store import Store
from tests.conftest import moving_square, write_video

Cli = Callable[..., tuple[int, str, str]]
TEMPLATE = Path(__file__).parent.parent.parent / "docs/mine.yaml"
OPTIONS = ("--size", 32, "--frames", 4, "--block", 8, "--search-range", 4, "--workers", 1)
VIDEOS = (
    *("clap/ben_1.mp4", "clap/dora_1.mp4", "jump/ben_1.mp4", "wave/anna_1.mp4"),
    *("wave/anna_1_mirrored.mp4", "wave/carla_2.mp4", "wave/eve_1.mp4"),
)
NAMES = "subject_names: {anna: anna, ben: ben, carla: carla, dora: dora}\n"


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working folder with videos at the default root, and the template."""
    for seed, name in enumerate(VIDEOS):
        write_video(tmp_path / "data/mine" / name, moving_square(8, 32, 32, seed))
    shutil.copy(TEMPLATE, tmp_path / "mine.yaml")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_from_the_template_to_a_verified_store(place: Path, cli: Cli) -> None:
    text = (place / "mine.yaml").read_text().replace("#exclude", "exclude") + NAMES
    (place / "mine.yaml").write_text(text)
    code, out, err = cli("run", "mine.yaml", *OPTIONS)
    assert code == 0, err
    opened = Store(place / "stores/mine-size32-frames4-block8-range4")
    assert opened.attributes.labels == ("wave one hand", "clap both hands")
    found = {
        video: (opened.attributes.labels[label], opened.attributes.subjects[subject], side)
        for video, label, subject, side in zip(
            *(opened.column(name).tolist() for name in ("video", "label", "subject")),
            opened.column("split")[:, 0].tolist(),
            strict=True,
        )
    }
    assert found == {
        "clap/ben_1.mp4": ("clap both hands", "ben", TRAIN),
        "clap/dora_1.mp4": ("clap both hands", "dora", NEITHER),
        "wave/anna_1.mp4": ("wave one hand", "anna", TRAIN),
        "wave/carla_2.mp4": ("wave one hand", "carla", TEST),
    }
    lines = (opened.path / "rejected.jsonl").read_text().splitlines()
    assert {record["file"]: record["reason"] for record in map(json.loads, lines)} == {
        "jump/ben_1.mp4": "label 'jump' is not in the manifest",
        "wave/anna_1_mirrored.mp4": "a mirror image of another video",
        "wave/eve_1.mp4": "subject 'eve' is not in the manifest",
    }
    assert "a mirror image of another video" in out
    code, out, err = cli("verify", opened.path)
    assert code == 0, out + err
    code, out, err = cli("run", "./mine.yaml", *OPTIONS)
    assert code == 0, err
    assert out.startswith("stores/mine-size32-frames4")
    code, out, err = cli("report", opened.path)
    assert code == 0, err
    assert "preprocess run mine.yaml --root DIR" in (place / "report.html").read_text()
    (place / "mine.yaml").write_text(text.replace("wave one hand", "wave a hand"))
    code, out, err = cli("run", "mine.yaml", *OPTIONS)
    assert (code, out) == (2, "")
    assert "manifest hash" in err


def test_a_store_is_named_after_the_manifest_wherever_it_lies(place: Path, cli: Cli) -> None:
    (place / "deep").mkdir()
    (place / "mine.yaml").rename(place / "deep/mine.yaml")
    assert cli("run", "deep/mine.yaml", "--print-store") == (0, "stores/mine\n", "")
    code, out, err = cli("run", "mine.yaml")
    assert (code, out) == (2, "")
    assert "manifest mine.yaml cannot be read: No such file or directory" in err
    code, out, err = cli("run", "mine")
    assert (code, out) == (2, "")
    assert "or the path of your own manifest: ./mine.yaml" in err


def test_what_a_manifest_says_is_shown_and_fetched(place: Path, cli: Cli) -> None:
    code, out, _ = cli("datasets", "mine.yaml", "mhad", "--json")
    mine, mhad = json.loads(out)
    assert (mine["name"], mine["present"], mine["root"]) == ("mine", True, "data/mine")
    assert (mhad["name"], mhad["present"]) == ("mhad", False)
    code, out, _ = cli("datasets", "mine.yaml")
    assert code == 0
    assert "My videos: 40 videos of 4 gestures" in out
    assert "natops" not in out
    assert cli("datasets", "nope")[0] == 2
    code, out, err = cli("download", "mine.yaml")
    assert (code, out) == (2, "")
    assert "Obtain: ask me" in err
    shutil.rmtree(place / "data")
    code, out, err = cli("run", "mine.yaml")
    assert code == 2
    assert "no folder data/mine" in err
    assert "LABEL/PERSON_TAKE.mp4" in err
