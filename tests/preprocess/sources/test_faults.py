"""Files as users meet them: no silent wrong picture, and no intact file refused.

Each test stands for a kind. The files are made here; small real ones of the same kinds are used
where DVDM_TEST_CLIPS names their folder.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
from PIL import Image, ImageOps

from preprocess.frames.geometry import Geometry, display_matrix
from preprocess.records import DecodeError, Probe, Segment, Times
from preprocess.sources.independent_decode import decode_independently
from preprocess.sources.video import decode, probe, times
from tests.conftest import moving_square, write_video

GEOMETRY = Geometry(24)
VIDEO = moving_square(40, 64, 96)


def whole(path: Path, count: int, geometry: Geometry = GEOMETRY) -> list[bytes]:
    """Frames of a file in which nothing is missing, for either decoder."""
    found = probe(path, geometry)
    assert isinstance(found, Probe), found
    assert (found.frames, found.damage) == (count, "")
    frames = dict(decode(path, range(count), geometry, to_end=True))
    assert list(frames) == list(range(count))
    again = dict(decode_independently(path, geometry))
    assert list(again) == list(frames)
    assert all(np.array_equal(again[n], frames[n]) for n in frames)
    return [frame.tobytes() for frame in frames.values()]


@pytest.mark.parametrize(
    ("name", "frames"),
    [
        ("theora_pause.ogv", 48),
        ("mpeg2_cbr.mpg", 16),
        ("dnxhr.mov", 16),
        ("ljpeg.avi", 40),
        ("mjpeg_exif_zeros.avi", 40),
        ("mjpeg_exif_bad_offset.avi", 40),
        ("avi_null_frames.avi", 28),
        ("xvid_packed.avi", 38),
        ("open_gop_cut.mkv", 28),
        ("hflip.mp4", 40),
        ("sar_2_1.mp4", 40),
        ("ts_pts_back.ts", 80),
    ],
)
def test_real_files_are_whole(name: str, frames: int, real_clips: Path) -> None:
    path = real_clips / "faults" / name
    given = whole(path, frames)
    if name == "theora_pause.ogv":
        assert len(set(given[15:24])) == 1
        assert given[24] != given[23]
    if name == "hflip.mp4":
        [(_, square)] = decode(path, [39], Geometry(64, "stretch"))
        corners = square[:, [4, 4, 59, 59], [4, 59, 4, 59]].T > 128
        assert corners.tolist() == [[0, 1, 0], [1, 0, 0], [1, 1, 1], [0, 0, 1]]
    if name == "sar_2_1.mp4":
        found = probe(path, GEOMETRY)
        assert isinstance(found, Probe)
        assert (found.width, found.height) == (192, 64)
    if name == "ts_pts_back.ts":
        found_times = times(path)
        assert isinstance(found_times, Times)
        sampled = found_times.sample(Segment(0, 10**9), 10)
        assert len(sampled) == 32
        assert set(np.diff(sampled)) == {2, 3}


def remux(
    source: Path, path: Path, change: Callable[[int, av.Packet], Iterable[av.Packet]]
) -> Path:
    """Copy a file's packets, each replaced by others."""
    with av.open(str(source)) as given, av.open(str(path), "w") as out:
        stream = out.add_stream_from_template(given.streams.video[0])
        packets = [packet for packet in given.demux(video=0) if packet.size]
        for number, packet in enumerate(packets):
            for changed in change(number, packet):
                changed.stream = stream
                out.mux(changed)
    return path


def payload(packet: av.Packet, content: bytes) -> av.Packet:
    changed = av.Packet(content)
    changed.pts, changed.dts, changed.time_base = packet.pts, packet.dts, packet.time_base
    changed.is_keyframe = packet.is_keyframe
    return changed


