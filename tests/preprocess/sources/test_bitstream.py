"""What stands in the bytes of packets and files."""

from __future__ import annotations

import io

import pytest
from hypothesis import given
from hypothesis import strategies as st

from preprocess.sources.bitstream import count_avi_chunks, has_hole, without_metadata


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
    assert without_metadata(jpeg(*mixed)) == jpeg(*kept)
    assert without_metadata(jpeg(*mixed) * 2) == jpeg(*kept) * 2


@given(st.binary(max_size=200))
def test_any_bytes_are_taken_for_a_jpeg_or_an_avi(content: bytes) -> None:
    has_hole("mjpeg", b"\xff\xd8" + content)
    without_metadata(b"\xff\xd8" + content)
    assert count_avi_chunks(io.BytesIO(content), 0) >= 0


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
