"""Frames of an ffmpeg program are PyAV's, its filters do what they say, and it fails by name."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import imageio_ffmpeg
import numpy as np
import pytest
from upath import UPath

from preprocess.frames.geometry import Geometry
from preprocess.options import codec_options, default_store
from preprocess.records import DecodeError
from preprocess.sources import ffmpeg, source_of, video
from preprocess.sources.ffmpeg import check
from shared.errors import UserError
from shared.manifest import load_manifest
from shared.schema import CodecOptions
from shared.store.store import Store
from tests.conftest import moving_square, write_video
from tests.preprocess.frames.test_deinterlace import combs, interlaced_video
from tests.preprocess.frames.test_geometry import quadrants, with_matrix
from tests.preprocess.frames.test_hdr import hdr_video
from tests.preprocess.frames.test_transparency import half_hidden, write_transparent
from tests.preprocess.sources.test_dependencies import (
    FRAMES,
    GEOMETRY,
    PAIRS,
    contents,
    damaged,
    made,
    outcome,
    place,
)
from tests.preprocess.sources.test_faults import cropped_matroska

__all__ = ["place"]  # a fixture

Cli = Callable[..., tuple[int, str, str]]
OPTIONS = ("--size", 24, "--frames", 4, "--block", 8, "--workers", 1, "--decoder", "ffmpeg")

SAMPLE = [
    *(("h264", container) for container in ("mp4", "ts", "avi")),
    *(
        pair
        for pair in PAIRS
        if pair[1] in ("mkv", "nut", "asf", "mpg") and "closed" not in pair[0]
    ),
]
"""Every codec, and containers that state times in other ways."""


@pytest.mark.parametrize("pair", SAMPLE, ids="-".join)
def test_frames_are_those_of_pyav(pair: tuple[str, str], place: Path) -> None:
    path, whole = made(place, *pair)
    assert contents(ffmpeg.decode(path, range(FRAMES), GEOMETRY, to_end=True)) == whole
    assert contents(ffmpeg.decode(path, [3, 17], GEOMETRY)) == {n: whole[n] for n in (3, 17)}


def test_frames_are_turned_and_coloured_alike(tmp_path: Path) -> None:
    turned = write_video(tmp_path / "turned.mp4", quadrants(48, 64).repeat(4, 0))
    with_matrix(turned, (0, 1, -1, 0))
    mirrored = write_video(tmp_path / "mirrored.mp4", quadrants(48, 64).repeat(4, 0))
    with_matrix(mirrored, (-1, 0, 0, 1))
    hdr = hdr_video(tmp_path / "hdr.mp4", 16, "yuv420p10le")
    full = write_video(tmp_path / "f.avi", quadrants(64, 96), codec="mjpeg", pixels="yuvj422p")
    hidden = write_transparent(tmp_path / "a.mov", half_hidden(), "png", "rgba")
    cropped = cropped_matroska(tmp_path / "c.mkv", quadrants(64, 96).repeat(4, 0), "yuv420p")
    for path in (turned, mirrored, hdr, full, hidden, cropped):
        for size in (16, 64):
            count = len(list(video.decode_independently(path, Geometry(size))))
            ours = contents(ffmpeg.decode(path, range(count), Geometry(size)))
            assert ours == contents(video.decode(path, range(count), Geometry(size))), path


def test_a_filter_is_applied_and_verified(tmp_path: Path, cli: Cli) -> None:
    """Mirrors and negatives have known answers; the store records the filter."""
    root = tmp_path / "videos"
    path = write_video(root / "v.mkv", moving_square(12, 24, 24), codec="ffv1", pixels="bgr0")
    assert cli("run", "folder", "--root", root, *OPTIONS, "--filter", "hflip,negate", "--out",
               tmp_path / "s")[0] == 0  # fmt: skip
    store = Store(tmp_path / "s")
    assert (store.options.decoder, store.options.filter) == ("ffmpeg", "hflip,negate")
    plain = dict(video.decode(path, [0, 8], Geometry(24)))
    for clip, frame in ((0, plain[0]), (2, plain[8])):
        assert np.array_equal(store.clip("first_frame", clip), 255 - frame[:, :, ::-1])
    code, out, _ = cli("verify", tmp_path / "s", "--root", root)
    assert (code, "all is well" in out) == (0, True)
    write_video(root / "v.mkv", moving_square(12, 24, 24, 1), codec="ffv1", pixels="bgr0")
    assert cli("verify", tmp_path / "s", "--root", root)[0] == 1


def test_a_deinterlacer_as_a_filter(tmp_path: Path) -> None:
    path = interlaced_video(tmp_path / "v.mpg", "mpeg2video", top_first=True)
    whole = Geometry(64, "stretch", filter="bwdif=mode=send_frame")
    frames = [frame for _, frame in ffmpeg.decode(path, range(12), whole)]
    raw = [frame for _, frame in ffmpeg.decode(path, range(12), Geometry(64, "stretch"))]
    assert len(frames) == 12
    assert combs(frames[6]) < combs(raw[6]) / 4


@pytest.mark.parametrize("chain", ["fps=10", "select=not(mod(n\\,2))", "bwdif=mode=send_field",
                                   "setpts=2*PTS", "trim=end_frame=9"])  # fmt: skip
def test_a_filter_that_makes_other_frames_is_refused(chain: str, place: Path) -> None:
    """In a file with times, and in one without: no frame that came before is trusted."""
    for pair in (("mpeg4", "mp4"), ("mpeg4", "avi")):
        path, _ = made(place, *pair)
        if pair[1] == "avi" and chain.startswith("setpts"):
            continue  # times do not count there
        geometry = Geometry(24, filter=chain)
        with pytest.raises(DecodeError, match="must give one frame for each of the file") as caught:
            list(ffmpeg.decode(path, range(FRAMES), geometry))
        assert f"the filter {chain}" in str(caught.value)
        assert not caught.value.trusted


def test_frames_end_at_damage(place: Path, tmp_path: Path) -> None:
    """Whether it shows in the packets or to the decoder alone."""
    for kind, name in (("zeros", "h264"), ("inverted", "ffv1")):
        source, whole = made(place, name, "mkv")
        path = damaged(source, tmp_path / f"{name}.mkv", 15, kind)
        given, error = outcome(ffmpeg.decode(path, range(FRAMES), GEOMETRY))
        assert given.items() < whole.items()
        assert error is not None and str(error).startswith("damaged after frame ")
        assert error.trusted
        # Frames of the packets before it, but those that are shown behind it.
        assert 15 - 4 <= len(given) <= 15
        assert list(given) == list(range(len(given)))
        before, _ = outcome(ffmpeg.decode(path, range(8), GEOMETRY))
        assert list(before) == list(range(8))


def test_one_bad_video_stops_no_run(folder: Path, tmp_path: Path, cli: Cli) -> None:
    """The same clips as by PyAV, and the same files are rejected."""
    stores = {}
    for decoder in ("ffmpeg", "pyav"):
        stores[decoder] = tmp_path / decoder
        command = ("run", "folder", "--root", folder, *OPTIONS, "--decoder", decoder)
        assert cli(*command, "--out", stores[decoder])[0] == 0
    ours, theirs = Store(stores["ffmpeg"]), Store(stores["pyav"])
    assert len(ours) == len(theirs) > 10
    for name in ("first_frame", "motion", "residual"):
        for index in range(len(ours)):
            assert np.array_equal(ours.clip(name, index), theirs.clip(name, index))
    rejected = [(store / "rejected.jsonl").read_text() for store in stores.values()]
    assert rejected[0] == rejected[1]


def program(path: Path, body: str) -> str:
    """A program in place of ffmpeg: a shell script, with the real one as $REAL."""
    path.write_text(f"#!/bin/sh\nREAL={imageio_ffmpeg.get_ffmpeg_exe()}\n{body}\n")
    path.chmod(0o755)
    return str(path)


def test_a_program_that_dies_costs_its_video_alone(
    tmp_path: Path, cli: Cli, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = tmp_path / "videos"
    for name in ("good", "dies"):
        write_video(root / f"{name}.mkv", moving_square(20, 48, 48), codec="ffv1", pixels="bgr0")
    dying = 'case "$*" in *dies.mkv*) "$REAL" "$@" | head -c 90000; kill -9 $$;; esac'
    monkeypatch.setenv("FFMPEG", program(tmp_path / "dying", f'{dying}\nexec "$REAL" "$@"'))
    store = tmp_path / "s"
    assert cli("run", "folder", "--root", root, *OPTIONS, "--out", store)[0] == 0
    [record] = [json.loads(line) for line in (store / "rejected.jsonl").read_text().splitlines()]
    assert (record["file"], record["clips_made"]) == ("dies.mkv", 0)
    assert "ffmpeg ended with status -9 after " in record["reason"]
    assert set(Store(store).column("video")[Store(store).column("valid")]) == {"good.mkv"}


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (("--filter", "nonsense=3"), ("--filter nonsense=3", "does not take it", "hqdn3d")),
        (("--filter", "yadif=foo=1"), ("Option not found", "as for -vf")),
        (("--hwaccel", "warp"), ("--hwaccel warp", "was built with cuda")),
        (("--deinterlace", "bwdif"), ("--decoder pyav", "--filter bwdif=mode=send_frame")),
        (("--decoder", "pyav", "--filter", "negate"), ("--filter negate needs --decoder ffmpeg",)),
        (("--decoder", "opencv"), ("--decoder opencv: must be 'pyav' or 'ffmpeg'",)),
    ],
)
def test_what_cannot_be_is_refused_before_anything_is_made(
    options: tuple[str, ...], words: tuple[str, ...], folder: Path, tmp_path: Path, cli: Cli
) -> None:
    code, _, err = cli("run", "folder", "--root", folder, *OPTIONS, *options, "--out",
                       tmp_path / "s")  # fmt: skip
    assert code == 2
    assert all(word in " ".join(err.split()) for word in words), err
    assert not (tmp_path / "s").exists()


def test_hardware_that_is_not_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A kind that the program knows, and whose device does not open."""
    lacking = 'case "$*" in *init_hw_device*) echo "Device creation failed: -1." >&2; exit 1;; esac'
    monkeypatch.setenv("FFMPEG", program(tmp_path / "f", f'{lacking}\nexec "$REAL" "$@"'))
    with pytest.raises(UserError, match="--hwaccel cuda: this machine does not have it, or"):
        check(CodecOptions(decoder="ffmpeg", hwaccel="cuda"), tmp_path)


