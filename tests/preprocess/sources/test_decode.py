from __future__ import annotations

from itertools import islice
from pathlib import Path

import av
import numpy as np
import pytest
from hypothesis import given as cases
from hypothesis import strategies as st

from preprocess.frames.geometry import Geometry
from preprocess.records import DecodeError, Probe
from preprocess.sources.independent_decode import decode_independently
from preprocess.sources.video import _paused, decode, decode_all, probe
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
def test_both_decoders_give_the_same_pixels(lossless: Path, folder: Path, size: int) -> None:
    for path in (lossless, *folder.glob("wave/*")):
        frames = [frame for _, frame in decode(path, range(8), Geometry(size))]
        again = [frame for _, frame in islice(decode_independently(path, Geometry(size)), 8)]
        assert np.array_equal(np.stack(frames), np.stack(again))
        assert frames[0].shape == (3, size, size)


def test_nothing_is_decoded_after_the_last_wanted_frame(tmp_path: Path) -> None:
    path = write_video(tmp_path / "v.mkv", moving_square(12, 20, 30), codec="ffv1")
    content = bytearray(path.read_bytes())
    content[len(content) * 3 // 4 :] = bytes(len(content) - len(content) * 3 // 4)
    path.write_bytes(content)
    assert [index for index, _ in decode(path, range(6), Geometry(16))] == list(range(6))


def test_what_was_paused_off_goes_on_with_the_same_frames(tmp_path: Path) -> None:
    path = write_video(tmp_path / "v.mp4", moving_square(40, 64, 64))
    whole = dict(decode_all(path, range(40), Geometry(32)))
    before = _paused[0]
    parts = [range(5), range(5, 9), [11, 20], [8, 12], range(30, 40)]
    for part, goes_on in zip(parts, (False, True, True, False, True), strict=True):
        frames = dict(decode_all(path, part, Geometry(32)))
        assert list(frames) == list(part)
        assert all(np.array_equal(frames[index], whole[index]) for index in part)
        assert [video is before for video in _paused] == [goes_on]
        before = _paused[0]
    dict(decode_all(path, range(3), Geometry(32)))
    write_video(path, moving_square(44, 64, 64))  # another one by now
    assert [index for index, _ in decode_all(path, [43], Geometry(32))] == [43]


def test_asking_for_more_than_there_is_says_how_many_there_were(lossless: Path) -> None:
    frames = decode(lossless, range(10, 20), Geometry(16))
    assert [next(frames)[0], next(frames)[0]] == [10, 11]
    with pytest.raises(DecodeError, match="ends after 12 frames") as caught:
        next(frames)
    assert caught.value.frames == 12


def test_damage_costs_the_frames_it_touches(tmp_path: Path) -> None:
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
    assert 0 in seen
    assert 30 < len(seen) < 40


def packets(path: Path) -> list[av.Packet]:
    with av.open(str(path)) as container:
        return [packet for packet in container.demux(video=0) if packet.size]


def frames_of(path: Path, count: int) -> tuple[dict[int, bytes], DecodeError | None]:
    given: dict[int, bytes] = {}
    try:
        for index, frame in decode(path, range(count), Geometry(24), to_end=True):
            given[index] = frame.tobytes()
    except DecodeError as error:
        return given, error
    return given, None


@pytest.fixture(scope="module")
def groups(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Thirty frames in groups that B-frames join: they refer to the key frame that follows."""
    path = tmp_path_factory.mktemp("groups") / "v.mp4"
    options = {"bf": "2", "sc_threshold": "1000000000"}
    write_video(path, moving_square(30, 64, 64), gop=10, options=options)
    assert len(key_places(path)) > 2
    return path


def key_places(path: Path) -> list[int]:
    """Indices of the key frames among the frames as they are shown."""
    order = sorted(packets(path), key=lambda packet: packet.pts or 0)
    return [index for index, packet in enumerate(order) if packet.is_keyframe]


@pytest.mark.parametrize("damaged", [3, 7, 9, 12, 20])
def test_frames_before_and_after_damage_are_kept(
    damaged: int, groups: Path, tmp_path: Path
) -> None:
    """After a destroyed packet, the frames before it and the later groups remain, unchanged."""
    whole, error = frames_of(groups, 30)
    assert error is None
    assert len(whole) == 30
    packet = packets(groups)[damaged]
    assert packet.pos is not None
    content = bytearray(groups.read_bytes())
    content[packet.pos : packet.pos + packet.size] = bytes(packet.size)
    path = tmp_path / "v.mp4"
    path.write_bytes(content)
    given, error = frames_of(path, 30)
    assert error is not None
    assert given.items() <= whole.items()
    # With two B-frames, a packet's frame is shown at most two places before its own.
    later = [packet.is_keyframe for packet in packets(groups)[damaged + 1 :]]
    following = key_places(groups)[-sum(later)] if any(later) else 30
    assert set(given) >= set(range(damaged - 2)) | set(range(following, 30))
    assert not set(given) & set(range(damaged, following))
    assert error.frames == len(given)
    assert error.restarts == ((following,) if following < 30 else ())
    again = {index: frame.tobytes() for index, frame in decode_independently(path, Geometry(24))}
    assert given.items() <= again.items() <= whole.items()


@pytest.fixture(scope="module")
def checked(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Forty frames in a codec with checksums, which notices any damage."""
    path = tmp_path_factory.mktemp("checked") / "v.mkv"
    options = {"level": "3", "slicecrc": "1", "slices": "4"}
    video = moving_square(40, 48, 64)
    return write_video(path, video, codec="ffv1", pixels="bgr0", gop=5, options=options)


@cases(where=st.floats(0.1, 0.99), length=st.integers(1, 3000), kind=st.sampled_from("zcx"))
def test_whatever_happens_no_wrong_frame_is_given_out(
    where: float, length: int, kind: str, checked: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """Bytes zeroed, cut out, or inverted; the rest is the original, in order between gaps."""
    whole, _ = frames_of(checked, 40)
    originals = {frame: index for index, frame in whole.items()}
    content = bytearray(checked.read_bytes())
    at = int(where * len(content))
    stop = min(at + length, len(content))
    if kind == "z":
        content[at:stop] = bytes(stop - at)
    elif kind == "c":
        del content[at:stop]
    else:
        content[at:stop] = bytes(255 - byte for byte in content[at:stop])
    path = tmp_path_factory.mktemp("damaged") / "v.mkv"
    path.write_bytes(content)
    given, error = frames_of(path, 40)
    assert set(given.values()) <= set(originals)
    for index in given:
        if index - 1 in given and index not in (error.restarts if error else ()):
            assert originals[given[index]] == originals[given[index - 1]] + 1


@pytest.mark.parametrize(("container", "codec"), [("webm", "libvpx"), ("mp4", "libx265")])
def test_a_hole_of_zeros_is_noticed_where_decoders_do_not(
    container: str, codec: str, tmp_path: Path
) -> None:
    """Arithmetic coding decodes almost any bytes; but it never writes that many zeros."""
    path = tmp_path / f"v.{container}"
    noise = np.random.default_rng(0).integers(0, 12, (24, 64, 64, 3), dtype=np.uint8)
    options = {"x265-params": "log-level=0"} if codec == "libx265" else None
    write_video(path, moving_square(24, 64, 64) + noise, codec=codec, gop=8, options=options)
    whole, _ = frames_of(path, 24)
    packet = max(packets(path)[9:14], key=lambda packet: packet.size)
    assert packet.pos is not None
    content = bytearray(path.read_bytes())
    hole = slice(packet.pos + packet.size // 3, packet.pos + packet.size // 3 + 100)
    content[hole] = bytes(100)
    path.write_bytes(content)
    given, error = frames_of(path, 24)
    assert "hole of zeros" in str(error)
    assert given.items() < whole.items()
    found = probe(path, Geometry(24))
    assert isinstance(found, Probe)
    assert "hole of zeros" in found.damage


def test_frames_may_change_their_size(tmp_path: Path) -> None:
    """Each is scaled by itself, by both decoders."""
    small = write_video(tmp_path / "s.avi", moving_square(6, 32, 48), codec="mjpeg",
                        pixels="yuvj420p")  # fmt: skip
    large = write_video(tmp_path / "l.avi", moving_square(6, 80, 64), codec="mjpeg",
                        pixels="yuvj420p")  # fmt: skip
    path = tmp_path / "both.avi"
    with av.open(str(path), "w") as out, av.open(str(small)) as template:
        stream = out.add_stream_from_template(template.streams.video[0])
        for number, packet in enumerate([*packets(small), *packets(large)]):
            packet.pts = packet.dts = number
            packet.stream = stream
            out.mux(packet)
    given, error = frames_of(path, 12)
    assert error is None
    assert [given[index] for index in range(6)] == list(frames_of(small, 6)[0].values())
    assert [given[index] for index in range(6, 12)] == list(frames_of(large, 6)[0].values())
    assert given == {
        index: frame.tobytes() for index, frame in decode_independently(path, Geometry(24))
    }


@pytest.mark.parametrize("container", ["mkv", "avi", "mp4"])
def test_a_cut_file_is_recognised(container: str, tmp_path: Path) -> None:
    """By what it lacks, whether or not all that is there decodes."""
    options = {"movflags": "faststart"} if container == "mp4" else None
    path = tmp_path / f"v.{container}"
    write_video(path, moving_square(40, 48, 64), codec="mpeg4", gop=8)
    if container == "mp4":
        with (
            av.open(str(path)) as source,
            av.open(str(tmp_path / "fast.mp4"), "w", options=options) as out,
        ):
            stream = out.add_stream_from_template(source.streams.video[0])
            for packet in source.demux(video=0):
                if packet.size:
                    packet.stream = stream
                    out.mux(packet)
        path = tmp_path / "fast.mp4"
    whole, error = frames_of(path, 40)
    assert error is None
    assert isinstance(found := probe(path, Geometry(24)), Probe)
    assert found.damage == ""
    packet = packets(path)[25]
    assert packet.pos is not None
    for cut in (packet.pos, packet.pos + packet.size // 2):
        path.write_bytes(path.read_bytes()[:cut])
        found = probe(path, Geometry(24))
        assert isinstance(found, Probe)
        assert found.damage.startswith("cut short: ")
        given, error = frames_of(path, found.frames)
        assert error is not None
        assert str(error).startswith("cut short: ")
        assert given.items() <= whole.items()
        assert len(given) >= 20


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
