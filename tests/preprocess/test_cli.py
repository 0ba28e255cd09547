"""Exit codes and messages: 0 done, 2 the user's mistake."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from preprocess.options import codec_options, default_store
from shared.errors import UserError
from shared.manifest import load_manifest
from tests.conftest import call_preprocess

Cli = Callable[..., tuple[int, str, str]]
OPTIONS = ("--size", 32, "--frames", 4, "--block", 8, "--workers", 1)


@pytest.fixture(scope="module")
def store(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("stores") / "store"
    assert call_preprocess("run", "folder", "--root", folder, "--out", path, *OPTIONS) == 0
    return path


def test_natops_without_data_says_where_to_get_it(
    cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    code, out, err = cli("run", "natops")
    assert (code, out) == (2, "")
    for needed in ("groups.csail.mit.edu", "data/natops", "data/gestureXX/gXXsYY.avi", "--root"):
        assert needed in err
    assert "Traceback" not in err


FOLDER = ("run", "folder", "--root", ".")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            ("run", "nope"),
            "unknown data set 'nope'; known: asl, bair, davis, folder, gestures, mhad",
        ),
        ((*FOLDER, "--fit", "squash"), "--fit squash: must be"),
        ((*FOLDER, "--fps", 0), "--fps 0.0: must be"),
        ((*FOLDER, "--crop", "1,2"), "--crop 1,2: give TOP:BOTTOM,"),
        ((*FOLDER, "--crop", "9:9,0:5"), "--crop (9, 9, 0, 5): must be"),
        ((*FOLDER, "--clips", "span", "--stride", 2), "stride belongs to windows and random_st"),
        ((*FOLDER, "--draws", 2), "--draws 2: draws belong to --clips random_sorted, jittered, ra"),
        ((*FOLDER, "--clips", "jittered", "--draws", 0), "--draws 0: must be greater than"),
        ((*FOLDER, "--clips", "jitter"), "--clips jitter: must be 'windows', 'span', 'random_so"),
        ((*FOLDER, "--clips", "jittered", "--hop", 2), "hop belongs to windows"),
        (("run", "bair", "--root", ".", "--fps", 10), "the frames of bair have no times"),
        (("run", "folder"), "name the folder of your videos with --root DIR"),
        (("run", "folder", "--root", "/nowhere/at/all"), "no folder /nowhere/at/all"),
        ((*FOLDER, "--block", 7), "--block 7: must be one of 4, 8, 16, 32"),
        ((*FOLDER, "--search-range", 200), "--search-range 200: must be"),
        ((*FOLDER, "--motion-cost", "nan"), "--motion-cost nan: must be"),
        (
            (*FOLDER, "--zero-bias", 1),
            "this version; use --motion-cost instead",
        ),
        ((*FOLDER, "--cost-from", "median"), "--cost-from was removed from this version"),
        (("reblock", ".", "--zero-bias", "x"), "--zero-bias was removed from this version"),
        ((*FOLDER, "--workers", 0), "--workers"),
        (("inspect", "/nowhere/at/all"), "no store at /nowhere/at/all"),
        (("verify", "/nowhere/at/all"), "no store at /nowhere/at/all"),
        (("render", "--root", "/nowhere", "--size", 33), "33"),
    ],
)
def test_mistakes_are_named(cli: Cli, arguments: tuple[object, ...], message: str) -> None:
    code, out, err = cli(*arguments)
    assert code == 2
    assert message in err
    assert "Traceback" not in err
    assert out == ""


def test_a_place_that_cannot_be_written_to(cli: Cli, folder: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    common = ("run", "folder", "--root", folder, *OPTIONS)
    code, _, err = cli(*common, "--out", tmp_path / "file" / "store")
    assert code == 2
    assert "cannot write the store" in err
    code, _, err = cli(*common, "--out", folder)
    assert code == 2
    assert "exists and is not a store" in err


def test_inspect(cli: Cli, store: Path) -> None:
    code, out, _ = cli("inspect", store)
    assert code == 0
    for shown in ("sealed", "19 valid of 19", "block 8", "first_frame", "jump", "rejected"):
        assert shown in out


def test_inspect_as_json(cli: Cli, store: Path) -> None:
    code, out, _ = cli("inspect", store, "--json")
    facts = json.loads(out)
    assert code == 0
    assert facts["options"]["block"] == 8
    assert facts["valid_clips"] == 19
    assert facts["clips_by_label"] == {"jump": 7, "wave": 10, "(none)": 2}
    assert facts["arrays"]["residual"]["shape"] == [19, 3, 3, 32, 32]
    assert {record["file"] for record in facts["rejects"]} >= {"short.mp4", "empty.mp4"}


def test_no_machine_paths_in_a_store(store: Path, folder: Path) -> None:
    for path in store.rglob("*.json*"):
        assert str(folder) not in path.read_text()


def test_verify_passes_and_notices_a_flipped_byte(cli: Cli, store: Path, folder: Path) -> None:
    code, out, err = cli("verify", store, "--root", folder, "--sample", 3)
    assert code == 0, err
    assert "all is well" in out
    shard = store / "residual/c/0/0/0/0/0"
    before = shard.read_bytes()
    flipped = bytearray(before)
    flipped[len(flipped) // 3] ^= 0x10
    shard.write_bytes(flipped)
    code, out, _ = cli("verify", store, "--root", folder)
    shard.write_bytes(before)
    assert code == 1
    assert f"{shard.relative_to(store)} is damaged" in out


def test_quarter_pixels_from_files_to_verify(cli: Cli, folder: Path, tmp_path: Path) -> None:
    store = tmp_path / "store"
    options = (*OPTIONS, "--vector-unit", 4, "--search-range", 8, "--motion-cost", 0.1)
    assert cli("run", "folder", "--root", folder, "--out", store, *options)[0] == 0
    code, out, _ = cli("verify", store, "--root", folder, "--sample", 3)
    assert code == 0
    assert "all is well" in out
    facts = json.loads(cli("inspect", store, "--json")[1])
    assert facts["options"]["vector_unit"] == 4
    assert facts["arrays"]["motion"]["units"] == "1/vector_unit pixels"
    assert cli("reblock", store, "--vector-unit", 4)[0] == 2


@pytest.mark.parametrize("kind", ["overlapped", "interpolated"])
def test_other_compensation_from_files_to_verify(
    cli: Cli, folder: Path, store: Path, tmp_path: Path, kind: str
) -> None:
    new = tmp_path / "new"
    command = ("run", "folder", "--root", folder, "--out", new, *OPTIONS)
    assert cli(*command, "--compensation", kind)[0] == 0
    code, out, err = cli("verify", new, "--root", folder, "--sample", 3)
    assert code == 0, out + err
    assert f"compensation {kind}" in " ".join(cli("inspect", new)[1].split())
    # Stores of blocks record what they always did.
    recorded = json.loads((store / "zarr.json").read_text())["attributes"]["dvdm"]["options"]
    assert "compensation" not in recorded
    assert json.loads(cli("inspect", new, "--json")[1])["options"] == {
        **recorded,
        "compensation": kind,
    }
    code, _, err = cli(*command)
    assert code == 2
    assert f"--compensation {kind}, now block" in err


def test_verify_notices_damaged_metadata(cli: Cli, store: Path, folder: Path) -> None:
    metadata = store / "residual/zarr.json"
    before = metadata.read_text()
    for after in (before.replace("19,", "18,", 1), before[:-9]):
        metadata.write_text(after)
        code, out, _ = cli("verify", store, "--root", folder)
        metadata.write_text(before)
        assert code == 1
        assert "array `residual`" in out


def test_verify_notices_other_videos(cli: Cli, store: Path, folder: Path, tmp_path: Path) -> None:
    from tests.conftest import moving_square, write_video

    for video in ("TOP.MP4", "jump/a 100%d.mp4", "jump/b:colon.mp4", "wave/new\nline.mkv"):
        (tmp_path / video).parent.mkdir(exist_ok=True)
        (tmp_path / video).write_bytes((folder / video).read_bytes())
    write_video(tmp_path / "TOP.MP4", moving_square(8, 24, 24, 99))
    code, out, _ = cli("verify", store, "--root", tmp_path, "--sample", 0)
    assert code == 1
    assert "'TOP.MP4': the clip at frame 0 differs" in out
    assert "no longer gives the clips at frames 0, 4" in out
    assert cli("verify", store, "--root", tmp_path / "nowhere")[0] == 2


def test_verify_notices_wrong_vectors(
    cli: Cli, store: Path, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import preprocess.steps.verify

    real = preprocess.steps.verify.find_motion
    monkeypatch.setattr(preprocess.steps.verify, "find_motion", lambda *a: real(*a) + 1)
    code, out, _ = cli("verify", store, "--root", folder, "--sample", 1)
    assert code == 1
    assert "vectors of the clip at frame" in out


def test_defaults_come_from_the_data_set() -> None:
    options = codec_options(load_manifest("gestures"), {"size": None, "block": 8})
    assert (options.size.option, options.frames, options.stride, options.block) == (128, 16, 3, 8)
    with pytest.raises(UserError, match=r"(?s)--frames 1: must be .*--motion-cost -1"):
        codec_options(load_manifest("folder"), {"frames": 1, "motion_cost": -1})


@pytest.mark.parametrize(
    ("given", "limit", "name"),
    [
        ({}, None, "gestures"),
        ({"size": 128, "stride": 3, "motion_cost": 0.3}, None, "gestures"),
        (
            {"motion_cost": 5, "reference": "first", "search_range": 24, "block": 8, "size": 64},
            None,
            "gestures-size64-block8-range24-referencefirst-motioncost5",
        ),
        ({"motion_cost": 1.0}, 5, "gestures-motioncost1-limit5"),
        ({"vector_unit": 4, "search_range": 8}, None, "gestures-range8-unit4"),
        ({"clips": "span"}, None, "gestures-clipsspan"),
        ({"compensation": "block"}, None, "gestures"),
        (
            {"compensation": "overlapped", "motion_cost": 0.1},
            None,
            "gestures-compensationoverlapped-motioncost0.1",
        ),
        (
            {"hop": 8, "fps": 12.5, "fit": "pad", "crop": (0, 9, 1, 8), "block": 8},
            None,
            "gestures-hop8-fps12.5-fitpad-crop0x9x1x8-block8",
        ),
    ],
)
def test_the_default_store_is_named_after_its_options(
    given: dict[str, object], limit: int | None, name: str
) -> None:
    assert default_store(load_manifest("gestures"), given, limit) == Path("stores", name)


def test_gestures_are_rendered_where_there_are_none(
    cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And completed where rendering was interrupted; the record says what was wanted."""
    root, out = tmp_path / "gestures", tmp_path / "store"
    code, text, err = cli("render", "--root", root, "--subjects", 1, "--size", 32, "--workers", 1)
    assert code == 0, err
    assert "24 videos" in text
    (root / "gesture07/g07s01r01.mp4").unlink()
    options = ("--size", 32, "--block", 8, "--search-range", 4, "--workers", 1)
    code, text, err = cli("run", "gestures", "--root", root, "--out", out, *options)
    assert code == 0, err
    from shared.store.store import Store

    opened = Store(out)
    assert sorted(opened.column("label").tolist()) == list(range(24))
    assert opened.attributes.subjects == ("01",)
    assert list(opened.attributes.splits) == ["unseen-subject", "random"]