def test_no_program_or_no_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    options = CodecOptions(decoder="ffmpeg")
    monkeypatch.setenv("FFMPEG", str(tmp_path / "nowhere"))
    with pytest.raises(UserError, match="nowhere: no such program"):
        check(options, tmp_path)
    monkeypatch.delenv("FFMPEG")
    monkeypatch.setattr("shutil.which", lambda name: None)
    assert ffmpeg.binary() == imageio_ffmpeg.get_ffmpeg_exe()
    monkeypatch.setitem(__import__("sys").modules, "imageio_ffmpeg", None)
    with pytest.raises(UserError, match="no program ffmpeg is there; install one, name it by"):
        check(options, tmp_path)
    with pytest.raises(UserError, match="reads files on a disk only"):
        check(options, UPath("memory://videos"))


def test_a_filter_that_a_video_does_not_fit_is_its_own_reject(place: Path) -> None:
    """A crop that is larger than the frame: ffmpeg's words name it."""
    path, _ = made(place, "mpeg4", "mp4")
    check(CodecOptions(decoder="ffmpeg", filter="crop=3000:3000"), place)
    with pytest.raises(DecodeError, match="Invalid too big or non positive size"):
        list(ffmpeg.decode(path, range(FRAMES), Geometry(24, filter="crop=3000:3000")))


def test_names_and_records_of_stores() -> None:
    folder = load_manifest("folder")
    given = {"decoder": "ffmpeg", "filter": "hqdn3d=4"}
    assert default_store(folder, given, None) == Path("stores/folder-decoderffmpeg-filterhqdn3d=4")
    odd = default_store(folder, {"decoder": "ffmpeg", "filter": "lut3d=a/b.cube,crop=9"}, None)
    assert odd.parent == Path("stores")
    options = codec_options(folder, given)
    assert {"decoder", "filter"} <= options.model_dump().keys()
    assert {"decoder", "filter", "hwaccel"}.isdisjoint(CodecOptions().model_dump())
    assert source_of("video", options) is ffmpeg
    assert source_of("video", CodecOptions()) is video
    with pytest.raises(UserError, match="--decoder ffmpeg: bair holds no video files"):
        codec_options(load_manifest("bair"), {"decoder": "ffmpeg"})
