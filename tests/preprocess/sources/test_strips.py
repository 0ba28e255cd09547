"""Strips of frames: read exactly, refused where they are none; MoCoGAN's folders as a whole."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from preprocess.frames.geometry import Box, Geometry, fit_picture
from preprocess.records import DecodeError, Probe
from preprocess.sources import strips
from shared.schema import TEST, TRAIN
from shared.store.store import Store
from tests.conftest import moving_square
from tests.stores import contents

Cli = Callable[..., tuple[int, str, str]]
OPTIONS = ("--size", 16, "--frames", 4, "--block", 8, "--search-range", 2, "--workers", 1)


def write_strip(path: Path, video: np.ndarray, axis: int = 1) -> Path:
    """Write uint8 (T, S, S, 3) as one PNG, whatever the file's name; axis 1 makes a row."""
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.concatenate(list(video), axis)).save(path, format="png")
    return path


@given(
    frames=st.integers(1, 9),
    side=st.integers(1, 20),
    size=st.integers(1, 24),
    column=st.booleans(),
    seed=st.integers(0, 9),
)
def test_frames_are_the_squares_in_their_order(
    tmp_path_factory: pytest.TempPathFactory,
    frames: int,
    side: int,
    size: int,
    column: bool,
    seed: int,
) -> None:
    video = np.random.default_rng(seed).integers(0, 256, (frames, side, side, 3), np.uint8)
    path = write_strip(tmp_path_factory.mktemp("s") / "1.jpg", video, 1 - column)
    geometry = Geometry(size)
    assert strips.probe(path, geometry) == Probe(frames, side, side)
    wanted = [n for n in range(frames) if n % 3 != 1]
    found = list(strips.decode(path, wanted, geometry))
    assert [index for index, _ in found] == wanted
    for index, frame in found:
        assert np.array_equal(frame, fit_picture(video[index], geometry))
    again = dict(strips.decode_independently(path, geometry))
    assert list(again) == list(range(frames))
    assert all(np.array_equal(frame, again[index]) for index, frame in found)


def test_the_crop_box_is_within_each_frame(tmp_path: Path) -> None:
    video = moving_square(5, 20, 20)
    path = write_strip(tmp_path / "1.png", video)
    [(_, frame)] = strips.decode(path, [3], Geometry(8, box=Box(2, 10, 9, 17)))
    assert np.array_equal(frame, video[3, 2:10, 9:17].transpose(2, 0, 1))
    beyond = Geometry(8, box=Box(0, 10, 9, 21))
    assert "20x20 do not hold the crop box 0:10,9:21" in str(strips.probe(path, beyond))
    with pytest.raises(DecodeError, match="do not hold the crop box"):
        next(strips.decode(path, [3], beyond))


def test_what_is_no_strip_is_named(tmp_path: Path) -> None:
    cannot = "cannot be opened as a strip of frames: "
    path = tmp_path / "1.png"
    assert strips.probe(path, Geometry(8)) == cannot + "No such file or directory"
    path.write_text("text")
    assert strips.probe(path, Geometry(8)) == cannot + "not an image of a known kind"
    Image.new("RGB", (50, 20)).save(path)
    assert strips.probe(path, Geometry(8)) == cannot + "50x20 pixels are no row of squares"
    with pytest.raises(DecodeError, match="the picture cannot be read: 50x20 pixels are no row"):
        next(strips.decode(path, [0], Geometry(8)))
    assert list(strips.decode_independently(path, Geometry(8))) == []
    path.write_bytes(b"P6 100000 100 255\n" + bytes(100))
    assert strips.probe(path, Geometry(8)) == Probe(1000, 100, 100)
    path.write_bytes(b"P6 8200000 9 255\n" + bytes(100))
    assert "8200000x9 pixels; at most" in str(strips.probe(path, Geometry(8)))


def test_a_picture_that_is_cut_gives_no_frame(tmp_path: Path) -> None:
    path = write_strip(tmp_path / "1.png", moving_square(5, 20, 20))
    path.write_bytes(path.read_bytes()[:-1500])
    assert strips.probe(path, Geometry(8)) == Probe(5, 20, 20)
    with pytest.raises(DecodeError, match="the picture cannot be read: ") as caught:
        next(strips.decode(path, [0], Geometry(8)))
    assert caught.value.frames == 0
    assert list(strips.decode_independently(path, Geometry(8))) == []
    whole = write_strip(tmp_path / "2.png", moving_square(5, 20, 20))
    with pytest.raises(DecodeError, match="the picture holds 5 frames"):
        list(strips.decode(whole, [4, 5], Geometry(8)))


FOLDERS = ("1", "0", "3", "4")
"""MoCoGAN's folders in the order of its numbers, two numbers each."""


