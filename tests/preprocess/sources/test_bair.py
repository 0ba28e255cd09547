from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from preprocess.frames.geometry import Geometry
from preprocess.records import DecodeError, Probe
from preprocess.sources import bair
from shared.schema import TEST, TRAIN
from shared.store.store import Store
from tests.preprocess.sources.test_tfrecord import write_example, write_record

Cli = Callable[..., tuple[int, str, str]]
FILE = "softmotion30_44k/{}/traj_0_to_255.tfrecords"


def pixels(trajectory: int, camera: str, frame: int) -> np.ndarray:
    rng = np.random.default_rng([trajectory, len(camera), frame])
    return rng.integers(0, 256, (64, 64, 3), np.uint8)


def write_trajectories(path: Path, numbers: range, frames: int = 30) -> Path:
    """Records as the data set has them, with frames in the order of their names as text."""
    path.parent.mkdir(parents=True, exist_ok=True)
    content = b""
    for number in numbers:
        features = {
            f"{frame}/{camera}/encoded": pixels(number, camera, frame).tobytes()
            for camera in bair.CAMERAS
            for frame in range(frames)
        }
        content += write_record(write_example(dict(sorted(features.items()))))
    path.write_bytes(content)
    return path


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("bair")
    write_trajectories(root / FILE.format("train"), range(3))
    write_trajectories(root / FILE.format("test"), range(3, 5))
    return root


def test_frames_are_the_bytes_themselves(root: Path) -> None:
    path = root / (FILE.format("test") + "#1/image_aux1")
    assert bair.probe(path, Geometry(64)) == Probe(30, 64, 64)
    frames = dict(bair.decode(path, [0, 2, 11], Geometry(64)))
    for index, frame in frames.items():
        assert np.array_equal(frame, pixels(4, "image_aux1", index).transpose(2, 0, 1))
    again = dict(bair.decode_independently(path, Geometry(64)))
    assert len(again) == 30
    assert all(np.array_equal(frame, again[index]) for index, frame in frames.items())


def test_both_cameras_of_every_trajectory_on_the_side_of_their_folder(
    root: Path, tmp_path: Path, cli: Cli
) -> None:
    store = tmp_path / "store"
    options = ("--search-range", 2, "--workers", 1)
    code, out, err = cli("run", "bair", "--root", root, "--out", store, *options)
    assert code == 0, err
    opened = Store(store)
    videos = opened.column("video").tolist()
    assert len(videos) == len(set(videos)) == 10
    assert videos[0] == FILE.format("test") + "#0/image_aux1"
    expected = [TRAIN if "/train/" in video else TEST for video in videos]
    assert opened.column("split")[:, 0].tolist() == expected
    assert opened.attributes.source == "bair"
    code, out, err = cli("verify", store, "--root", root, "--sample", 1)
    assert code == 0, out + err
    assert "10 clips" in out


def test_damage_costs_the_record_that_has_it(root: Path, tmp_path: Path, cli: Cli) -> None:
    broken, store = tmp_path / "bair", tmp_path / "store"
    shutil.copytree(root, broken)
    path = broken / FILE.format("train")
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    cut = broken / FILE.format("test")
    cut.write_bytes(cut.read_bytes()[:-5])
    options = ("--search-range", 1, "--workers", 1)
    code, _, err = cli("run", "bair", "--root", broken, "--out", store, *options)
    assert code == 0, err
    rejected = [json.loads(line) for line in (store / "rejected.jsonl").read_text().splitlines()]
    assert {record["file"]: record["reason"] for record in rejected} == {
        FILE.format("test"): "record 1 is cut short",
        **{
            FILE.format("train") + f"#1/{camera}": "the record cannot be read: the record is"
            " damaged: its checksum differs"
            for camera in bair.CAMERAS
        },
    }
    assert len(Store(store)) == 6
    assert cli("verify", store, "--root", broken, "--sample", 0)[0] == 0


def test_records_of_something_else_are_named(tmp_path: Path) -> None:
    path = tmp_path / "traj_0_to_1.tfrecords"
    path.write_bytes(write_record(write_example({"0/other/encoded": b"x"})) + write_record(b"\xff"))
    reasons = [bair.probe(Path(f"{path}#{n}/image_main"), Geometry(64)) for n in (0, 1, 2)]
    assert reasons[0] == "the record holds no frames of image_main"
    assert reasons[1] == "the record cannot be read: the record is not a tf.train.Example"
    assert "the record cannot be read" in str(reasons[2])
    path.write_bytes(write_record(write_example({"0/image_main/encoded": b"short"})))
    with pytest.raises(DecodeError, match="frame 0 has 5 bytes, not 12288"):
        list(bair.decode(Path(f"{path}#0/image_main"), [0], Geometry(64)))


def test_the_true_layout(real_clips: Path, tmp_path: Path, cli: Cli) -> None:
    root, store = real_clips / "fixtures/bair_tfds_fake", tmp_path / "store"
    options = ("--search-range", 1, "--workers", 1)
    assert cli("run", "bair", "--root", root, "--out", store, *options)[0] == 0
    assert Store(store).column("split")[:, 0].tolist() == [TEST, TEST, TRAIN, TRAIN]
    assert cli("verify", store, "--root", root, "--sample", 1)[0] == 0
