"""What stands in the bytes of packets and files."""

from __future__ import annotations

import io

import pytest
from hypothesis import given
from hypothesis import strategies as st

from preprocess.sources.bitstream import (
    Picture,
    PictureReader,
    count_avi_chunks,
    has_hole,
    without_metadata,
)


def segment(marker: int, payload: bytes) -> bytes:
    return bytes([0xFF, marker]) + (len(payload) + 2).to_bytes(2, "big") + payload


def jpeg(*segments: bytes, frame: int = 0xC0, scan: bytes = b"\x12\x34") -> bytes:
    head = b"\xff\xd8" + b"".join(segments) + segment(frame, b"\x08" + bytes(6))
    return head + segment(0xDA, b"\x01\x02\x03") + scan + b"\xff\xd9"


ZEROS = bytes(400)


@pytest.mark.parametrize("codec", ["h264", "hevc", "vp8", "vp9", "av1", "mpeg4", "msmpeg4"])
def test_a_payload_that_never_holds_zeros(codec: str) -> None:
    assert has_hole(codec, b"\x41" + bytes(64) + b"\x41")
    assert not has_hole(codec, b"\x41" + bytes(63) + b"\x41")
    assert not has_hole(codec, b"\x41" + bytes(64)), "padding at the end is none"


@pytest.mark.parametrize("codec", ["dnxhd", "dvvideo", "prores", "huffyuv", "cinepak", "hap"])
def test_codecs_whose_data_may_be_zeros(codec: str) -> None:
    assert not has_hole(codec, b"\x41" + ZEROS + b"\x41")


@pytest.mark.parametrize("codec", ["mpeg1video", "mpeg2video", "mpeg4", "h264"])
def test_stuffing_before_a_start_code_is_no_hole(codec: str) -> None:
    packet = b"\0\0\1\x01\x55" + ZEROS + b"\0\0\1\x02\x55"
    assert not has_hole(codec, packet)
    assert has_hole(codec, packet.replace(b"\x02\x55", ZEROS + b"\x55"))


def test_zeros_of_a_jpeg_count_in_a_lossy_scan_only() -> None:
    for codec in ("mjpeg", "amv"):
        assert has_hole(codec, jpeg(scan=b"\x12" + ZEROS + b"\x34"))
        assert not has_hole(codec, jpeg())
        for marker in (*range(0xE0, 0xF0), 0xFE):
            assert not has_hole(codec, jpeg(segment(marker, b"a" + ZEROS + b"b")))
        assert not has_hole(codec, jpeg(frame=0xC3, scan=b"\x12" + ZEROS + b"\x34"))
    # The second field's segments lie behind the first one's scan; restart markers end none.
    two = jpeg() + jpeg(segment(0xE1, b"a" + ZEROS + b"b"))
    assert not has_hole("mjpeg", two)
    assert has_hole("mjpeg", two + jpeg(scan=b"\x01\xff\xd0\x02\xff\0" + ZEROS + b"\x03"))


def test_metadata_is_all_that_is_left_out_of_a_jpeg() -> None:
    kept = [segment(0xE0, b"AVI1\1"), segment(0xDB, bytes(65)), segment(0xEE, b"Adobe")]
    dropped = [segment(0xE1, b"Exif\0\0II"), segment(0xE2, b"ICC"), segment(0xFE, b"comment")]
    mixed = [part for pair in zip(kept, dropped, strict=True) for part in pair]
    assert without_metadata("mjpeg", jpeg(*mixed)) == jpeg(*kept)
    assert without_metadata("mjpeg", jpeg(*mixed) * 2) == jpeg(*kept) * 2


@given(st.binary(max_size=200))
def test_any_bytes_are_taken_for_a_jpeg_or_an_avi(content: bytes) -> None:
    has_hole("mjpeg", b"\xff\xd8" + content)
    without_metadata("mjpeg", b"\xff\xd8" + content)
    assert count_avi_chunks(io.BytesIO(content), 0) >= 0


