from __future__ import annotations

from itertools import islice
from pathlib import Path

import numpy as np
import pytest

from preprocess.decode import DecodeError, decode
from preprocess.geometry import Geometry
from preprocess.probe import probe
from preprocess.recheck import recheck_frames
from preprocess.videos import Probe
from tests.conftest import moving_square, write_video


@pytest.fixture(scope="module")
def lossless(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Twelve frames of 20 x 30 pixels, RGB without loss."""
    path = tmp_path_factory.mktemp("lossless") / "v.mkv"
    return write_video(path, moving_square(12, 20, 30), codec="ffv1", pixels="bgr0")


def test_pixels_and_indices_are_right(lossless: Path) -> None:
    """At its own height nothing is scaled: the middle columns come out as they went in."""
    video = moving_square(12, 20, 30)
    frames = dict(decode(lossless, [0, 3, 11], Geometry(20)))
    assert list(frames) == [0, 3, 11]
    for index, frame in frames.items():
        assert frame.dtype == np.uint8
        assert np.array_equal(frame, video[index, :, 5:25].transpose(2, 0, 1))


@pytest.mark.parametrize("size", [1, 7, 20, 64])
def test_both_roads_give_the_same_pixels(lossless: Path, folder: Path, size: int) -> None:
    for path in (lossless, *folder.glob("wave/*")):
        frames = [frame for _, frame in decode(path, range(8), Geometry(size))]
        again = [frame for _, frame in islice(recheck_frames(path, Geometry(size)), 8)]
        assert np.array_equal(np.stack(frames), np.stack(again))
        assert frames[0].shape == (3, size, size)


def test_nothing_is_decoded_after_the_last_wanted_frame(tmp_path: Path) -> None:
    path = write_video(tmp_path / "v.mkv", moving_square(12, 20, 30), codec="ffv1")
    content = bytearray(path.read_bytes())
    content[len(content) * 3 // 4 :] = bytes(len(content) - len(content) * 3 // 4)
    path.write_bytes(content)
    assert [index for index, _ in decode(path, range(6), Geometry(16))] == list(range(6))


def test_asking_for_more_than_there_is_says_how_many_there_were(lossless: Path) -> None:
    frames = decode(lossless, range(10, 20), Geometry(16))
    assert [next(frames)[0], next(frames)[0]] == [10, 11]
    with pytest.raises(DecodeError, match="ends after 12 frames") as caught:
        next(frames)
    assert caught.value.frames == 12


def test_damage_ends_the_frames(tmp_path: Path) -> None:
    path = write_video(
        tmp_path / "v.avi", moving_square(40, 64, 64), codec="mjpeg", pixels="yuvj420p"
    )
    content = bytearray(path.read_bytes())
    middle = len(content) // 2
    content[middle : middle + 4000] = bytes(4000)
    path.write_bytes(content)
    seen = []
    with pytest.raises(DecodeError):
        for index, _ in decode(path, range(40), Geometry(16)):
            seen.append(index)
    assert 0 < len(seen) < 30


def test_probe_counts_without_decoding(lossless: Path) -> None:
    assert probe(lossless, Geometry(64)) == Probe(frames=12, width=30, height=20)


def test_probe_names_what_is_wrong(folder: Path, tmp_path: Path) -> None:
    assert str(probe(folder / "text.mp4", Geometry(64))).startswith("cannot be opened as a video: ")
    assert str(probe(tmp_path / "nowhere.mp4", Geometry(64))).startswith(
        "cannot be opened as a video: "
    )
    thin = write_video(tmp_path / "thin.mkv", moving_square(2, 2, 400), codec="ffv1")
    assert isinstance(probe(thin, Geometry(64)), Probe)
    assert "too narrow" in str(probe(thin, Geometry(4096)))


def test_hostile_sizes_are_refused_before_decoding(tmp_path: Path) -> None:
    path = write_video(tmp_path / "v.avi", moving_square(2, 16, 16), codec="rawvideo")
    content = path.read_bytes()
    size = (16).to_bytes(4, "little") * 2
    at = content.index(b"strf") + 12
    assert content[at : at + 8] == size
    huge = (9000).to_bytes(4, "little") * 2
    path.write_bytes(content[:at] + huge + content[at + 8 :])
    assert str(probe(path, Geometry(64))).startswith("frames of 9000x9000")
