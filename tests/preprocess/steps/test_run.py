"""`run` from end to end on small real files: contents, workers, resuming, refusals."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import av
import numpy as np
import pytest
import zarr

import preprocess.pipeline
from preprocess.steps.extract import PartitionTask, extract_partition
from shared.errors import StoreError
from shared.motion_compensation import decode_clip
from shared.store.store import Marker, Store
from tests.conftest import moving_square, write_video

Cli = Callable[..., tuple[int, str, str]]
OPTIONS = ("--size", 32, "--frames", 4, "--block", 8, "--search-range", 5, "--workers", 1)


@pytest.fixture
def small_shards(monkeypatch: pytest.MonkeyPatch) -> None:
    """Three clips a partition, so that twenty clips make several."""
    monkeypatch.setattr("preprocess.planning.plan.MAX_SHARD_CLIPS", 3)


def contents(store: Path) -> dict[str, bytes]:
    return {
        path.relative_to(store).as_posix(): path.read_bytes()
        for path in sorted(store.rglob("*"))
        if path.is_file()
    }


def test_a_folder_becomes_a_store(folder: Path, tmp_path: Path, cli: Cli) -> None:
    store = tmp_path / "store"
    code, out, err = cli("run", "folder", "--root", folder, "--out", store, *OPTIONS)
    assert code == 0, err
    opened = Store(store)
    # 20, 9, 30, 13 and 8 frames give 5, 2, 7, 3 and 2 clips of four.
    videos = opened.column("video").tolist()
    assert {video: videos.count(video) for video in videos} == {
        "TOP.MP4": 2,
        "jump/a 100%d.mp4": 5,
        "jump/b:colon.mp4": 2,
        "wave/-dash 'quote' 🎬.avi": 7,
        "wave/new\nline.mkv": 3,
    }
    assert opened.attributes.labels == ("jump", "wave")
    assert opened.column("label").tolist() == [-1] * 2 + [0] * 7 + [1] * 10
    assert opened.column("start_frame")[2:7].tolist() == [0, 4, 8, 12, 16]
    rejected = [json.loads(x) for x in (store / "rejected.jsonl").read_text().split("\n") if x]
    assert [(record["file"], record["stage"]) for record in rejected] == [
        ("dangling.mp4", "discover"),
        ("empty.mp4", "discover"),
        ("short.mp4", "plan"),
        ("text.mp4", "probe"),
    ]
    assert "3 frames; one clip at stride 1 needs 4" in out
    assert f"dvdm-train vae --store {store}" in out


def test_stored_clips_are_the_videos_frames(folder: Path, tmp_path: Path, cli: Cli) -> None:
    from preprocess.frames.geometry import Geometry
    from preprocess.sources.video import decode

    store = tmp_path / "store"
    assert cli("run", "folder", "--root", folder, "--out", store, *OPTIONS)[0] == 0
    opened = Store(store)
    index = opened.column("video").tolist().index("jump/a 100%d.mp4") + 2
    clip = decode_clip(
        *(opened.clip(name, index) for name in ("first_frame", "motion", "residual")),
        opened.options.codec,
    )
    frames = [frame for _, frame in decode(folder / "jump/a 100%d.mp4", range(8, 12), Geometry(32))]
    assert np.array_equal(clip, np.stack(frames))


@pytest.mark.parametrize(
    ("size", "height", "width", "more"),
    [
        ("36x20", 20, 36, ("--fit", "crop", "--compensation", "overlapped")),
        ("20x36", 36, 20, ("--fit", "pad", "--reference", "either", "--vector-unit", 2)),
        ("36x20", 20, 36, ("--fit", "stretch", "--crop", "2:22,1:23", "--method", "h264")),
        ("21x14", 14, 21, ("--method", "variational", "--compensation", "interpolated")),
    ],
)
def test_frames_that_are_not_square(
    folder: Path, tmp_path: Path, cli: Cli, size: str, height: int, width: int, more: tuple
) -> None:
    """Width before height for people and in the store's metadata, height first in shapes."""
    store = tmp_path / "store"
    given = ("--root", folder, "--out", store, *OPTIONS, "--size", size, *more)
    code, _, err = cli("run", "folder", *given)
    assert code == 0, err
    opened = Store(store)
    assert len(opened) == 19
    assert opened.options.size == (height, width)
    rows, columns = -(-height // 8), -(-width // 8)
    group = zarr.open_group(store, mode="r")
    assert group.attrs["dvdm"]["options"]["size"] == size
    assert group["first_frame"].shape[1:] == (3, height, width)
    assert group["residual"].shape[1:] == (3, 3, height, width)
    assert group["motion"].shape[3:] == (rows, columns)
    code, out, err = cli("verify", store, "--root", folder, "--sample", 3)
    assert code == 0, out + err
    code, out, _ = cli("inspect", store)
    assert code == 0 and f"size {size}" in out
    assert json.loads(cli("inspect", store, "--json")[1])["options"]["size"] == size


def test_a_size_that_cannot_be_is_refused(folder: Path, tmp_path: Path, cli: Cli) -> None:
    for size in ("0", "x36", "64X36", "5000x16", "36x"):
        given = ("--root", folder, "--out", tmp_path / "store", "--size", size)
        code, _, err = cli("run", "folder", *given)
        assert code == 2
        assert f"--size {size}: must be the side of a square, or WIDTHxHEIGHT" in err
        assert "Traceback" not in err and not (tmp_path / "store").exists()


@pytest.mark.usefixtures("small_shards")
def test_bytes_do_not_depend_on_workers(folder: Path, tmp_path: Path, cli: Cli) -> None:
    """Of good files, of bad ones, and of a damaged one whose clips lie in several partitions."""
    root, one, two = tmp_path / "videos", tmp_path / "one", tmp_path / "two"
    shutil.copytree(folder, root, symlinks=True)
    write_damaged(root / "damaged.mp4")
    common = ("run", "folder", "--root", root, *OPTIONS)
    assert cli(*common, "--out", one)[0] == 0
    assert cli(*common, "--out", two, "--workers", 2)[0] == 0
    assert contents(one) == contents(two)
    assert Store(one).attributes.partitions == 17


@pytest.mark.usefixtures("small_shards")
@pytest.mark.parametrize("failure", [KeyboardInterrupt, SystemExit])
def test_an_interrupted_run_is_finished_by_the_same_command(
    folder: Path,
    tmp_path: Path,
    cli: Cli,
    monkeypatch: pytest.MonkeyPatch,
    failure: type[BaseException],
) -> None:
    common = ("run", "folder", "--root", folder, *OPTIONS)
    whole, broken = tmp_path / "whole", tmp_path / "broken"
    assert cli(*common, "--out", whole)[0] == 0
    made = []

    def interrupted(task: PartitionTask) -> Marker:
        if len(made) == 3:
            raise failure(1)
        made.append(task.partition)
        return extract_partition(task)

    with monkeypatch.context() as patched:
        patched.setattr(preprocess.pipeline, "extract_partition", interrupted)
        code, _, err = cli(*common, "--out", broken)
    assert code == (130 if failure is KeyboardInterrupt else 1)
    assert failure is SystemExit or "same command again" in err
    with pytest.raises(StoreError, match="not sealed"):
        Store(broken)
    # Left by a killed worker: a shard without its marker, and a folder of unfinished files.
    (broken / "partitions/000001.json").unlink()
    (broken / "motion/c/1/0/0/0/0").write_bytes(b"cut")
    (broken / ".partition00002-left").mkdir()
    again = []
    monkeypatch.setattr(
        preprocess.pipeline,
        "extract_partition",
        lambda task: (again.append(task.partition), extract_partition(task))[1],
    )
    assert cli(*common, "--out", broken)[0] == 0
    assert again == [1, 3, 4, 5, 6]
    assert contents(broken) == contents(whole)


def test_a_finished_store_is_left_alone(folder: Path, tmp_path: Path, cli: Cli) -> None:
    common = ("run", "folder", "--root", folder, "--out", tmp_path / "store", *OPTIONS)
    assert cli(*common)[0] == 0
    before = contents(tmp_path / "store")
    code, out, _ = cli(*common)
    assert code == 0
    assert "is complete already" in out
    assert contents(tmp_path / "store") == before


def test_other_options_are_refused_by_name(folder: Path, tmp_path: Path, cli: Cli) -> None:
    common = ("run", "folder", "--root", folder, "--out", tmp_path / "store", *OPTIONS)
    assert cli(*common)[0] == 0
    code, _, err = cli(*common, "--block", 16, "--motion-cost", 0.5)
    assert code == 2
    assert "--block 8, now 16" in err
    assert "--motion-cost 0.3, now 0.5" in err
    code, _, err = cli(*common, "--limit", 2)
    assert code == 2
    assert "other videos: 19 clips then" in err


def test_changed_videos_are_refused(folder: Path, tmp_path: Path, cli: Cli) -> None:
    root = shutil.copytree(folder, tmp_path / "copy", symlinks=True)
    common = ("run", "folder", "--root", root, "--out", tmp_path / "store", *OPTIONS)
    assert cli(*common)[0] == 0
    (root / "TOP.MP4").unlink()
    code, _, err = cli(*common)
    assert code == 2
    assert "19 clips then, 17 now" in err


def write_damaged(path: Path) -> None:
    """Write 120 frames, key frames every 10, without packets 43, 44 and 77: zeros instead."""
    write_video(path, moving_square(120, 64, 64), gop=10)
    with av.open(str(path)) as container:
        packets = [packet for packet in container.demux(video=0) if packet.size]
    content = bytearray(path.read_bytes())
    for damaged in (43, 44, 77):
        at = packets[damaged].pos
        assert at is not None
        content[at : at + packets[damaged].size] = bytes(packets[damaged].size)
    path.write_bytes(content)


@pytest.mark.usefixtures("small_shards")
@pytest.mark.parametrize("stride", [1, 3])
def test_a_damaged_video_keeps_its_clips_before_and_after(
    stride: int, tmp_path: Path, cli: Cli
) -> None:
    """At the same places as in the whole one, for any partition borders."""
    roots, stores = (tmp_path / "v0", tmp_path / "v1"), (tmp_path / "s0", tmp_path / "s1")
    for root in roots:
        write_video(root / "other.mp4", moving_square(20, 64, 64, 7))
    write_video(roots[0] / "v.mp4", moving_square(120, 64, 64), gop=10)
    write_damaged(roots[1] / "v.mp4")
    for root, store in zip(roots, stores, strict=True):
        command = ("run", "folder", "--root", root, "--out", store, *OPTIONS, "--stride", stride)
        code, out, err = cli(*command)
        assert code == 0, err
        assert cli("verify", store, "--root", root, "--sample", 2)[0] == 0

    span = 3 * stride + 1
    gaps = [range(43, 50), range(77, 80)]
    starts = list(range(0, 120 - span + 1, 4 * stride))
    usable = [n for n in starts if not any(set(range(n, n + span)) & set(gap) for gap in gaps)]
    clips = [clips_of(store, "v.mp4") for store in stores]
    assert list(clips[0]) == starts
    assert list(clips[1]) == usable
    assert all(np.array_equal(clip, clips[0][start]) for start, clip in clips[1].items())
    assert clips_of(stores[1], "other.mp4")
    [record] = [json.loads(x) for x in (stores[1] / "rejected.jsonl").read_text().split("\n") if x]
    assert record["file"] == "v.mp4"
    assert record["reason"].startswith("damaged after frame 43: ")
    assert (record["clips_planned"], record["clips_made"]) == (len(starts), len(usable))
    assert record["frames_recovered"] == 120 - sum(map(len, gaps))
    assert f"{len(usable)} of {len(starts)}" in out


@pytest.mark.usefixtures("small_shards")
def test_damage_leaves_clips_by_time_as_they_were(tmp_path: Path, cli: Cli) -> None:
    """Packets that are missing altogether: the frame before them must not stand in for them."""
    roots, stores = (tmp_path / "v0", tmp_path / "v1"), (tmp_path / "s0", tmp_path / "s1")
    for root in roots:
        path = write_video(root / "v.mkv", moving_square(160, 64, 64), codec="ffv1", gop=1)
    with av.open(str(path)) as container:
        places = [packet.pos for packet in container.demux(video=0) if packet.size]
    content = bytearray(path.read_bytes())
    for first, after in ((37, 41), (90, 93)):
        start, stop = places[first], places[after]
        assert start is not None
        assert stop is not None
        content[start:stop] = bytes(stop - start)
    path.write_bytes(content)
    for root, store in zip(roots, stores, strict=True):
        command = ("run", "folder", "--root", root, "--out", store, *OPTIONS, "--fps", 16)
        code, _, err = cli(*command, "--frames", 3)
        assert code == 0, err
        assert cli("verify", store, "--root", root, "--sample", 0)[0] == 0
    valid, pixels = zip(*map(slots_of, stores), strict=True)
    assert valid[0].all()
    assert 0.7 * len(valid[0]) < valid[1].sum() < len(valid[0])
    for whole, damaged in zip(*pixels, strict=True):
        assert np.array_equal(whole[valid[1]], damaged[valid[1]])


def slots_of(path: Path) -> tuple[np.ndarray, list[np.ndarray]]:
    """Valid slots of a store, and its pixels slot by slot."""
    group = zarr.open_group(path, mode="r")
    names = ("first_frame", "motion", "residual")
    return group["valid"][:], [group[name][:] for name in names]  # type: ignore[index,return-value]


def clips_of(path: Path, video: str) -> dict[int, np.ndarray]:
    """Residuals of a video's valid clips by first frame."""
    store = Store(path)
    videos, starts = store.column("video"), store.column("start_frame")
    return {int(starts[i]): store.clip("residual", i) for i in np.flatnonzero(videos == video)}


def test_files_of_one_name_in_two_folders_stay_apart(tmp_path: Path, cli: Cli) -> None:
    for seed, folder in enumerate(("one", "two")):
        write_video(tmp_path / "v" / folder / "same.mp4", moving_square(8, 32, 32, seed))
    assert cli("run", "folder", "--root", tmp_path / "v", "--out", tmp_path / "s", *OPTIONS)[0] == 0
    one, two = (clips_of(tmp_path / "s", f"{folder}/same.mp4") for folder in ("one", "two"))
    assert list(one) == list(two) == [0, 4]
    assert not np.array_equal(one[0], two[0])


def test_no_clip_at_all_lists_the_reasons(tmp_path: Path, cli: Cli) -> None:
    (tmp_path / "videos").mkdir()
    (tmp_path / "videos/a.mp4").write_text("text")
    (tmp_path / "videos/b.mp4").touch()
    code, _, err = cli("run", "folder", "--root", tmp_path / "videos", "--out", tmp_path / "store")
    assert code == 2
    assert "no clip could be made of 2 files" in err
    assert "1 × the file is empty" in err
    assert not (tmp_path / "store").exists()


def test_limit_spreads_over_the_data_set(folder: Path, tmp_path: Path, cli: Cli) -> None:
    store = tmp_path / "store"
    common = ("run", "folder", "--root", folder, "--out", store, *OPTIONS)
    assert cli(*common, "--limit", 3)[0] == 0
    assert set(Store(store).column("video").tolist()) == {"TOP.MP4", "jump/b:colon.mp4"}


@pytest.mark.parametrize(
    "options",
    [
        ("--clips", "span"),
        ("--clips", "random_sorted", "--seed", 3),
        ("--clips", "jittered"),
        ("--clips", "random_stride", "--stride", 4, "--draws", 2),
        ("--draws", 3, "--clips", "jittered", "--seed", 1),
        ("--draws", 2, "--clips", "random_sorted", "--fps", 15),
        ("--hop", 2, "--fit", "pad"),
        ("--fps", 7.5, "--fit", "stretch", "--crop", "1:20,2:21"),
    ],
)
def test_policies_and_geometry_reach_the_store_exactly(
    folder: Path, tmp_path: Path, cli: Cli, options: tuple[object, ...]
) -> None:
    """Made in two ways, held against the videos by `verify`; other options are refused."""
    one, two = tmp_path / "one", tmp_path / "two"
    common = ("run", "folder", "--root", folder, *OPTIONS, *options)
    assert cli(*common, "--out", one)[0] == 0
    assert cli(*common, "--out", two, "--workers", 2)[0] == 0
    assert contents(one) == contents(two)
    code, out, err = cli("verify", one, "--root", folder, "--sample", 2)
    assert code == 0, out + err
    opened = Store(one)
    assert f"{len(opened)} clips, bit for bit" in out
    frames = opened.column("frame_index")
    assert (np.diff(frames) >= 0).all()
    assert opened.column("start_frame").tolist() == frames[:, 0].tolist()
    code, _, err = cli("run", "folder", "--root", folder, *OPTIONS, "--out", one)
    assert code == 2
    assert f"{options[0]} {options[1]}, now " in err


def test_draws_are_recorded_where_there_are_more_than_one(
    folder: Path, tmp_path: Path, cli: Cli, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A store of one draw is byte for byte what earlier versions made."""
    monkeypatch.chdir(tmp_path)
    common = ("run", "folder", "--root", folder, *OPTIONS, "--clips", "random_sorted")
    one, two = (
        tmp_path / f"stores/folder-{name}-block8-range5"
        for name in (
            "size32-frames4-clipsrandom_sorted",
            "size32-frames4-clipsrandom_sorted-draws2",
        )
    )
    assert cli(*common, "--draws", 1)[0] == 0
    assert cli(*common, "--draws", 2)[0] == 0
    assert '"draws"' not in (one / "zarr.json").read_text()
    assert '"draws": 2' in (two / "zarr.json").read_text()
    first, both = Store(one), Store(two)
    assert both.column("video")[::2].tolist() == first.column("video").tolist()
    assert np.array_equal(both.column("frame_index")[::2], first.column("frame_index"))
    for name in ("first_frame", "motion", "residual"):
        for i in range(len(first)):
            assert np.array_equal(both.clip(name, 2 * i), first.clip(name, i))
    code, _, err = cli(*common, "--out", one, "--draws", 2)
    assert code == 2
    assert "--draws 1, now 2" in err
    assert "draws 2" in cli("inspect", two)[1]
    again = (*common, "--draws", 2, "--block", 4, "--out", tmp_path / "again")
    assert cli(*again)[0] == 0
    assert (
        cli("reblock", two, "--block", 4, "--out", tmp_path / "from-store", "--workers", 1)[0] == 0
    )
    assert contents(tmp_path / "from-store") == contents(tmp_path / "again")
    assert cli("report", two)[0] == 0
    assert "--draws 2" in (tmp_path / "report.html").read_text()


def test_the_split_is_in_the_store(folder: Path, tmp_path: Path, cli: Cli) -> None:
    store = tmp_path / "store"
    assert cli("run", "folder", "--root", folder, "--out", store, *OPTIONS)[0] == 0
    opened = Store(store)
    assert opened.attributes.splits == {
        "random": {"kind": "random", "by": "video", "test_fraction": 0.2, "seed": 0}
    }
    sides = dict(zip(opened.column("video"), opened.column("split")[:, 0], strict=True))
    assert sorted(map(int, sides.values())) == [0, 0, 0, 0, 1]
