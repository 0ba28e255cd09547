"""Facts that stand in the bytes of packets and files, which FFmpeg's interface does not state.

Both decoders use them: zeros that no intact payload holds, pictures that refer to pictures before
the file's beginning, the part of a packet that its pixels depend on, and the chunks of an AVI file.
Which pictures others refer to serves decoding alone.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import BinaryIO, NamedTuple

from av.packet import Packet

_START = b"\0\0\1"

_WITHOUT_ZEROS = (
    # Start codes are runs of zeros, so their payloads have none; others are arithmetic codes.
    *("mpeg1video", "mpeg2video", "mpeg4", "h263", "h263p", "flv", "h264", "hevc", "vvc", "vc1"),
    *("cavs", "rv20", "rv30", "rv40", "vp6", "vp6f", "vp7", "vp8", "vp9", "av1", "libdav1d"),
    *("msmpeg4", "msmpeg4v1", "msmpeg4v2", "wmv1", "wmv2", "theora"),
)
"""Decoders of codecs whose payload never holds 64 zeros, whatever the picture."""

_HOLE, _FILLED_HOLE = bytes(64), re.compile(rb"\0{64,}(?![\0\1])")
"""A run of zeros; one that is not the stuffing that may precede a start code."""

_STANDALONE = (0x01, *range(0xD0, 0xDA), 0xFF)
"""Markers of a JPEG that head no segment, and filling before a marker."""

_START_OF_SCAN, _LOSSLESS_FRAMES = 0xDA, (0xC3, 0xC7, 0xCB, 0xCF)
_AFTER_SCAN = re.compile(rb"\xff[^\0\xd0-\xd7\xff]")
"""Marker that ends entropy-coded data."""

_METADATA = (*range(0xE1, 0xEE), 0xEF, 0xFE)
"""APPn and comments; not APP0 (AVI1: fields) nor APP14 (Adobe: colour transform)."""


_UNITS = {
    "h264": ((6,), (1, 5)),
    "hevc": ((39, 40), range(32)),
    "av1": ((5,), (3, 4, 6)),
    "libdav1d": ((5,), (3, 4, 6)),
}
"""Types of the units that hold metadata, and of those that hold pictures, by decoder: SEI messages
of H.264 (table 7-1) and H.265 (table 7-1), metadata OBUs of AV1 (6.2.2)."""


def has_hole(codec: str, packet: bytes, extradata: bytes | None = None) -> bool:
    """Test whether a packet holds more zeros in a row than its codec ever writes.

    Zeros in metadata, which no pixel depends on, do not count.

    Args:
        codec: FFmpeg's name of the decoder.
        packet: its bytes; zeros at the end are padding.
        extradata: of the codec; it states how many bytes hold a unit's length.
    """
    if not _has_zeros(codec, packet):
        return False
    return codec not in _UNITS or _has_zeros(codec, without_metadata(codec, packet, extradata))


def _has_zeros(codec: str, packet: bytes) -> bool:
    payload = packet.rstrip(b"\0")
    if codec in ("mjpeg", "amv"):
        return any(_HOLE in scan for scan in _lossy_scans(payload))
    if codec not in _WITHOUT_ZEROS or _HOLE not in payload:
        return False
    stuffed = codec.startswith("mpeg") or packet.startswith((_START, b"\0" + _START))
    return not stuffed or bool(_FILLED_HOLE.search(payload))


def without_metadata(codec: str, packet: bytes, extradata: bytes | None = None) -> bytes:
    """Leave out what no pixel depends on: EXIF, profiles and comments, SEI messages, metadata OBUs.

    Units are left out only where their lengths add up to the packet, so that a damaged length hides
    no picture; so of H.264 and H.265 only where lengths are stated, as in MP4 and Matroska.

    Args:
        codec: FFmpeg's name of the decoder.
        packet: its bytes.
        extradata: of the codec; it states how many bytes hold a unit's length.
    """
    if codec == "mjpeg":
        return b"".join(part for marker, part in _segments(packet) if marker not in _METADATA)
    if codec not in _UNITS:
        return packet
    metadata, pictures = _UNITS[codec]
    length_bytes = _length_bytes(codec, extradata)
    nals = codec in ("h264", "hevc")
    units = _nals(codec, packet, length_bytes) if nals else _obus(packet)
    if not any(kind in pictures for kind, _ in units):
        return packet
    return b"".join(unit for kind, unit in units if kind not in metadata)


def _length_bytes(codec: str, extradata: bytes | None) -> int:
    """Bytes that hold a unit's length; 0 where start codes stand between units."""
    at = {"h264": 4, "hevc": 21}.get(codec)
    if not at or not extradata or extradata[0] != 1 or len(extradata) <= at:
        return 0
    return (extradata[at] & 3) + 1


