"""Clips are left out for cuts and motion: which, with which reason, whatever the partitions."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

import preprocess.steps.extract
from preprocess.datasets.gestures.render import RenderOptions, render_clip
from preprocess.motion.encode import find_motion
from preprocess.options import default_store
from preprocess.steps.extract import mean_motion, reason_to_leave_out
from shared.manifest import load_manifest
from shared.motion_statistics import SEARCH
from shared.schema import CodecOptions
from shared.store.partition import read_partition
from shared.store.store import Store
from tests.conftest import write_video
from tests.preprocess.motion.test_cuts import scene
from tests.preprocess.steps.test_run import write_damaged
from tests.stores import contents

Cli = Callable[..., tuple[int, str, str]]
OPTIONS = ("--size", 64, "--frames", 8, "--block", 8, "--workers", 1)
SELECT = ("--cuts", "skip", "--min-motion", 0.02, "--max-motion", 2.5)
CUT, STILL, FAST = (
    "spans a scene cut (--cuts skip)",
    "moves less than --min-motion 0.02",
    "moves more than --max-motion 2.5",
)
EXPECTED = {"a/good.mkv": "", "cut.mkv": CUT, "fast.mkv": FAST, "still.mkv": STILL}


def video(clip: NDArray[np.uint8]) -> NDArray[np.uint8]:
    return clip.transpose(0, 2, 3, 1)


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """24 frames each: one good video, one with cuts in two of its clips, one fast and one still."""
    root = tmp_path_factory.mktemp("videos")
    options = RenderOptions(size=64, frames=24, camera_px=3)
    good, other = render_clip(4, 1, 1, options), render_clip(17, 2, 1, options)
    files = {
        "a/good.mkv": good,
        # Clips of 8: a cut inside, one on the border of two clips, one inside.
        "cut.mkv": np.concatenate([good[:5], other[5:8], good[8:15], other[15:]]),
        "fast.mkv": video(scene(3, 24, px=(4, 0))),
        "still.mkv": good[:1].repeat(24, 0),
    }
    for name, frames in files.items():
        write_video(root / name, frames, codec="ffv1", pixels="bgr0")
    return root


def rejected(store: Path) -> list[dict[str, object]]:
    lines = (store / "rejected.jsonl").read_text().split("\n")
    return [json.loads(line) for line in lines if line]


@pytest.fixture(scope="module")
def plain(root: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The store of all clips."""
    from tests.conftest import call_preprocess

    store = tmp_path_factory.mktemp("plain") / "store"
    assert call_preprocess("run", "folder", "--root", root, "--out", store, *OPTIONS) == 0
    return store


def test_what_is_left_out_and_why(root: Path, plain: Path, tmp_path: Path, cli: Cli) -> None:
    store = tmp_path / "store"
    command = ("run", "folder", "--root", root, "--out", store, *OPTIONS, *SELECT)
    code, out, err = cli(*command)
    assert code == 0, err
    every, kept = read_partition(plain, 0), read_partition(store, 0)
    # Three clips each, by name; of the cut video, the last clip is whole.
    assert every["valid"].all() and len(every["valid"]) == 12
    assert kept["valid"].tolist() == [True] * 3 + [False] * 2 + [True] + [False] * 6
    for name in ("first_frame", "motion", "residual"):
        assert np.array_equal(kept[name][kept["valid"]], every[name][kept["valid"]])
        assert not kept[name][~kept["valid"]].any()
    assert rejected(store) == [
        {"file": file, "reason": reason, "stage": "select", "clips_planned": 3}
        | {"clips_made": made, "frames_recovered": 0}
        for file, reason, made in (
            ("cut.mkv", CUT, 1),
            ("fast.mkv", FAST, 0),
            ("still.mkv", STILL, 0),
        )
    ]
    assert any(line.split() == ["clips", "4,", "8", "left", "out"] for line in out.splitlines())
    rows = [[cell.strip() for cell in line.split("│")[1:-1]] for line in out.splitlines()]
    for reason, clips, file in ((CUT, "2", "cut"), (FAST, "3", "fast"), (STILL, "3", "still")):
        assert [clips, "1", reason, f"'{file}.mkv'"] in rows
    assert "4 valid of 12" in cli("inspect", store)[1]
    assert "cuts skip, min_motion 0.02, max_motion 2.5" in cli("inspect", store)[1]