def mocogan(root: Path, videos: list[np.ndarray]) -> Path:
    """Its folders with these videos, each with its mirror image: eight numbers a person."""
    for n, video in enumerate(videos):
        folder = root / "data/actions" / FOLDERS[n % 4]
        write_strip(folder / f"{2 * n:08}.jpg", video)
        write_strip(folder / f"{2 * n + 1:08}.jpg", video[:, :, ::-1])
    return root


def test_mocogans_folders_without_mirror_images(tmp_path: Path, cli: Cli) -> None:
    root = mocogan(tmp_path / "r", [moving_square(7, 16, 16, n) for n in range(36)])
    write_strip(root / "data/shapes/0/00000000.png", moving_square(7, 16, 16))
    write_strip(root / "data/actions/4/00000072.jpg", moving_square(7, 16, 16))
    command = ("run", "weizmann-strips", "--root", root, *OPTIONS, "--stride", 1, "--hop", 4)
    store = tmp_path / "store"
    code, out, err = cli(*command, "--out", store)
    assert code == 0, err
    opened = Store(store)
    names, people = opened.attributes.labels, opened.attributes.subjects
    assert people == tuple(f"s{n}" for n in range(9))
    texts = ("wave two hands", "wave one hand", "jumping jack", "bend")
    columns = (opened.column(name).tolist() for name in ("video", "label", "subject"))
    for video, label, subject in zip(*columns, strict=True):
        number = int(Path(video).stem)
        assert number % 2 == 0
        assert names[label] == texts[number % 8 // 2]
        assert people[subject] == f"s{number // 8}"
    assert len(opened) == 36
    for n, test in enumerate((("s7", "s8"), ("s3", "s4"))):
        for subject, side in zip(
            opened.column("subject"), opened.column("split")[:, n], strict=True
        ):
            assert side == (TEST if people[subject] in test else TRAIN)
    lines = (store / "rejected.jsonl").read_text().splitlines()
    reasons = [json.loads(line)["reason"] for line in lines]
    assert reasons.count("the mirror image of the strip numbered one less") == 36
    assert reasons[-1:] == ["subject '72' is not in the manifest"]
    assert len(reasons) == 37
    assert "37 files rejected" in out
    code, out, err = cli("verify", store, "--root", root, "--sample", 2)
    assert code == 0, out + err
    assert "is complete already" in cli(*command, "--out", store)[1]
    code, _, err = cli(*command, "--out", store, "--fps", 10)
    assert code == 2
    assert "the frames of weizmann-strips have no times" in err


def test_the_strips_of_real_videos_give_the_same_store(
    real_clips: Path, tmp_path: Path, cli: Cli
) -> None:
    """As `weizmann` makes of the same frames in video files, which `verify` holds against them."""
    import av

    videos, few = [], tmp_path / "videos"
    for label in ("wave2", "wave1", "jack", "bend"):
        path = real_clips / f"weizmann/{label}/s0_{label}.mkv"
        with av.open(str(path)) as container:
            pictures = [f.to_ndarray(format="rgb24") for f in container.decode(video=0)]
        videos.append(np.stack(pictures))
        (few / label).mkdir(parents=True)
        (few / label / path.name).symlink_to(path)
    root = mocogan(tmp_path / "strips", videos)
    options = ("--block", 16, "--search-range", 2, "--workers", 1)
    made = []
    for name, place in (("weizmann", few), ("weizmann-strips", root)):
        store = tmp_path / name
        code, out, err = cli("run", name, "--root", place, "--out", store, *options)
        assert code == 0, err
        code, out, err = cli("verify", store, "--root", place, "--sample", 1)
        assert code == 0, out + err
        made.append(clips_by_content(Store(store)))
    assert made[0] == made[1]


def clips_by_content(store: Store) -> dict[tuple[object, ...], tuple[bytes, ...]]:
    """Pixels and vectors of each clip by label, person, start and sides."""
    names, people = store.attributes.labels, store.attributes.subjects
    return {
        (
            names[store.column("label")[i]],
            people[store.column("subject")[i]],
            int(store.column("start_frame")[i]),
            *store.column("split")[i].tolist(),
        ): tuple(store.clip(name, i).tobytes() for name in ("first_frame", "motion", "residual"))
        for i in range(len(store))
    }


def test_searched_again_from_the_store_alone(tmp_path: Path, cli: Cli) -> None:
    root = mocogan(tmp_path / "r", [moving_square(9, 16, 16, n) for n in range(4)])
    (root / "data/actions/1/00000000.jpg").write_text("text")
    common = ("run", "weizmann-strips", "--root", root, *OPTIONS, "--stride", 1)
    eight, four, again = (tmp_path / name for name in ("eight", "four", "again"))
    assert cli(*common, "--out", eight)[0] == 0
    assert cli(*common, "--block", 4, "--out", four)[0] == 0
    assert cli("reblock", eight, "--block", 4, "--out", again, "--workers", 1)[0] == 0
    assert contents(again) == contents(four)