def _nals(codec: str, packet: bytes, length_bytes: int) -> list[tuple[int, bytes]]:
    """Type and bytes of each unit, its length included; none where lengths do not add up."""
    units, at = [], 0
    while length_bytes and at + length_bytes < len(packet):
        head = at + length_bytes
        end = head + int.from_bytes(packet[at:head], "big")
        kind = packet[head] & 31 if codec == "h264" else packet[head] >> 1 & 63
        units.append((kind, packet[at:end]))
        at = end
    return units if at == len(packet) else []


def _obus(packet: bytes) -> list[tuple[int, bytes]]:
    """Type and bytes of each open bitstream unit of AV1 (5.3); none where sizes do not add up."""
    units, at = [], 0
    while at < len(packet):
        header = packet[at]
        if header & 0x81:  # the forbidden and the reserved bit
            return []
        body = at + (2 if header & 4 else 1)
        end = len(packet)
        if header & 2:
            size, shift = 0, 0
            while body < len(packet) and shift < 56:
                byte, body = packet[body], body + 1
                size, shift = size | (byte & 127) << shift, shift + 7
                if byte < 128:
                    break
            end = body + size
        units.append((header >> 3 & 15, packet[at:end]))
        at = end
    return units if at == len(packet) else []


def _lossy_scans(jpeg: bytes) -> list[bytes]:
    """Entropy-coded data of a JPEG; none of a lossless one, where zeros are usual."""
    parts = list(_segments(jpeg))
    lossless = any(marker in _LOSSLESS_FRAMES for marker, _ in parts)
    return [] if lossless else [part for marker, part in parts if marker in (0, _START_OF_SCAN)]


def _segments(jpeg: bytes) -> Iterator[tuple[int, bytes]]:
    """Cut a JPEG into its segments, each with its marker; 0 where there should be one.

    A scan's segment holds its entropy-coded data too.
    """
    at = 0
    while at < len(jpeg):
        marker = jpeg[at + 1] if jpeg[at] == 0xFF and at + 1 < len(jpeg) else 0
        if not marker:
            end = len(jpeg)
        elif marker in _STANDALONE:
            end = at + (1 if marker == 0xFF else 2)
        else:
            end = at + 2 + int.from_bytes(jpeg[at + 2 : at + 4], "big")
        if marker == _START_OF_SCAN:
            following = _AFTER_SCAN.search(jpeg, end)
            end = following.start() if following else len(jpeg)
        yield marker, jpeg[at:end]
        at = end