START = b"\0\0\1"


def test_h264_pictures() -> None:
    """NAL units of H.264: its header is 0, two bits nal_ref_idc, five bits type."""
    parameters, idr, p, b = b"\x67\x42", b"\x65\x88", b"\x41\x9a", b"\x01\x9e"
    read = PictureReader("h264", None).read
    assert read(START + parameters + START + idr) == Picture(True, True, 0, parameters)
    assert read(START + p) == Picture(True, False)
    assert read(START + b + START + b"\x01\x40") == Picture(False, False), "its second slice"
    assert read(START + p + START + p) is None, "two pictures"
    assert read(START + b"\x06\x05\x10") is None, "a message, and no picture"
    lengths = bytes([1, 0x64, 0, 40, 0xFF])
    with_lengths = PictureReader("h264", lengths).read
    assert with_lengths(len(b).to_bytes(4, "big") + b) == Picture(False, False)


def test_hevc_pictures() -> None:
    """NAL units of HEVC: six bits type behind the first, the layer + 1 in the last three bits."""
    read = PictureReader("hevc", None).read
    assert read(START + b"\x26\x01\xaf") == Picture(True, True, 1), "IDR"
    assert read(START + b"\x2a\x01\xaf") == Picture(True, True, 1), "CRA"
    assert read(START + b"\x02\x01\xd0") == Picture(True, False, 1), "TRAIL_R"
    assert read(START + b"\x00\x03\xd0") == Picture(False, False, 3), "TRAIL_N, third layer"
    assert read(START + b"\x10\x01\xd0") == Picture(False, False, 1), "RASL_N"
    assert read(START + b"\x26\x01\xaf" + START + b"\x4a\x01") is None, "end of bitstream"


def test_mpeg_pictures() -> None:
    mpeg2, mpeg4 = PictureReader("mpeg2video", None).read, PictureReader("mpeg4", None).read
    key = START + b"\xb3\x01" + START + b"\x00\x00\x08"
    assert mpeg2(key) == Picture(True, True, 0, b"\xb3\x01")
    assert mpeg2(START + b"\x00\x00\x08") == Picture(True, False), "I without the header"
    assert mpeg2(START + b"\x00\x00\x18") == Picture(False, False), "B"
    filling = bytes([0x55]) * 20
    assert mpeg4(START + b"\xb6\x10" + filling) == Picture(True, True), "I"
    assert mpeg4(START + b"\xb6\x90" + filling) == Picture(False, False), "B"
    assert mpeg4(START + b"\xb6\x50\x00") is None, "not coded: no decoder shows it"
    assert mpeg4(START + b"\xb6\x50" + filling + START + b"\xb6\x90" + filling) is None, "packed"


def test_vp9_pictures_that_are_not_shown() -> None:
    read = PictureReader("vp9", None).read
    assert read(b"\x82\x49\x83\x42\x10") == Picture(True, True), "frame_type 0, show_frame 1"
    assert read(b"\x84\x00\x10") is None, "not shown"
    assert read(b"\x88\x10") == Picture(True, True), "shows another"
    assert read(b"\x84\x00\xc0") == Picture(True, True), "a superframe"


CODECS = ["h264", "hevc", "mpeg2video", "mpeg4", "vp9", "av1", "ffv1", "mjpeg", "vp8"]


@given(st.sampled_from(CODECS), st.binary(max_size=80), st.booleans(), st.binary(max_size=30))
def test_any_bytes_are_a_picture_or_none(
    codec: str, content: bytes, coded: bool, extradata: bytes
) -> None:
    packet = content.replace(b"\7", START) if coded else content
    for known in (None, extradata, b"\1" + extradata):
        assert isinstance(PictureReader(codec, known).read(packet), Picture | None)