def empty_samples(path: Path, samples: range) -> Path:
    """Empty samples of a QuickTime file whose index follows its data, in one track."""
    with av.open(str(path)) as container:
        packets = [packet for packet in container.demux(video=0) if packet.dts is not None]
    places = [(packets[n].pos or 0, packets[n].size) for n in samples]
    content = bytearray(path.read_bytes())
    sizes = content.index(b"stsz") + 16
    for n in samples:
        content[sizes + 4 * n : sizes + 4 * n + 4] = bytes(4)
    chunks = content.index(b"stco") + 8
    for n in range(int.from_bytes(content[chunks : chunks + 4], "big")):
        at = chunks + 4 + 4 * n
        place = int.from_bytes(content[at : at + 4], "big")
        place -= sum(size for start, size in places if start < place)
        content[at : at + 4] = place.to_bytes(4, "big")
    data = content.index(b"mdat") - 4
    length = int.from_bytes(content[data : data + 4], "big") - sum(size for _, size in places)
    content[data : data + 4] = length.to_bytes(4, "big")
    for start, size in reversed(places):
        del content[start : start + size]
    path.write_bytes(content)
    return path


@pytest.mark.parametrize("codec", ["mjpeg", "mpeg4"])
def test_a_sample_of_no_bytes_repeats_a_frame(codec: str, tmp_path: Path) -> None:
    """In the middle and at the end; dropped P-frames would change what follows, so MPEG-4 is
    intra-coded."""
    pixels = "yuvj420p" if codec == "mjpeg" else "yuv420p"
    path = write_video(tmp_path / "v.mov", VIDEO, codec=codec, pixels=pixels, gop=1)
    before = whole(path, 40)
    for samples in (range(10, 14), range(37, 40)):
        after = whole(empty_samples(path, samples), 40)
        before[samples.start : samples.stop] = [before[samples.start - 1]] * len(samples)
        assert after == before


def test_a_sample_that_ffmpeg_leaves_out_is_no_loss(tmp_path: Path) -> None:
    """Where a parser reads packets, as of H.264, the frame before lasts longer."""
    options = {"bf": "2", "x264-params": "log-level=none:scenecut=0:b-pyramid=none:b-adapt=0"}
    path = write_video(tmp_path / "v.mov", VIDEO, codec="libx264", gop=40, options=options)
    before, shown = whole(path, 40), times(path)
    with av.open(str(path)) as container:
        packets = [packet for packet in container.demux(video=0) if packet.size]
    order = sorted(packet.pts or 0 for packet in packets)
    number = next(n for n in range(11, 40) if (packets[n].pts or 0) < (packets[n - 1].pts or 0))
    place = order.index(packets[number].pts or 0)
    after = whole(empty_samples(path, range(number, number + 1)), 39)
    assert after == before[:place] + before[place + 1 :]
    found = times(path)
    assert isinstance(shown, Times) and isinstance(found, Times)
    assert found.shown == shown.shown[:place] + shown.shown[place + 1 :]


@pytest.mark.parametrize(
    ("codec", "pixels"),
    [("mpeg4", "yuv420p"), ("mjpeg", "yuvj420p"), ("huffyuv", "yuv422p"), ("rawvideo", "bgr24")],
)
def test_null_chunks_of_an_avi_are_no_loss(codec: str, pixels: str, tmp_path: Path) -> None:
    """FFmpeg writes them where times leave a gap; a file that is cut is still noticed."""
    path = tmp_path / "v.avi"
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=Fraction(20))
        stream.width, stream.height, stream.pix_fmt = 96, 64, pixels
        for pts in (*range(10), *range(14, 30), 33):
            frame = av.VideoFrame.from_ndarray(VIDEO[pts], format="rgb24")
            frame.pts = pts
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    whole(path, 27)
    found = times(path)
    assert isinstance(found, Times)
    assert found.shown == (*range(10), *range(14, 30), 33)
    with av.open(str(path)) as opened:
        places = [packet.pos or 0 for packet in opened.demux(video=0) if packet.size]
    path.write_bytes(path.read_bytes()[: places[20]])
    cut = probe(path, GEOMETRY)
    assert isinstance(cut, Probe)
    assert cut.damage.startswith("cut short: ")


OPEN_GOP = "open-gop=1:keyint=12:min-keyint=12:bframes=3:scenecut=0:log-level=none"


