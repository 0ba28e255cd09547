from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from preprocess.frames.geometry import Box, Geometry
from preprocess.records import DecodeError, Probe
from preprocess.sources import images
from shared.schema import NEITHER, TEST, TRAIN
from shared.store.store import Store
from tests.conftest import moving_square

Cli = Callable[..., tuple[int, str, str]]
OPTIONS = ("--size", 16, "--frames", 4, "--block", 8, "--search-range", 2, "--workers", 1)


def write_frames(folder: Path, frames: int = 6, seed: int = 0, ending: str = "png") -> Path:
    """Frames of 20 x 30 pixels, numbered without leading zeros from 7."""
    folder.mkdir(parents=True)
    for n, picture in enumerate(moving_square(frames, 20, 30, seed)):
        Image.fromarray(picture).save(folder / f"frame{7 + n}.{ending}")
    return folder


def test_frames_come_in_the_order_of_their_numbers(tmp_path: Path) -> None:
    folder = write_frames(tmp_path / "v")
    (folder / "notes.txt").write_text("no frame")
    (folder / "deeper").mkdir()
    assert images.probe(folder, Geometry(20)) == Probe(6, 30, 20)
    video = moving_square(6, 20, 30)
    for index, frame in images.decode(folder, [0, 3, 5], Geometry(20)):
        assert np.array_equal(frame, video[index, :, 5:25].transpose(2, 0, 1))


@pytest.mark.parametrize("box", [None, Box(2, 19, 3, 24)])
@pytest.mark.parametrize("size", [7, 20, 33])
def test_both_decoders_give_the_same_pixels(tmp_path: Path, size: int, box: Box | None) -> None:
    folder = write_frames(tmp_path / "v", ending="jpg")
    for fit in ("crop", "pad", "stretch"):
        geometry = Geometry(size, fit, box)  # type: ignore[arg-type]
        frames = [frame for _, frame in images.decode(folder, range(6), geometry)]
        again = [frame for _, frame in images.decode_independently(folder, geometry)]
        assert np.array_equal(np.stack(frames), np.stack(again))


def test_pictures_are_turned_upright(tmp_path: Path) -> None:
    picture = np.random.default_rng(0).integers(0, 256, (20, 30, 3), np.uint8)
    exif = Image.Exif()
    exif[0x0112] = 6  # to be shown turned by 90 degrees clockwise
    Image.fromarray(picture).save(tmp_path / "1.png", exif=exif)
    assert images.probe(tmp_path, Geometry(20)) == Probe(1, 20, 30)
    [(_, frame)] = images.decode(tmp_path, [0], Geometry(20))
    assert np.array_equal(frame, np.rot90(picture, -1)[5:25].transpose(2, 0, 1))


def test_hidden_files_are_no_frames(tmp_path: Path) -> None:
    """Such as those that macOS leaves on other file systems, `._frame7.png`."""
    folder = write_frames(tmp_path / "v")
    (folder / "._frame7.png").write_bytes(b"\0\5\x16\7")
    assert images.probe(folder, Geometry(20)) == Probe(6, 30, 20)


@pytest.mark.parametrize("twin", ["frame9.jpg", "frame9_mask.png", "left9.png", "frame09.png"])
def test_two_pictures_of_one_number_are_refused(twin: str, tmp_path: Path) -> None:
    """They are two videos, whose frames would come in turn or one video after the other."""
    folder = write_frames(tmp_path / "v")
    Image.new("RGB", (30, 20)).save(folder / twin)
    found = images.probe(folder, Geometry(20))
    assert isinstance(found, str)
    assert {"frame9.png", twin} < set(found.split())
    assert "have the same number; give pictures of each kind a folder" in found


def test_a_cover_among_the_frames_is_remarked_on(tmp_path: Path) -> None:
    folder = write_frames(tmp_path / "v")
    Image.new("RGB", (30, 20)).save(folder / "cover.png")
    found = images.probe(folder, Geometry(20))
    assert isinstance(found, Probe)
    assert [text[:26] for text in found.remarks] == ["some frames have no number"]
    for file in folder.glob("frame*"):
        file.rename(
            folder
            / (file.stem.translate(dict(zip(b"0123456789", "abcdefghij", strict=True))) + ".png")
        )
    assert images.probe(folder, Geometry(20)) == Probe(7, 30, 20)


def test_frames_that_are_missing_are_remarked_on(tmp_path: Path) -> None:
    folder = write_frames(tmp_path / "v", frames=12)
    (folder / "frame7.png").unlink()
    (folder / "frame18.png").unlink()
    assert images.probe(folder, Geometry(20)) == Probe(10, 30, 20)
    (folder / "frame12.png").unlink()
    found = images.probe(folder, Geometry(20))
    assert isinstance(found, Probe)
    assert [text[:22] for text in found.remarks] == ["numbers of frames jump"]


@given(st.lists(st.integers(2, 99), min_size=3, max_size=20, unique=True))
def test_times_in_names_are_no_gaps(steps: list[int]) -> None:
    """Numbers without a usual step; nor is every second frame, or every fifth."""
    numbers = [(1305031102, n) for n in np.cumsum(steps).tolist()]
    assert not images._jumps(numbers)
    assert not images._jumps([(3, 5 * n) for n in range(20)])


