"""`reblock` gives the very store that extraction from the videos would have given."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

import preprocess.steps.reblock
from preprocess.options import change_options
from preprocess.steps.reblock import ReblockTask, reblock_partition, store_beside
from shared.schema import CodecOptions
from shared.store.store import Marker, Store
from tests.conftest import call_preprocess
from tests.stores import contents

Cli = Callable[..., tuple[int, str, str]]
BEFORE = ("--size", "40x24", "--frames", 4, "--workers", 1)
CHANGES: dict[str, tuple[object, ...]] = {
    "block": ("--block", 8),
    "a reference for each block": (
        *("--block", 8, "--reference", "either", "--vector-unit", 2, "--search-range", 5),
    ),
    "the compensation alone": ("--compensation", "overlapped"),
    "compensation and search": ("--compensation", "interpolated", "--motion-cost", 1),
    "everything": (
        *("--block", 4, "--search-range", 5, "--reference", "first"),
        *("--motion-cost", 1, "--vector-unit", 4, "--compensation", "overlapped"),
    ),
}


@pytest.fixture(autouse=True, scope="module")
def small_shards() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("preprocess.planning.plan.MAX_SHARD_CLIPS", 5)
        yield


@pytest.fixture(scope="module")
def source(small_shards: None, folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """19 clips in four partitions. Not to change."""
    path = tmp_path_factory.mktemp("stores") / "source"
    assert call_preprocess("run", "folder", "--root", folder, "--out", path, *BEFORE) == 0
    return path


@pytest.mark.parametrize("changes", CHANGES.values(), ids=CHANGES)
def test_a_folder(folder: Path, source: Path, tmp_path: Path, cli: Cli, changes: tuple) -> None:
    new, direct = tmp_path / "new", tmp_path / "direct"
    code, out, err = cli("reblock", source, *changes, "--out", new, "--workers", 1)
    assert code == 0, err
    assert str(source) in out
    assert "short.mp4" in out
    assert cli("run", "folder", "--root", folder, "--out", direct, *BEFORE, *changes)[0] == 0
    assert contents(new) == contents(direct)


def test_there_and_back(source: Path, tmp_path: Path, cli: Cli) -> None:
    """Two workers give the same: see `test_scheduler`."""
    new, back = tmp_path / "new", tmp_path / "back"
    assert cli("reblock", source, "--block", 8, "--out", new, "--workers", 1)[0] == 0
    assert cli("reblock", new, "--block", 16, "--out", back, "--workers", 1)[0] == 0
    assert contents(back) == contents(source)


def test_there_and_back_over_quarter_pixels(source: Path, tmp_path: Path, cli: Cli) -> None:
    new, back = tmp_path / "new", tmp_path / "back"
    assert cli("reblock", source, "--vector-unit", 4, "--out", new, "--workers", 1)[0] == 0
    assert cli("reblock", new, "--vector-unit", 1, "--out", back, "--workers", 1)[0] == 0
    assert contents(back) == contents(source)
    assert contents(new) != contents(source)


def test_there_and_back_over_blocks_that_choose(
    source: Path, folder: Path, tmp_path: Path, cli: Cli
) -> None:
    new, back = tmp_path / "new", tmp_path / "back"
    assert cli("reblock", source, "--reference", "either", "--out", new, "--workers", 1)[0] == 0
    code, out, err = cli("verify", new, "--root", folder, "--sample", 3)
    assert code == 0, out + err
    assert Store(new).clip("motion", 0).shape == (3, 3, 2, 3)
    assert any(Store(new).clip("motion", index)[:, 2].any() for index in range(len(Store(new))))
    assert cli("reblock", new, "--reference", "previous", "--out", back, "--workers", 1)[0] == 0
    assert contents(back) == contents(source)


def test_compensation_alone_is_changed_without_a_search(
    source: Path, folder: Path, tmp_path: Path, cli: Cli, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise AssertionError("searched again")

    new, back = tmp_path / "new", tmp_path / "back"
    with monkeypatch.context() as patched:
        patched.setattr(preprocess.steps.reblock, "encode", refuse)
        for old, made, kind in ((source, new, "interpolated"), (new, back, "block")):
            code, _, err = cli(
                *("reblock", old, "--compensation", kind, "--out", made, "--workers", 1)
            )
            assert code == 0, err
    assert contents(back) == contents(source)
    before, after = Store(source), Store(new)
    assert after.options == before.options.model_copy(update={"compensation": "interpolated"})
    assert all(
        np.array_equal(before.clip("motion", k), after.clip("motion", k)) for k in range(len(after))
    )
    assert any(
        not np.array_equal(before.clip("residual", k), after.clip("residual", k))
        for k in range(len(after))
    )
    code, out, err = cli("verify", new, "--root", folder, "--sample", 3)
    assert code == 0, out + err


def test_rendered_gestures(tmp_path: Path, cli: Cli) -> None:
    root, old, new, direct = (tmp_path / name for name in ("data", "old", "new", "direct"))
    assert cli("render", "--root", root, "--subjects", 1, "--size", 48, "--workers", 1)[0] == 0
    first = (
        "--size",
        48,
        "--reference",
        "first",
        "--search-range",
        8,
        "--workers",
        1,
        "--limit",
        6,
    )
    second = ("--block", 8, "--motion-cost", 0)
    assert cli("run", "gestures", "--root", root, "--out", old, *first)[0] == 0
    assert cli("reblock", old, "--out", new, *second, "--workers", 1)[0] == 0
    assert cli("run", "gestures", "--root", root, "--out", direct, *first, *second)[0] == 0
    assert contents(new) == contents(direct)
    assert len(Store(new)) == 6


def test_real_files_with_slots_that_are_not_valid(
    real_clips: Path, tmp_path: Path, cli: Cli
) -> None:
    root, old, new, direct = (tmp_path / name for name in ("bad", "old", "new", "direct"))
    root.mkdir()
    for name in ("zeroed_hole.mp4", "truncated.mkv", "vfr_gaps.mp4", "zero_bytes.mp4"):
        (root / name).symlink_to(real_clips / "bad" / name)
    common = ("run", "folder", "--root", root, *BEFORE, "--search-range", 4)
    assert cli(*common, "--out", old)[0] == 0
    assert len(Store(old)) < Store(old).attributes.clips
    assert cli("reblock", old, "--out", new, "--block", 8, "--workers", 1)[0] == 0
    assert cli(*common, "--out", direct, "--block", 8)[0] == 0
    assert contents(new) == contents(direct)


def test_an_interrupted_reblock_is_finished_by_the_same_command(
    source: Path, tmp_path: Path, cli: Cli, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole, broken = tmp_path / "whole", tmp_path / "broken"
    assert cli("reblock", source, "--block", 8, "--out", whole, "--workers", 1)[0] == 0
    made: list[int] = []

    def interrupted(task: ReblockTask) -> Marker:
        if len(made) == 2:
            raise KeyboardInterrupt
        made.append(task.partition)
        return reblock_partition(task)

    command = ("reblock", source, "--block", 8, "--out", broken, "--workers", 1)
    with monkeypatch.context() as patched:
        patched.setattr(preprocess.steps.reblock, "reblock_partition", interrupted)
        assert cli(*command)[0] == 130
    made.clear()
    monkeypatch.setattr(
        preprocess.steps.reblock,
        "reblock_partition",
        lambda task: (made.append(task.partition), reblock_partition(task))[1],
    )
    assert cli(*command)[0] == 0
    assert made == [2, 3]
    assert contents(broken) == contents(whole)
    code, out, _ = cli(*command)
    assert code == 0
    assert "is complete already" in out


def test_refusals(source: Path, tmp_path: Path, cli: Cli, folder: Path) -> None:
    out = tmp_path / "out"
    for arguments, message in (
        ((source,), "was made with exactly these options"),
        ((source, "--block", 7), "--block 7: must be one of 4, 8, 16, 32"),
        ((source, "--vector-unit", 3), "--vector-unit 3: must be one of 1, 2, 4"),
        (
            (source, "--vector-unit", 4, "--search-range", 32),
            "--search-range 32 in units of 1/4 pixel is 128, and vectors are int8: at most 127;"
            " give --search-range 31 or less",
        ),
        ((source, "--method", "magic"), "--method magic: must be"),
        (
            (source, "--compensation", "smooth"),
            "--compensation smooth: must be 'block', 'overlapped' or 'interpolated'",
        ),
        ((source, "--block", 8, "--out", source), "is the store itself"),
        ((source, "--block", 8, "--out", folder), "exists and is not a store"),
        ((tmp_path / "nothing", "--block", 8), "no store at"),
        ((source, "--block", 8, "--workers", 2, "--scheduler", "tcp://x:1"), "--workers is for"),
    ):
        code, _, err = cli("reblock", *arguments)
        assert (code, message in err, "Traceback" in err) == (2, True, False), err
    assert cli("reblock", source, "--block", 8, "--out", out, "--workers", 1)[0] == 0
    code, _, err = cli("reblock", source, "--block", 4, "--out", out)
    assert code == 2
    assert "--block 8, now 4" in err


def test_a_damaged_or_unfinished_source_is_refused(source: Path, tmp_path: Path, cli: Cli) -> None:
    source = shutil.copytree(source, tmp_path / "source")
    shard = source / "residual/c/2/0/0/0/0"
    content = bytearray(shard.read_bytes())
    content[len(content) // 2] ^= 1
    shard.write_bytes(content)
    out = tmp_path / "out"
    code, _, err = cli("reblock", source, "--block", 8, "--out", out, "--workers", 1)
    assert code == 2
    assert "residual/c/2/0/0/0/0 is damaged or missing" in err
    # What is not sealed is no source either.
    code, _, err = cli("reblock", out, "--block", 4)
    assert code == 2
    assert "is not sealed" in err


def test_the_default_store_is_named_after_its_source() -> None:
    before = CodecOptions(block=8)
    source = Path("stores/gestures-size64-block8")
    given = {"block": 4, "motion_cost": 0.5, "reference": "first"}
    named = store_beside(source, before, given)
    assert named == Path("stores/gestures-size64-block4-referencefirst-motioncost0.5")
    assert change_options(before, given | {"method": None}).block == 4


def test_partitions_are_read_whole(source: Path) -> None:
    from shared.store.partition import read_partition

    opened = Store(source)
    arrays = read_partition(source, 3)
    assert len(arrays["valid"]) == 4
    assert np.array_equal(arrays["residual"][0], opened.clip("residual", 15))
    assert arrays["video"].tolist() == opened.column("video")[15:].tolist()
    arrays["residual"][:] = 0  # a copy of its own