class LeadingPictures:
    """Finds the pictures after a key picture that refer to pictures before it, which are missing.

    They follow the first key picture of a file that was cut inside an open group of pictures, and
    any at which the stream states that its references were cut off. They are shown before the key
    picture, and no decoder shows them: H.264 8.2.1 and D.2.8 (recovery point), H.265 3.132 (RASL),
    H.262 6.3.8 (closed_gop, broken_link).
    """

    def __init__(self, codec: str, extradata: bytes | None) -> None:
        """Start before the first packet of a stream.

        Args:
            codec: FFmpeg's name of the decoder.
            extradata: of the codec; it states how many bytes hold a unit's length.
        """
        self._codec, self._length_bytes = codec, _length_bytes(codec, extradata)
        self._first = True
        self._open_from: int | None = None
        """Time of a key picture whose leading pictures are lost; None once they are over."""

    def lost(self, packet: Packet) -> bool:
        """Test the next packet of the stream, in decoding order."""
        first, self._first = self._first, False
        if packet.is_keyframe:
            lost_leads = self.loses_leads(packet, first)
            self._open_from = packet.pts if lost_leads else None
            return False
        if self._open_from is None:
            return False
        leads = packet.pts is None or packet.pts < self._open_from
        if not (leads and self._leads(bytes(packet))):
            self._open_from = None
        return self._open_from is not None

    def loses_leads(self, key: Packet, first: bool) -> bool:
        """Test whether pictures that are shown before a key picture refer to missing ones."""
        if self._codec == "h264":
            return first and 5 not in self._units(bytes(key))
        if self._codec == "hevc":
            kinds = {unit >> 1 & 63 for unit in self._units(bytes(key))}
            return bool(kinds & {16, 17, 18}) or (first and 21 in kinds)
        if self._codec in ("mpeg1video", "mpeg2video"):
            header = bytes(key)
            group = header.find(b"\0\0\1\xb8")
            flags = header[group + 7] if 0 <= group < len(header) - 7 else 0
            return bool(flags & 0x20) or (first and not flags & 0x40)
        return self._codec == "mpeg4" and first

    def _leads(self, packet: bytes) -> bool:
        """Test whether a picture that is shown before such a key picture refers to earlier ones."""
        if self._codec == "hevc":
            return bool({unit >> 1 & 63 for unit in self._units(packet)} & {8, 9})
        if self._codec in ("mpeg1video", "mpeg2video"):
            return self._kind(packet, b"\0\0\1\0", 5, 3) == 3
        if self._codec == "mpeg4":
            return self._kind(packet, b"\0\0\1\xb6", 4, 6) == 2
        return True

    @staticmethod
    def _kind(packet: bytes, code: bytes, byte: int, shift: int) -> int:
        """Type of the picture behind a start code: I, P or B as 1, 2, 3 or as 0, 1, 2."""
        at = packet.find(code)
        inside = 0 <= at < len(packet) - byte
        return packet[at + byte] >> shift & (7 if byte == 5 else 3) if inside else -1

    def _units(self, packet: bytes) -> set[int]:
        """First byte of each unit of the network abstraction layer; of H.264, its type alone."""
        mask = 31 if self._codec == "h264" else 255
        return {unit[0] & mask for unit in _split_units(packet, self._length_bytes)}


class Picture(NamedTuple):
    """Statement of a packet's bytes about the one picture in it.

    Attributes:
        is_referenced: later pictures may depend on it.
        restarts: pictures that follow it, in both orders, depend on nothing before it; of those
            that call themselves key frames.
        layer: temporal layer; a picture that is not referenced in its layer may be in higher ones.
        parameters: parameter sets in the packet, which hold from there on.
    """

    is_referenced: bool
    restarts: bool
    layer: int = 0
    parameters: bytes = b""


class PictureReader:
    """Reads what packets state about their pictures, without decoding them."""

    def __init__(self, codec: str, extradata: bytes | None) -> None:
        """Prepare for a stream; `codec` is FFmpeg's name of the decoder."""
        self._codec, self._length_bytes = codec, _length_bytes(codec, extradata)

    def read(self, packet: bytes) -> Picture | None:
        """Read a packet; None if it does not hold exactly one picture, or nothing is known."""
        if self._codec in _INDEPENDENT:
            whole = self._codec != "mjpeg" or _JPEG_TABLES in packet
            return Picture(is_referenced=False, restarts=True) if whole else None
        if self._codec in _RESET_BY_KEYS:
            hidden = self._codec == "vp9" and _is_hidden_vp9(packet)
            return None if hidden else Picture(is_referenced=True, restarts=True)
        read = _PICTURES.get(self._codec)
        return read(list(_split_units(packet, self._length_bytes))) if read else None


_INDEPENDENT = ("mjpeg", "prores", "dnxhd", "dvvideo", "huffyuv", "ffvhuff")
"""Decoders of codecs whose packets stand alone. A JPEG may use the tables of the one before."""

_JPEG_TABLES = b"\xff\xdb"

_RESET_BY_KEYS = ("vp9", "av1", "libdav1d", "ffv1")
"""Decoders of codecs whose key frames reset all state, and whose other frames may change it even
if none refers to them."""


def _is_hidden_vp9(packet: bytes) -> bool:
    """Test whether a packet holds a single VP9 frame that is not shown; VP9 6.2 and annex B."""
    if not packet or packet[-1] & 0xE0 == 0xC0:  # a superframe shows its last frame
        return False
    bits = format(packet[0], "08b")[2:]  # behind the frame marker
    bits = bits[3:] if bits[:2] == "11" else bits[2:]  # profile 3 has a reserved bit
    shows_existing, _, is_shown = bits[0], bits[1], bits[2]
    return shows_existing == "0" and is_shown == "0"


