"""Decoding what wanted frames depend on gives the frames that decoding everything gives."""

from __future__ import annotations

from collections.abc import Iterable
from functools import cache
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from hypothesis import given as cases
from hypothesis import settings
from hypothesis import strategies as st

from preprocess.frames.geometry import Geometry
from preprocess.records import DecodeError
from preprocess.sources import dependencies
from preprocess.sources.dependencies import Dependencies, decode_selected, read_dependencies
from preprocess.sources.video import _paused, _version, decode, decode_all
from tests.conftest import moving_square, write_video

GEOMETRY, FRAMES, GOP = Geometry(24), 30, 10
X264 = {"bf": "3", "x264-params": f"log-level=none:keyint={GOP}:min-keyint={GOP}:scenecut=0"}
X265 = f"log-level=none:bframes=3:keyint={GOP}:min-keyint={GOP}:scenecut=0"
KINDS: dict[str, tuple[str, str, dict[str, str], tuple[str, ...]]] = {
    "h264": ("libx264", "yuv420p", X264, ("mp4", "mkv", "mov", "ts", "flv", "avi")),
    "h264 open": (
        "libx264",
        "yuv420p",
        {**X264, "x264-params": f"open-gop=1:{X264['x264-params']}"},
        ("mp4", "ts"),
    ),
    "h264 low delay": ("libx264", "yuv420p", {"tune": "zerolatency"}, ("mp4", "ts", "avi")),
    "hevc": ("libx265", "yuv420p", {"x265-params": X265}, ("mp4", "mkv", "ts")),
    "hevc closed": ("libx265", "yuv420p", {"x265-params": f"open-gop=0:{X265}"}, ("mp4", "mkv")),
    "hevc layers": ("libx265", "yuv420p", {"x265-params": f"temporal-layers=3:{X265}"}, ("mp4",)),
    "hevc 10 bits": ("libx265", "yuv420p10le", {"x265-params": X265}, ("mkv",)),
    "mpeg4": ("mpeg4", "yuv420p", {}, ("mp4", "mkv", "mov", "avi", "ts")),
    "mpeg4 B": ("mpeg4", "yuv420p", {"bf": "2"}, ("mp4", "mkv", "avi", "ts")),
    "mpeg2": ("mpeg2video", "yuv420p", {"bf": "2"}, ("mpg", "ts", "mkv", "mp4")),
    "mpeg2 closed": (
        "mpeg2video",
        "yuv420p",
        {"bf": "2", "flags": "+cgop", "sc_threshold": "1000000000"},
        ("mpg", "mkv"),
    ),
    "vp8": ("libvpx", "yuv420p", {"deadline": "realtime", "cpu-used": "8"}, ("webm", "mkv", "avi")),
    "vp9": (
        "libvpx-vp9",
        "yuv420p",
        {"deadline": "realtime", "cpu-used": "8"},
        ("webm", "mkv", "mp4"),
    ),
    "av1": ("libsvtav1", "yuv420p", {"preset": "12"}, ("mp4", "mkv")),
    "ffv1": ("ffv1", "bgr0", {"level": "3", "slicecrc": "1"}, ("mkv", "avi")),
    "mjpeg": ("mjpeg", "yuvj420p", {}, ("avi", "mov", "mkv", "mp4")),
    "prores": ("prores_ks", "yuv422p10le", {}, ("mov", "mkv")),
    "dnxhd": ("dnxhd", "yuv422p", {"profile": "dnxhr_lb"}, ("mov",)),
    "huffyuv": ("huffyuv", "yuv422p", {}, ("avi",)),
    "raw": ("rawvideo", "bgr24", {}, ("avi", "nut")),
    "wmv": ("wmv2", "yuv420p", {}, ("asf",)),
}
"""Encoder, format, options, and containers."""

PAIRS = [(kind, container) for kind, rest in KINDS.items() for container in rest[3]]
UNKNOWN = {(k, c) for k, c in PAIRS if k in ("vp8", "raw", "wmv")} | {("h264", "avi")}
"""Pairs of which nothing is left out: the codec is not known, or the container has no times."""


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("pairs")


@cache
def made(place: Path, kind: str, container: str) -> tuple[Path, dict[int, bytes]]:
    """A file of one pair, and all its frames."""
    codec, pixels, options, _ = KINDS[kind]
    path = place / f"{kind}.{container}"
    video = moving_square(FRAMES, *((128, 256) if codec == "dnxhd" else (64, 96)))
    write_video(path, video, codec=codec, pixels=pixels, gop=GOP, options=options)
    return path, contents(decode_all(path, range(FRAMES), GEOMETRY))