def test_what_is_no_image_is_named(tmp_path: Path) -> None:
    folder = write_frames(tmp_path / "v")
    (folder / "frame9.png").write_text("text")
    found = images.decode(folder, [0, 2, 3], Geometry(8))
    assert [next(found)[0], next(found)[0]] == [0, 3]
    reason = "not an image of a known kind"
    with pytest.raises(DecodeError, match=rf"^frame 2, frame9\.png: {reason}$") as caught:
        next(found)
    assert (caught.value.frames, caught.value.restarts) == (5, (3,))
    assert [index for index, _ in images.decode_independently(folder, Geometry(8))] == [
        0,
        1,
        3,
        4,
        5,
    ]
    cut = (folder / "frame10.png").read_bytes()
    (folder / "frame10.png").write_bytes(cut[: len(cut) // 2])
    with pytest.raises(DecodeError, match=r"^frame 2, frame9\.png: .*, and 1 more$") as caught:
        next(images.decode(folder, [3], Geometry(8)))
    assert (caught.value.frames, caught.value.restarts) == (4, (4,))
    (folder / "frame7.png").write_text("text")
    assert images.probe(folder, Geometry(8)) == f"its first frame cannot be opened: {reason}"


def test_hostile_sizes_are_refused_before_decoding(tmp_path: Path) -> None:
    header = b"P6 100000 100000 255\n"
    (tmp_path / "1.ppm").write_bytes(header + bytes(100))
    assert "exceeds limit" in str(images.probe(tmp_path, Geometry(8)))
    (tmp_path / "1.ppm").write_bytes(b"P6 9000 9000 255\n" + bytes(100))
    assert "9000x9000 pixels; at most" in str(images.probe(tmp_path, Geometry(8)))


def test_sky_by_its_folders(tmp_path: Path, cli: Cli) -> None:
    root, store = tmp_path / "sky", tmp_path / "store"
    for n, name in enumerate(("sky_train/a/a_1", "sky_train/a/a_2", "sky_test/b/b_1")):
        write_frames(root / name, seed=n)
    write_frames(root / "sky_test/b/b_2", frames=3)
    write_frames(root / "elsewhere")
    (root / "sky_train/a/a_2/frame8.png").write_text("text")
    code, _, err = cli("run", "sky", "--root", root, "--out", store, *OPTIONS)
    assert code == 0, err
    opened = Store(store)
    assert opened.column("video").tolist() == ["sky_test/b/b_1", "sky_train/a/a_1"]
    assert opened.column("split")[:, 0].tolist() == [TEST, TRAIN]
    rejected = [json.loads(line) for line in (store / "rejected.jsonl").read_text().splitlines()]
    assert {record["file"]: record["reason"] for record in rejected} == {
        "elsewhere": "its name does not follow the data set's layout",
        "sky_test/b/b_2": "3 frames; one clip at stride 1 needs 4",
        "sky_train/a/a_2": "frame 1, frame8.png: not an image of a known kind",
    }
    code, out, err = cli("verify", store, "--root", root, "--sample", 1)
    assert code == 0, out + err
    (root / "sky_train/a/a_1/frame9.png").unlink()
    code, out, _ = cli("verify", store, "--root", root, "--sample", 0)
    assert code == 1
    assert "'sky_train/a/a_1': the clip at frame 0 differs" in out


def test_davis_by_its_lists(tmp_path: Path, cli: Cli) -> None:
    root, store = tmp_path / "davis", tmp_path / "store"
    for n, name in enumerate(("bear", "camel", "dog")):
        write_frames(root / "DAVIS/JPEGImages/480p" / name, seed=n, ending="jpg")
        write_frames(root / "DAVIS/Annotations/480p" / name, seed=n)
    lists = root / "DAVIS/ImageSets/2017"
    lists.mkdir(parents=True)
    (lists / "train.txt").write_text("bear\n")
    (lists / "val.txt").write_text("camel\n")
    code, _, err = cli("run", "davis", "--root", root, "--out", store, *OPTIONS)
    assert code == 0, err
    opened = Store(store)
    names = [Path(video).name for video in opened.column("video")]
    assert names == ["bear", "camel", "dog"]
    assert opened.column("split")[:, 0].tolist() == [TRAIN, TEST, NEITHER]


def test_mug_by_its_names(tmp_path: Path, cli: Cli) -> None:
    root, store = tmp_path / "mug", tmp_path / "store"
    for n, name in enumerate(("001/anger/take000", "002/session0/fear/take001")):
        write_frames(root / "subjects3" / name, seed=n, ending="jpg")
    code, _, err = cli("run", "mug", "--root", root, "--out", store, *OPTIONS)
    assert code == 0, err
    opened = Store(store)
    assert [opened.attributes.labels[i] for i in opened.column("label")] == ["anger", "fear"]
    assert opened.attributes.subjects == ("001", "002")
    assert sorted(opened.column("split")[:, 0].tolist()) == [TRAIN, TEST]
    assert opened.column("frame_index").tolist() == [[0, 2, 3, 5]] * 2