def _h264_picture(units: list[bytes]) -> Picture | None:
    """Picture of an access unit: H.264 7.3.1, 7.3.3 (first_mb_in_slice), 7.4.1 (nal_ref_idc)."""
    slices = [unit for unit in units if unit[0] & 31 in (1, 5) and len(unit) > 1]
    if any(unit[0] & 31 in (2, 3, 4) for unit in units) or _firsts(slices, 1) != 1:
        return None
    return Picture(
        is_referenced=any(unit[0] & 0x60 for unit in slices),
        restarts=all(unit[0] & 31 == 5 for unit in slices),
        parameters=b"".join(unit for unit in units if unit[0] & 31 in (7, 8, 13, 15)),
    )


def _hevc_picture(units: list[bytes]) -> Picture | None:
    """Picture of an access unit: H.265 7.3.1.2, 7.3.6.1 (first_slice_segment), table 7-1."""
    kinds = [unit[0] >> 1 & 63 for unit in units]
    pairs = zip(units, kinds, strict=True)
    slices = [unit for unit, kind in pairs if kind < 32 and len(unit) > 2]
    # After an end of sequence or of bitstream, leading pictures are lost.
    if _firsts(slices, 2) != 1 or {36, 37} & set(kinds):
        return None
    kind = slices[0][0] >> 1 & 63
    pairs = zip(units, kinds, strict=True)
    return Picture(
        is_referenced=kind > 14 or kind % 2 == 1,
        restarts=16 <= kind <= 21,
        layer=slices[0][1] & 7,
        parameters=b"".join(unit for unit, kind in pairs if 32 <= kind <= 34),
    )


def _firsts(slices: list[bytes], at: int) -> int:
    """Number of slices that begin a picture: the first bit behind the unit's header is 1."""
    return sum(unit[at] >> 7 for unit in slices)


def _mpeg2_picture(units: list[bytes]) -> Picture | None:
    """Picture of MPEG-2; the sequence header resets all matrices: H.262 6.1.1.6, 6.3.9."""
    pictures = [unit for unit in units if unit[0] == 0x00 and len(unit) > 2]
    if len(pictures) != 1:
        return None
    headers = [unit for unit in units if unit[0] == 0xB3]
    is_b = pictures[0][2] >> 3 & 7 == 3
    return Picture(not is_b, restarts=bool(headers), parameters=b"".join(headers))


def _mpeg4_picture(units: list[bytes]) -> Picture | None:
    """Picture of MPEG-4 part 2, 6.2.5; a short one may be none, which repeats another."""
    planes = [unit for unit in units if unit[0] == 0xB6]
    if len(planes) != 1 or len(planes[0]) < _SHORTEST_VOP:
        return None
    kind = planes[0][1] >> 6
    layers = b"".join(unit for unit in units if 0x20 <= unit[0] < 0x30)
    return Picture(kind != 2, restarts=kind == 0, parameters=layers)


_SHORTEST_VOP = 12
"""Bytes; a picture that is not coded has fewer, and no decoder shows it."""

_PICTURES = {
    "h264": _h264_picture,
    "hevc": _hevc_picture,
    "mpeg2video": _mpeg2_picture,
    "mpeg4": _mpeg4_picture,
}


def _split_units(packet: bytes, length_bytes: int) -> Iterator[bytes]:
    """Cut a packet into its units, behind start codes or lengths; none is empty."""
    if not length_bytes:
        yield from filter(None, packet.split(_START)[1:])
        return
    at = 0
    while at + length_bytes < len(packet):
        size = int.from_bytes(packet[at : at + length_bytes], "big")
        at += length_bytes
        if size:
            yield packet[at : at + size]
        at += size


def count_avi_chunks(file: BinaryIO, stream: int) -> int:
    """Count the chunks of a stream in an AVI file, those of 0 bytes too, as far as it is whole.

    A chunk of 0 bytes stands for a frame that is shown again.

    Args:
        file: opened for reading bytes.
        stream: its number in the file.
    """
    kinds, count = (b"%02ddc" % stream, b"%02ddb" % stream), 0
    file.seek(0, 2)
    size = file.tell()
    at = 0
    while at + 8 <= size:
        file.seek(at)
        header = file.read(12)
        kind, length = header[:4], int.from_bytes(header[4:8], "little")
        if kind in (b"RIFF", b"LIST") and header[8:] in (b"AVI ", b"AVIX", b"movi", b"rec "):
            at += 12
            continue
        if not re.fullmatch(rb"[\w ]{4}", kind) or at + 8 + length > size:
            break
        count += kind in kinds
        at += 8 + length + length % 2
    return count
