"""Stores in S3: an HTTP endpoint, the whole command line, and a cluster that writes to it."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from shared.schema import ARRAYS
from shared.store.paths import Location, location, remove, sizes
from shared.store.store import Store, damaged_files, read_markers
from tests.clusters import running_cluster, wait_until
from tests.conftest import moving_square, write_video
from tests.s3 import new_place, s3_endpoint
from tests.stores import contents

Cli = Callable[..., tuple[int, str, str]]
OPTIONS = ("--size", 32, "--frames", 4, "--block", 8, "--search-range", 5)


@pytest.fixture(scope="module")
def bucket() -> Iterator[str]:
    with s3_endpoint() as name:
        yield name


@pytest.fixture
def place(bucket: str) -> Location:
    return new_place(bucket)


@pytest.fixture(autouse=True)
def small_shards(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("preprocess.planning.plan.MAX_SHARD_CLIPS", 3)


@pytest.fixture(scope="module")
def videos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three videos of 8, 12 and 8 frames under odd names, and rejects: 7 clips in 3 partitions."""
    root = tmp_path_factory.mktemp("videos")
    write_video(root / "jump" / "a 100%d.mp4", moving_square(8, 32, 48, 1))
    write_video(root / "wave" / "-dash 'quote' 🎬.avi", moving_square(12, 40, 30, 3))
    write_video(root / "TOP.MP4", moving_square(8, 24, 24, 5))
    write_video(root / "short.mp4", moving_square(3, 24, 24, 6))
    (root / "empty.mp4").touch()
    (root / "text.mp4").write_text("not a video")
    return root


def extract(cli: Cli, folder: Path, out: Location, *more: object) -> tuple[int, str, str]:
    return cli("run", "folder", "--root", folder, "--out", out, *OPTIONS, *more)


@pytest.mark.slow
def test_a_store_in_s3_is_the_local_one(
    videos: Path, tmp_path: Path, place: Location, cli: Cli
) -> None:
    local = tmp_path / "store"
    assert extract(cli, videos, local, "--workers", 1)[0] == 0
    code, out, err = extract(cli, videos, place, "--workers", 1)
    assert code == 0, err
    assert f"dvdm-train vae --store {place}" in out
    assert contents(place) == contents(local)
    here, there = Store(local), Store(place)
    assert there.column("video").tolist() == here.column("video").tolist()
    for name in ("first_frame", "motion", "residual"):
        assert (there.clip(name, 4) == here.clip(name, 4)).all()

    code, out, _ = cli("inspect", place)
    assert code == 0
    assert "7 valid of 7" in out
    code, out, _ = cli("verify", place, "--root", videos, "--sample", 1)
    assert code == 0
    assert "all is well" in out
    code, out, _ = extract(cli, videos, place)
    assert code == 0
    assert "is complete already" in out
    code, _, err = extract(cli, videos, place, "--motion-cost", 1)
    assert code == 2
    assert "--motion-cost 0.3, now 1.0" in err

    again, finer = place.with_name(f"{place.name}-block4"), tmp_path / "finer"
    assert cli("reblock", place, "--block", 4, "--workers", 1)[0] == 0
    assert cli("reblock", local, "--block", 4, "--out", finer, "--workers", 1)[0] == 0
    assert contents(again) == contents(finer)


@pytest.mark.slow
def test_what_is_missing_is_made_again(
    videos: Path, tmp_path: Path, place: Location, cli: Cli
) -> None:
    assert extract(cli, videos, place, "--workers", 1)[0] == 0
    whole = contents(place)
    # What an interrupted run leaves: no seal, shards without their marker.
    unsealed = whole["zarr.json"].replace(b'"sealed": true', b'"sealed": false')
    (place / "zarr.json").write_bytes(unsealed)
    for name in ("partitions/000000.json", "residual/c/2/0/0/0/0", "partitions/000002.json"):
        (place / name).unlink()
    markers = read_markers(place, range(3))
    assert [p for p, marker in enumerate(markers) if marker is None] == [0, 2]
    code, _, err = cli("verify", place, "--root", videos)
    assert code == 2
    assert "not sealed" in err
    assert extract(cli, videos, place, "--workers", 1)[0] == 0
    assert contents(place) == whole

    (place / "motion/c/1/0/0/0/0").write_bytes(b"damage")
    assert damaged_files(place) == ["motion/c/1/0/0/0/0"]
    (place / "motion/c/1/0/0/0/0").unlink()
    code, _, err = cli("verify", place, "--root", videos)
    assert code == 2
    assert "lacks 1 of its shards (motion/c/1/0/0/0/0)" in err