def test_the_same_command_again_looks_at_no_clip(
    root: Path, tmp_path: Path, cli: Cli, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nor, after an interruption, at those of partitions that are done; shards change no choice."""
    whole, broken = tmp_path / "whole", tmp_path / "broken"
    common = ("run", "folder", "--root", root, *OPTIONS, *SELECT, "--out")
    assert cli(*common, whole)[0] == 0
    monkeypatch.setattr("preprocess.planning.plan.MAX_SHARD_CLIPS", 5)
    seen: list[str] = []
    end = 7

    def look(clip: NDArray[np.uint8], options: CodecOptions) -> str:
        if len(seen) == end:
            raise KeyboardInterrupt
        seen.append(reason_to_leave_out(clip, options))
        return seen[-1]

    monkeypatch.setattr(preprocess.steps.extract, "reason_to_leave_out", look)
    assert cli(*common, broken)[0] == 130
    seen.clear()
    end = 7  # the clips of the second and third partition
    assert cli(*common, broken)[0] == 0
    assert "is complete already" in cli(*common, broken)[1]
    assert len(seen) == end
    assert (whole / "rejected.jsonl").read_bytes() == (broken / "rejected.jsonl").read_bytes()
    valid = [np.concatenate([read_partition(broken, p)["valid"] for p in range(3)])]
    assert np.array_equal(valid[0], read_partition(whole, 0)["valid"])


def test_a_search_of_other_kind_leaves_out_the_same(root: Path, tmp_path: Path, cli: Cli) -> None:
    """Thus `reblock` gives what `run` would, byte for byte; `verify` and `export` know it."""
    one, again, direct = (tmp_path / name for name in ("one", "again", "direct"))
    common = ("run", "folder", "--root", root, *OPTIONS, *SELECT, "--out")
    other = ("--block", 16, "--reference", "first", "--search-range", 2, "--motion-cost", 9)
    assert cli(*common, one)[0] == 0
    assert cli("reblock", one, *other, "--out", again, "--workers", 1)[0] == 0
    assert cli(*common, direct, *other)[0] == 0
    assert contents(again) == contents(direct)
    code, out, _ = cli("verify", again, "--root", root, "--sample", 1)
    assert code == 0
    assert "4 clips, bit for bit" in out and CUT in out
    assert "4 clips in" in cli("export", one, "--out", tmp_path / "tars", "--workers", 1)[1]
    assert cli("report", one, "--out", tmp_path / "page.html")[0] == 0
    assert '<section id="rejects" data-files="3">' in (tmp_path / "page.html").read_text()


def test_damage_and_choice_are_counted_apart(tmp_path: Path, cli: Cli) -> None:
    """Of a damaged video whose clips all move too much for the options."""
    write_damaged(tmp_path / "v" / "v.mp4")
    write_video(
        tmp_path / "v" / "w.mkv", video(scene(1, 8, px=(1, 0))), codec="ffv1", pixels="bgr0"
    )
    store = tmp_path / "store"
    common = ("run", "folder", "--root", tmp_path / "v", *OPTIONS, "--out")
    assert cli(*common, tmp_path / "all")[0] == 0
    [before] = rejected(tmp_path / "all")
    code, out, err = cli(*common, store, "--min-motion", 0.9)
    assert code == 0, err
    damaged, unmoved = rejected(store)
    assert damaged == before
    assert unmoved["reason"] == "moves less than --min-motion 0.9"
    made = Store(tmp_path / "all").column("video").tolist().count("v.mp4")
    assert damaged["clips_made"] == made > 0
    kept = Store(store).column("video").tolist().count("v.mp4")
    assert unmoved["clips_made"] == 15 - (made - kept)
    assert f"{kept + 1}, {made - kept} left out, {15 - made} failed" in out


def test_no_clip_left_is_an_error_that_names_the_options(
    root: Path, tmp_path: Path, cli: Cli
) -> None:
    out = tmp_path / "store"
    code, _, err = cli(
        "run", "folder", "--root", root / "a", "--out", out, *OPTIONS, "--min-motion", 8
    )
    assert code == 2
    assert "no clip could be made of 1 files:\n  1 × moves less than --min-motion 8" in err
    assert "other --cuts, --min-motion or --max-motion" in err
    assert not out.exists()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--cuts", "drop"), "--cuts drop: must be 'keep' or 'skip'"),
        (("--min-motion", -1), "--min-motion -1.0: must be greater than 0"),
        (("--max-motion", 9), "--max-motion 9.0: must be less than or equal to 8"),
        (
            ("--min-motion", 2, "--max-motion", 1),
            "--min-motion 2 leaves no clip below --max-motion 1; give a smaller one",
        ),
    ],
)
def test_values_that_mean_nothing_are_refused(
    root: Path, tmp_path: Path, cli: Cli, options: tuple[object, ...], message: str
) -> None:
    code, _, err = cli("run", "folder", "--root", root, "--out", tmp_path / "s", *options)
    assert (code, message in err.replace("Input should", "must")) == (2, True), err


def test_stores_without_the_options_are_as_before(plain: Path) -> None:
    assert {"cuts", "min_motion", "max_motion"}.isdisjoint(CodecOptions().model_dump())
    text = (plain / "zarr.json").read_text() + (plain / "valid/zarr.json").read_text()
    assert not any(word in text for word in ("cuts", "_motion", "left out"))
    folder = load_manifest("folder")
    given = {"cuts": "skip", "min_motion": 0.25, "max_motion": 4.0, "block": 8}
    assert default_store(folder, {"cuts": "keep", "block": 8}, None) == Path("stores/folder-block8")
    assert default_store(folder, given, None) == Path(
        "stores/folder-cutsskip-minmotion0.25-maxmotion4-block8"
    )


@pytest.mark.parametrize("px", [0, 1, 3, 8])
def test_the_motion_of_a_pan_is_its_speed(px: int) -> None:
    """But for blocks at the border, whose predictors would lie outside; and by the slow search."""
    clip = scene(5, 4, px=(px, 0))
    motion = mean_motion(clip)
    assert motion == pytest.approx(px, rel=0.15)
    slow = find_motion(clip, CodecOptions(**SEARCH), "naive").astype(np.float64)
    assert motion == pytest.approx(np.hypot(slow[:, 0], slow[:, 1]).mean())