def contents(decoded: Iterable[tuple[int, Any]]) -> dict[int, bytes]:
    return {index: frame.tobytes() for index, frame in decoded}


def known(path: Path) -> Dependencies | None:
    return read_dependencies(path, _version(path))


def selected(path: Path, wanted: list[int]) -> tuple[list[int], int]:
    """Frames that come out of the selected packets, and the number of packets."""
    found = known(path)
    assert found is not None
    selection = found.select(wanted)
    frames = [index for index, _, _ in decode_selected(path, found, wanted, selection)]
    return frames, len(selection.packets)


subsets = st.sets(st.integers(0, FRAMES - 1), min_size=1).map(sorted)
strides = st.builds(lambda start, step: list(range(start, FRAMES, step)), st.integers(0, 29),
                    st.integers(2, 9))  # fmt: skip


@pytest.mark.parametrize("pair", PAIRS, ids="-".join)
@settings(max_examples=5)
@cases(wanted=st.one_of(subsets, strides))
def test_wanted_frames_are_those_of_the_whole(
    pair: tuple[str, str], wanted: list[int], place: Path
) -> None:
    path, whole = made(place, *pair)
    assert len(whole) == FRAMES
    assert contents(decode(path, wanted, GEOMETRY)) == {index: whole[index] for index in wanted}
    assert (known(path) is None) == (pair in UNKNOWN)
    if pair not in UNKNOWN:
        assert selected(path, wanted)[0] == wanted


def test_groups_and_unreferenced_pictures_are_left_out(place: Path) -> None:
    """As many packets as the structure of the streams says."""
    low_delay, _ = made(place, "h264 low delay", "mp4")
    assert selected(low_delay, [23]) == ([23], 1 + 4), "the first of all, and 20, 21, 22, 23"
    assert selected(low_delay, [3, 12]) == ([3, 12], 4 + 3)
    intra, _ = made(place, "mjpeg", "avi")
    assert selected(intra, [5, 17, 29]) == ([5, 17, 29], 4)
    with_b, _ = made(place, "mpeg4 B", "mp4")  # shown as I B B P B B P B B P, and again
    assert selected(with_b, [0, 9]) == ([0, 9], 4), "I and P alone"
    opened, _ = made(place, "mpeg2", "mkv")
    leads = known(opened)
    assert leads is not None
    index = int(leads.ranks[leads.keys[1]]) - 1  # shown before a key frame, stored behind it
    assert leads.pts[leads.keys[1]] > np.sort(leads.pts)[index]
    assert selected(opened, [index])[0] == [index]


def test_far_groups_are_found_by_the_index(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dependencies, "_FAR_PACKETS", 5)
    for pair in (("h264", "mp4"), ("h264", "mkv"), ("hevc", "mp4"), ("mpeg2", "mkv"),
                 ("vp9", "webm"), ("mjpeg", "mov"), ("h264", "ts")):  # fmt: skip
        path, whole = made(place, *pair)
        for wanted in ([29], [2, 25], [0, 15, 28]):
            assert selected(path, wanted)[0] == wanted
            assert contents(decode(path, wanted, GEOMETRY)) == {n: whole[n] for n in wanted}


def outcome(decoded: Iterable[tuple[int, Any]]) -> tuple[dict[int, bytes], DecodeError | None]:
    given: dict[int, bytes] = {}
    try:
        for index, frame in decoded:
            given[index] = frame.tobytes()
    except DecodeError as error:
        return given, error
    return given, None


def damaged(source: Path, path: Path, position: int, kind: str) -> Path:
    """Copy a file with bytes in the middle of one packet zeroed or inverted."""
    with av.open(str(source)) as container:
        packet = [packet for packet in container.demux(video=0) if packet.size][position]
    assert packet.pos is not None
    content = bytearray(source.read_bytes())
    at = packet.pos + packet.size // 2
    stop = min(at + 80, packet.pos + packet.size - 8)
    part = content[at:stop]
    content[at:stop] = bytes(len(part)) if kind == "zeros" else bytes(255 - b for b in part)
    path.write_bytes(content)
    return path


@pytest.mark.parametrize("pair", [("ffv1", "mkv"), ("h264", "mp4"), ("mpeg4 B", "mp4")])
@settings(max_examples=12)
@cases(position=st.integers(0, FRAMES - 1), kind=st.sampled_from(["zeros", "inverted"]),
       wanted=st.one_of(subsets, strides))  # fmt: skip