@pytest.mark.parametrize(
    ("codec", "container", "options"),
    [
        ("libx264", "mkv", {"x264-params": OPEN_GOP}),
        ("libx264", "ts", {"x264-params": OPEN_GOP}),
        ("libx265", "mp4", {"x265-params": OPEN_GOP}),
        ("libx265", "ts", {"x265-params": OPEN_GOP}),
        ("mpeg2video", "mpg", {"bf": "2"}),
        ("mpeg2video", "ts", {"bf": "2"}),
    ],
)
def test_leading_frames_after_a_cut_are_all_that_is_lost(
    codec: str, container: str, options: dict[str, str], tmp_path: Path
) -> None:
    """What is left has the pixels that it has in the whole file, and is not called damaged."""
    path = write_video(
        tmp_path / f"v.{container}", VIDEO, codec=codec, options=options
    )  # a key frame every 12
    before = whole(path, 40)
    keys = 0

    def after_the_first_group(number: int, packet: av.Packet) -> list[av.Packet]:
        nonlocal keys
        keys += packet.is_keyframe
        return [packet] if keys > 1 else []

    cut = remux(path, tmp_path / f"cut.{container}", after_the_first_group)
    assert whole(cut, 28) == before[12:]


def jpeg_video(path: Path, segment: bytes, codec: str = "mjpeg") -> Path:
    """A motion JPEG file with one more segment in each of its pictures."""
    source = write_video(
        path.with_suffix(".src.avi"), VIDEO[:6], codec=codec, pixels="yuvj420p", gop=1
    )

    def insert(number: int, packet: av.Packet) -> list[av.Packet]:
        picture = bytes(packet)
        return [payload(packet, picture[:2] + segment + picture[2:])]

    return remux(source, path, insert)


def segment(marker: int, content: bytes) -> bytes:
    return bytes([0xFF, marker]) + (len(content) + 2).to_bytes(2, "big") + content


EXIF_OUTSIDE = b"Exif\0\0II*\0" + (60000).to_bytes(4, "little") + b"\1\0"


@pytest.mark.parametrize(
    "metadata",
    [
        segment(0xE1, b"a" + bytes(400) + b"b"),
        segment(0xED, b"a" + bytes(400) + b"b"),
        segment(0xFE, b"a" + bytes(400) + b"b"),
        segment(0xE1, EXIF_OUTSIDE),
    ],
    ids=["zeros in APP1", "zeros in APP13", "zeros in a comment", "EXIF that points outside"],
)
def test_metadata_of_a_jpeg_is_no_damage(metadata: bytes, tmp_path: Path) -> None:
    plain = write_video(tmp_path / "p.avi", VIDEO[:6], codec="mjpeg", pixels="yuvj420p", gop=1)
    assert whole(jpeg_video(tmp_path / "v.avi", metadata), 6) == whole(plain, 6)


TEXT = b"user data, as encoders and cameras write it. " * 7
NOISE = np.random.default_rng(0).integers(4, 250, 200, dtype=np.uint8).tobytes()
DAMAGES = {
    "none": (5, len(TEXT), TEXT),
    "zeros": (5, len(TEXT), TEXT[:40] + bytes(150) + TEXT[190:]),
    "another length": (5, 9 * 255 + 51, TEXT),
    "another type": (1, 64, TEXT),
    "noise": (1, 255 + 3, NOISE),
}
"""Type of an SEI message, its stated length, and its content."""