@pytest.mark.slow
def test_a_cluster_writes_to_s3_and_loses_a_worker(
    videos: Path, tmp_path: Path, place: Location, cli: Cli, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("preprocess.planning.plan.MAX_SHARD_CLIPS", 1)
    local = tmp_path / "store"
    assert extract(cli, videos, local, "--workers", 1)[0] == 0
    with running_cluster(tmp_path, 2) as cluster:

        def kill_a_worker() -> None:
            wait_until(lambda: len(sizes(place / "partitions")) >= 2, "two partitions")
            cluster.kill_worker()

        killer = threading.Thread(target=kill_a_worker)
        killer.start()
        code, _, err = extract(cli, videos, place, "--scheduler", cluster.address)
        killer.join()
    assert code == 0, err
    assert contents(place) == contents(local)


def test_no_bucket_no_credentials_no_answer(
    videos: Path, tmp_path: Path, bucket: str, cli: Cli, monkeypatch: pytest.MonkeyPatch
) -> None:
    missing = location("s3://no-such-bucket/store")
    for command in (
        ("run", "folder", "--root", videos, "--out", missing),
        ("inspect", missing),
        ("verify", missing),
        ("reblock", missing, "--block", 8),
    ):
        code, _, err = cli(*command)
        assert (code, "Traceback" in err) == (2, False)
        assert "there is no bucket 'no-such-bucket'" in err
    code, _, err = cli("inspect", f"s3://{bucket}/nothing")
    assert code == 2
    assert f"no store at s3://{bucket}/nothing" in err
    for name, message in (("s3://", "names no bucket"), ("gopher://a/b", "gopher")):
        code, _, err = cli("inspect", name)
        assert code == 2
        assert message in err

    import s3fs

    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "none"))
    s3fs.S3FileSystem.clear_instance_cache()
    code, _, err = cli("inspect", f"s3://{bucket}/nothing")
    s3fs.S3FileSystem.clear_instance_cache()
    assert code == 2
    assert "Unable to locate credentials" in err
    assert "AWS_ACCESS_KEY_ID" in err


def test_a_folder_that_holds_something_else_is_refused(
    videos: Path, place: Location, cli: Cli
) -> None:
    (place / "note.txt").write_bytes(b"mine")
    code, _, err = extract(cli, videos, place)
    assert code == 2
    assert "exists and is not a store" in err
    remove(place)
    assert not sizes(place)


def test_videos_in_s3_give_what_local_files_give(
    videos: Path, tmp_path: Path, bucket: str, place: Location, cli: Cli
) -> None:
    root, local = new_place(bucket), tmp_path / "local"
    for name, content in contents(videos).items():
        (root / name).write_bytes(content)
    assert extract(cli, videos, local, "--workers", 1)[0] == 0
    code, out, err = cli("run", "folder", "--root", root, "--out", place, *OPTIONS, "--workers", 1)
    assert code == 0, err
    assert f"in {root}" in out
    here, there = contents(local), contents(place)
    arrays = [name for name in here if "/c/" in name]
    assert len(arrays) == 3 * len(ARRAYS)
    assert {name: there[name] for name in arrays} == {name: here[name] for name in arrays}
    assert there["rejected.jsonl"] == here["rejected.jsonl"]
    code, out, err = cli("verify", place, "--root", root, "--sample", 1)
    assert code == 0, err
    assert "all is well" in out
    code, _, err = cli("run", "folder", "--root", place / "nothing", "--out", tmp_path / "x")
    assert code == 2
    assert "no folder s3://" in err


@pytest.mark.slow
def test_real_files_in_s3(real_clips: Path, tmp_path: Path, bucket: str, cli: Cli) -> None:
    root, local, there = new_place(bucket), tmp_path / "local", tmp_path / "there"
    for path in (real_clips / "bad").iterdir():
        (root / path.name).write_bytes(path.read_bytes())
    common = ("--size", 32, "--frames", 4, "--search-range", 4, "--workers", 1)
    assert cli("run", "folder", "--root", real_clips / "bad", "--out", local, *common)[0] == 0
    assert cli("run", "folder", "--root", root, "--out", there, *common)[0] == 0
    here, found = contents(local), contents(there)
    assert here["rejected.jsonl"] == found["rejected.jsonl"]
    arrays = [name for name in here if "/c/" in name]
    assert {name: found[name] for name in arrays} == {name: here[name] for name in arrays}