def chunk(kind: bytes, payload: bytes) -> bytes:
    return kind + len(payload).to_bytes(4, "little") + payload + bytes(len(payload) % 2)


def test_chunks_of_an_avi_are_counted_with_those_of_no_bytes() -> None:
    first = [chunk(b"00dc", b"abc"), chunk(b"01wb", b"sound"), chunk(b"00dc", b"")]
    record = chunk(b"LIST", b"rec " + chunk(b"00db", b"key") + chunk(b"01dc", b"other"))
    movie = chunk(b"LIST", b"movi" + b"".join(first) + record + chunk(b"00dc", b""))
    header = chunk(b"LIST", b"hdrl" + chunk(b"avih", bytes(56)))
    more = chunk(b"RIFF", b"AVIX" + chunk(b"LIST", b"movi" + chunk(b"00dc", b"last")))
    file = chunk(b"RIFF", b"AVI " + header + movie + chunk(b"idx1", bytes(32))) + more
    assert count_avi_chunks(io.BytesIO(file), 0) == 5
    assert count_avi_chunks(io.BytesIO(file), 1) == 1
    assert count_avi_chunks(io.BytesIO(file[:-2]), 0) == 4, "the last one is cut"
    lost = file.replace(b"00db", bytes(4))
    assert count_avi_chunks(io.BytesIO(lost), 0) == 2, "what follows damage is not trusted"


AVC, HVC = b"\1" + bytes(3) + b"\xff", b"\1" + bytes(20) + b"\xff"
"""Headers of MP4 files whose units have lengths of four bytes."""


def nal(*content: int | bytes) -> bytes:
    """A unit with its length before it."""
    body = b"".join(bytes([c]) if isinstance(c, int) else c for c in content)
    return len(body).to_bytes(4, "big") + body


def obu(kind: int, content: bytes) -> bytes:
    """An open bitstream unit of AV1 with its size, below 16384 bytes, in two bytes."""
    size = len(content)
    return bytes([kind << 3 | 2, size & 127 | 128, size >> 7]) + content


@pytest.mark.parametrize(
    ("codec", "extradata", "message", "picture"),
    [
        ("h264", AVC, nal(0x06, b"a" + ZEROS + b"b"), nal(0x65, b"picture")),
        ("hevc", HVC, nal(0x4E, 1, b"a" + ZEROS + b"b"), nal(0x26, 1, b"picture")),
        ("hevc", HVC, nal(0x50, 1, b"a" + ZEROS + b"b"), nal(0x02, 1, b"picture")),
        ("libdav1d", None, obu(5, b"a" + ZEROS + b"b"), obu(6, b"picture")),
    ],
    ids=["h264", "hevc prefix", "hevc suffix", "av1"],
)
def test_metadata_of_units_is_left_out_where_all_lengths_add_up(
    codec: str, extradata: bytes | None, message: bytes, picture: bytes
) -> None:
    for packet in (message + picture, picture + message, message + picture + message):
        assert without_metadata(codec, packet, extradata) == picture
        assert not has_hole(codec, packet, extradata)
        # A byte too few or too many may be a damaged length: then nothing is left out.
        for damaged in (packet[:-1], packet + b"\x01\x02\x03\x04\x05"):
            assert without_metadata(codec, damaged, extradata) == damaged
    assert without_metadata(codec, message, extradata) == message, "no picture would be left"
    holed = picture.replace(b"picture", b"")[:-1] + b"\x41" + ZEROS + b"\x41"
    assert has_hole(codec, holed, extradata)


@given(st.sampled_from(["h264", "hevc", "av1"]), st.binary(max_size=200))
def test_any_bytes_are_taken_for_units(codec: str, content: bytes) -> None:
    """What is left is a part of the packet, or all of it."""
    extradata = {"h264": AVC, "hevc": HVC}.get(codec)
    assert len(without_metadata(codec, content, extradata)) <= len(content)
    has_hole(codec, content, extradata)