def supplemental(codec: str, damage: str) -> bytes:
    """An SEI message, as a unit behind a start code."""
    kind, size, content = DAMAGES[damage]
    header = b"\0\0\0\1" + (b"\x06" if codec == "libx264" else b"\x4e\x01")
    return header + bytes([kind, *[255] * (size // 255), size % 255]) + content + b"\x80"


def metadata_obu(damage: str) -> bytes:
    """A metadata unit of AV1: ITU-T T.35, or as short as no metadata is."""
    content = b"\x01\0" if damage == "another length" else b"\x04" + DAMAGES[damage][2] + b"\x80"
    return bytes([5 << 3 | 2, len(content) & 127 | 128, len(content) >> 7]) + content


@pytest.mark.parametrize("damage", DAMAGES)
@pytest.mark.parametrize("codec", ["libx264", "libx265", "libsvtav1"])
def test_metadata_of_a_stream_is_no_damage(codec: str, damage: str, tmp_path: Path) -> None:
    """In the first packet and in the fourth; a key frame's is the sequence header's neighbour."""
    options = {"x264-params": "log-level=none", "x265-params": "log-level=none", "preset": "12"}
    known = {"libx264": ["x264-params"], "libx265": ["x265-params"]}.get(codec, ["preset"])
    files = tmp_path / "plain.mp4", tmp_path / "v.mp4"
    packets: list[av.Packet] = []
    for path in files:
        with av.open(str(path), "w") as container:
            stream = container.add_stream(
                codec, rate=Fraction(20), options={name: options[name] for name in known}
            )
            stream.codec_context.gop_size = 8
            stream.width, stream.height, stream.pix_fmt = 96, 64, "yuv420p"
            frames = [av.VideoFrame.from_ndarray(picture, format="rgb24") for picture in VIDEO[:12]]
            for number, frame in enumerate(frames):
                frame.pts = number
            # Encoded anew, a file may come out otherwise: x264 reads memory that it never wrote.
            again = [packet for frame in [*frames, None] for packet in stream.encode(frame)]
            packets = packets or again
            for number, packet in enumerate(packets):
                content, at = bytes(packet), 0
                if path == files[1] and number in (0, 3):
                    extra = supplemental(codec, damage)
                    if codec == "libsvtav1":
                        extra = metadata_obu(damage)
                        while content[at] >> 3 in (1, 2):  # temporal delimiter, sequence header
                            at += 2 + content[at + 1]
                    content = content[:at] + extra + content[at:]
                muxed = payload(packet, content)
                muxed.stream = stream
                container.mux(muxed)
    assert whole(files[1], 12) == whole(files[0], 12)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_orientation_of_a_motion_jpeg(orientation: int, tmp_path: Path) -> None:
    """All eight, as Pillow turns and mirrors a picture with the same tag."""
    exif = Image.Exif()
    exif[0x0112] = orientation
    content = exif.tobytes().removeprefix(b"Exif\0\0")
    path = jpeg_video(tmp_path / "v.avi", segment(0xE1, b"Exif\0\0" + content))
    with av.open(str(path)) as container:
        (a, c), (b, d) = display_matrix(next(container.decode(video=0)))
    turned = Image.fromarray(np.arange(6, dtype=np.uint8).reshape(2, 3))
    turned.getexif()[0x0112] = orientation
    expected = np.asarray(ImageOps.exif_transpose(turned)).ravel()[0]
    corner = {(s, t): n for (s, t), n in zip([(1, 1), (-1, 1), (1, -1), (-1, -1)], (0, 2, 3, 5))}  # noqa: B905
    assert corner[np.sign(a + b), np.sign(c + d)] == expected
    assert (b != 0) == (orientation > 4)
    whole(path, 6, Geometry(24, "stretch"))


def cropped_matroska(path: Path, video: np.ndarray, pixels: str) -> Path:
    """A Matroska file with 16 columns at the left and 8 rows at the bottom that are not shown.

    PyAV cannot write these elements: they take the place of the container's words on colour.
    """
    options = {"qp": "0", "color_primaries": "bt709", "color_trc": "bt709"}
    write_video(path, video, codec="libx264", pixels=pixels, gop=5, options=options)
    content = bytearray(path.read_bytes())
    colour = content.index(b"\x55\xb0")
    rest = content[colour + 2] - 0x80 + 3 - 8
    crop = b"\x54\xcc\x81\x10" + b"\x54\xaa\x81\x08"  # left, bottom
    void = bytes([0xEC, 0x80 + rest - 2]) + bytes(rest - 2)
    content[colour : colour + 8 + rest] = crop + void
    path.write_bytes(content)
    return path


@pytest.mark.parametrize("pixels", ["yuv420p", "yuv444p", "yuv420p10le"])
@pytest.mark.parametrize("ending", ["mkv", "mov"])
def test_what_a_container_crops_is_not_shown(ending: str, pixels: str, tmp_path: Path) -> None:
    """`PixelCrop` of Matroska, `clap` of QuickTime, against a file of the part that is shown.

    Grey where chroma has fewer samples: at the edge of the part they would be made of both sides.
    """
    video = VIDEO[:20]
    if "420" in pixels:
        video = np.repeat(video[..., :1], 3, axis=-1)
    path = cropped_matroska(tmp_path / "v.mkv", video, pixels)
    if ending == "mov":
        path = remux(path, tmp_path / "v.mov", lambda n, packet: [packet])
        assert b"clap" in path.read_bytes()
    part = np.ascontiguousarray(video[:, :-8, 16:])
    plain = write_video(
        tmp_path / "w.mkv", part, codec="libx264", pixels=pixels, options={"qp": "0"}
    )
    found = probe(path, GEOMETRY)
    assert isinstance(found, Probe)
    assert (found.width, found.height) == (80, 56)
    for geometry in (Geometry(24, "stretch"), Geometry(80, "stretch")):
        expected = whole(plain, 20, geometry)
        assert whole(path, 20, geometry) == expected
        some = dict(decode(path, [3, 11, 18], geometry))
        assert [frame.tobytes() for frame in some.values()] == [expected[n] for n in some]


@pytest.mark.parametrize(
    ("name", "codec", "pixels", "options"),
    [
        ("v.avi", "ljpeg", "yuvj420p", {}),
        ("v.mov", "dnxhd", "yuv422p", {"profile": "dnxhr_lb"}),
        ("v.mov", "dnxhd", "yuv422p10le", {"profile": "dnxhr_hqx"}),
        ("v.avi", "mjpeg", "yuvj420p", {"huffman": "default"}),
        ("v.avi", "mjpeg", "yuvj422p", {}),
    ],
)
def test_flat_pictures_are_no_holes(
    name: str, codec: str, pixels: str, options: dict[str, str], tmp_path: Path
) -> None:
    video = np.zeros((6, 128, 256, 3), np.uint8)
    video[:, :, 200:] = 128
    whole(write_video(tmp_path / name, video, codec=codec, pixels=pixels, options=options), 6)


def test_stuffing_of_a_constant_bit_rate(tmp_path: Path) -> None:
    """Zeros before start codes; zeros elsewhere are a hole."""
    plain = write_video(tmp_path / "v.mpg", VIDEO, codec="mpeg2video", options={"b": "900000"})
    before = whole(plain, 40)

    def stuffed(number: int, packet: av.Packet) -> list[av.Packet]:
        return [payload(packet, bytes(packet) + bytes(700))]

    assert whole(remux(plain, tmp_path / "s.mpg", stuffed), 40) == before

    def holed(number: int, packet: av.Packet) -> list[av.Packet]:
        content = bytes(packet)
        middle = len(content) // 2
        hole = content[:middle] + bytes(400) + content[middle + 400 :]
        return [payload(packet, hole if number == 5 and len(content) > 900 else content)]

    noisy = np.random.default_rng(0).integers(0, 256, VIDEO.shape, dtype=np.uint8)
    source = write_video(tmp_path / "n.mpg", noisy, codec="mpeg2video", options={"b": "9000000"})
    path = remux(source, tmp_path / "h.mpg", holed)
    with pytest.raises(DecodeError):
        list(decode(path, range(40), GEOMETRY, to_end=True))


def test_an_ending_that_lies_is_no_obstacle(tmp_path: Path) -> None:
    path = write_video(tmp_path / "v.mkv", VIDEO[:6]).rename(tmp_path / "v.avi")
    whole(path, 6)


def test_tags_that_are_no_utf8(tmp_path: Path) -> None:
    path = tmp_path / "v.avi"
    with av.open(str(path), "w") as container:
        container.metadata["title"] = "caff at the beach"
        stream = container.add_stream("mpeg4", rate=Fraction(20))
        stream.width, stream.height, stream.pix_fmt = 96, 64, "yuv420p"
        for number, picture in enumerate(VIDEO[:6]):
            frame = av.VideoFrame.from_ndarray(picture, format="rgb24")
            frame.pts = number
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    content = path.read_bytes()
    assert b"caff at" in content
    path.write_bytes(content.replace(b"caff at", "café at".encode("latin-1")))
    with pytest.raises(UnicodeDecodeError):
        av.open(str(path))
    whole(path, 6)


def test_sound_alone_is_no_video(tmp_path: Path) -> None:
    path = tmp_path / "v.mp4"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("aac", rate=8000, layout="mono")
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 1024), np.float32), "fltp", "mono")
        frame.sample_rate, frame.pts = 8000, 0
        container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    found = probe(path, GEOMETRY)
    assert isinstance(found, str)
    assert "no video stream" in found