def test_no_frame_is_lost_or_wrong_that_decoding_everything_gives(
    pair: tuple[str, str], position: int, kind: str, wanted: list[int], place: Path
) -> None:
    source, whole = made(place, *pair)
    path = damaged(source, place / f"damaged.{pair[1]}", position, kind)
    everything, error = outcome(decode_all(path, wanted, GEOMETRY))
    given, own = outcome(decode(path, wanted, GEOMETRY))
    assert everything.items() <= given.items()
    assert own is None or str(own) == str(error)
    assert own is not None or list(given) == wanted
    if pair[0] == "ffv1":  # its checksums notice any damage
        assert given.items() <= whole.items()


def test_damage_where_no_wanted_frame_depends_on_it(place: Path, tmp_path: Path) -> None:
    """Pixels of another group are not looked at; what is wrong without decoding is."""
    source, whole = made(place, "ffv1", "mkv")
    path = damaged(source, tmp_path / "v.mkv", GOP + 5, "inverted")
    for wanted in ([2, 25], [2, GOP + 3, 25]):
        given, error = outcome(decode(path, wanted, GEOMETRY))
        assert (given, error) == ({index: whole[index] for index in wanted}, None)
        assert outcome(decode_all(path, wanted, GEOMETRY))[1] is not None
        assert outcome(decode(path, wanted, GEOMETRY, to_end=True))[1] is not None
    given, error = outcome(decode(path, [2, GOP + 8, 25], GEOMETRY))
    assert given == {index: whole[index] for index in (2, 25)}
    assert error is not None and error.restarts == (2 * GOP,)
    source, _ = made(place, "h264", "mp4")
    holed = damaged(source, tmp_path / "v.mp4", GOP, "zeros")
    given, error = outcome(decode(holed, [2, 25], GEOMETRY))
    assert known(holed) is None
    assert (given, str(error)) == tuple_of(outcome(decode_all(holed, [2, 25], GEOMETRY)))
    assert "hole of zeros" in str(error)


def tuple_of(found: tuple[dict[int, bytes], DecodeError | None]) -> tuple[dict[int, bytes], str]:
    return found[0], str(found[1])


def test_a_file_that_was_replaced_is_read_anew(tmp_path: Path) -> None:
    path = write_video(tmp_path / "v.mp4", moving_square(40, 64, 64), gop=8)
    assert list(contents(decode(path, [3, 33], GEOMETRY))) == [3, 33]
    write_video(path, moving_square(48, 64, 64, 1), gop=12)
    given = contents(decode(path, [3, 33, 47], GEOMETRY))
    assert given == contents(decode_all(path, [3, 33, 47], GEOMETRY))


def test_what_is_paused_goes_on_where_that_is_less(tmp_path: Path) -> None:
    """A stride in one long group: the second partition's frames need no earlier packet again."""
    path = write_video(tmp_path / "v.mp4", moving_square(40, 64, 64), gop=40)
    list(decode_all(path, range(0, 20, 2), GEOMETRY))
    paused = _paused[0]
    list(decode(path, range(20, 40, 2), GEOMETRY))
    assert _paused == [paused]
    assert paused.next_index == 39


def test_parameters_that_change_leave_nothing_out(place: Path, tmp_path: Path) -> None:
    """Two streams joined: a group that is left out could hold the parameters of the next."""
    one = write_video(tmp_path / "1.ts", moving_square(10, 64, 96), codec="libx264", options=X264)
    two = write_video(tmp_path / "2.ts", moving_square(10, 96, 96), codec="libx264", options=X264)
    path, last = tmp_path / "both.ts", -1
    with av.open(str(path), "w") as out:
        stream = None
        for source in (one, two):
            with av.open(str(source)) as given:
                stream = stream or out.add_stream_from_template(given.streams.video[0])
                shift = last + 1
                for packet in given.demux(video=0):
                    if packet.size:
                        packet.pts, packet.dts = packet.pts + shift, packet.dts + shift
                        last = max(last, packet.pts)
                        packet.stream = stream
                        out.mux(packet)
    assert known(one) is not None
    assert known(path) is None


def test_what_the_decoder_refuses_is_decoded_as_a_whole(
    place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Pictures that call themselves unreferenced and are not: the decoder misses them."""
    path, whole = made(place, "h264", "mkv")
    found = known(path)
    assert found is not None
    wrong = Dependencies(found.pts, found.sizes, found.ranks, found.referenced & False, found.keys)
    monkeypatch.setattr("preprocess.sources.video.read_dependencies", lambda *_: wrong)
    wanted = [4, 17, 23]
    with pytest.raises(dependencies.DoubtError):
        list(decode_selected(path, wrong, wanted, wrong.select(wanted)))
    assert contents(decode(path, wanted, GEOMETRY)) == {index: whole[index] for index in wanted}
