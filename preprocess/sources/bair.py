"""BAIR robot pushing: TFRecord files, one trajectory a record, two cameras: two videos.

The name of a video is that of its file, the record's number and the camera:
`softmotion30_44k/test/traj_0_to_255.tfrecords#17/image_main`.

The files are read without TensorFlow. A record is a length (uint64), its masked CRC-32C, the
payload and its masked CRC-32C, all little endian. The payload is a `tf.train.Example`, a protobuf
message in which every bytes feature lies at
features (1) > feature (1) > value (2) > bytes_list (1) > value (1).
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Iterator
from contextlib import suppress
from functools import lru_cache
from itertools import islice
from pathlib import Path
from typing import Any

import google_crc32c
import numpy as np
from numpy.typing import NDArray

from preprocess.frames.geometry import Geometry, fit_picture, refusal
from preprocess.records import DecodeError, Found, Probe, Reject, Times
from preprocess.sources import video
from preprocess.sources.independent_decode import fit_independently
from shared.store.paths import Location

CAMERAS = ("image_main", "image_aux1")
HEIGHT, WIDTH = 64, 64

_FRAME_BYTES = HEIGHT * WIDTH * 3

_HEADER = struct.Struct("<QI")
_FOOTER = struct.Struct("<I")
_VARINT, _FIXED64, _LENGTH, _FIXED32 = 0, 1, 2, 5


class RecordError(Exception):
    """A record or the message in it is damaged."""


def find(root: Path, files: Iterable[str]) -> Iterator[Found | Reject]:
    """Take every record for two videos; a damaged file has those before the damage."""
    for found in video.find(root, files):
        if isinstance(found, Reject):
            yield found
            continue
        places, damage = _scan(root / found.path, found.size_bytes, found.mtime_ns)
        for number in range(len(places)):
            for camera in CAMERAS:
                yield Found(f"{found.path}#{number}/{camera}", found.size_bytes, found.mtime_ns)
        if damage:
            yield Reject(found.path, damage, "discover")


def probe(path: Location, geometry: Geometry) -> Probe | str:
    """Count the frames of a camera without reading pixels."""
    try:
        file, number, camera = _parts(path)
        start, stop = _places(file)[number]
        frames = len(_frame_names(byte_features(_mapped(file)[start:stop]), camera))
    except Exception as error:  # one record's failure, of any kind, must not end the others
        return f"the record cannot be read: {error}"
    if not frames:
        return f"the record holds no frames of {camera}"
    return refusal(WIDTH, HEIGHT, geometry) or Probe(frames, WIDTH, HEIGHT)


def times(path: Location) -> Times | str:
    """Refuse: records do not state when their frames are shown."""
    return "the records do not say when their frames are shown"


def decode(
    path: Location, wanted: Iterable[int], geometry: Geometry, *, to_end: bool = False
) -> Iterator[tuple[int, NDArray[np.uint8]]]:
    """Read the wanted frames of a record; raises DecodeError if it is damaged.

    Its checksum covers the whole record, so `to_end` changes nothing.
    """
    try:
        file, number, camera = _parts(path)
        features = byte_features(payload(_mapped(file), *_places(file)[number]))
        names = _frame_names(features, camera)
    except (OSError, RecordError, IndexError, ValueError) as error:
        raise DecodeError(f"the record cannot be read: {error}", 0) from None
    for index in wanted:
        if index >= len(names):
            raise DecodeError(f"the record holds {len(names)} frames", len(names))
        pixels = features[names[index]]
        if len(pixels) != _FRAME_BYTES:
            reason = f"frame {index} has {len(pixels)} bytes, not {_FRAME_BYTES}"
            raise DecodeError(reason, index)
        rgb = np.frombuffer(pixels, np.uint8).reshape(HEIGHT, WIDTH, 3)
        yield index, fit_picture(rgb, geometry)


def decode_independently(
    path: Location, geometry: Geometry
) -> Iterator[tuple[int, NDArray[np.uint8]]]:
    """Find the pixels after each frame's name in the record's bytes, without parsing it."""
    file, number, camera = _parts(path)
    content = file.read_bytes() if file.is_file() else b""
    start, stop = next(islice(_intact(content), number, None), (0, 0))
    record = content[start:stop]
    for index in range(record.count(f"/{camera}/encoded".encode())):
        name = f"{index}/{camera}/encoded".encode()
        # The name's length stands before it: `1/...` must not be found within `11/...`.
        after_name = record.index(bytes([len(name)]) + name) + 1 + len(name)
        # Key and length of the bytes: field 1, 64 x 64 x 3 = 12,288 in two groups of seven bits.
        pixels = record.index(b"\x0a\x80\x60", after_name) + 3
        rgb = np.frombuffer(record, np.uint8, _FRAME_BYTES, pixels).reshape(HEIGHT, WIDTH, 3)
        yield index, fit_independently(rgb, geometry)


def _parts(path: Location) -> tuple[Path, int, str]:
    """Split a video's name into file, number of the record, and camera."""
    file, _, rest = str(path).rpartition("#")
    number, _, camera = rest.partition("/")
    return Path(file), int(number), camera


def _mapped(file: Path) -> memoryview:
    """Bytes of a file, read from disk only where they are used."""
    return np.memmap(file, np.uint8, "r").data


def _places(file: Path) -> tuple[tuple[int, int], ...]:
    """Start and stop of every record's payload."""
    status = file.stat()
    return _scan(file, status.st_size, status.st_mtime_ns)[0]


@lru_cache(maxsize=16)
def _scan(file: Path, size_bytes: int, mtime_ns: int) -> tuple[tuple[tuple[int, int], ...], str]:
    """Places of the records before any damage, and a description of the damage."""
    found = []
    try:
        for place in records(_mapped(file)):
            found.append(place)
    except RecordError as error:
        return tuple(found), str(error)
    return tuple(found), ""


def _intact(content: bytes) -> Iterator[tuple[int, int]]:
    with suppress(RecordError):
        yield from records(content)


def _frame_names(features: dict[str, memoryview], camera: str) -> list[str]:
    """Names of a camera's frames from 0 to the first that is missing."""
    names: list[str] = []
    while (name := f"{len(names)}/{camera}/encoded") in features:
        names.append(name)
    return names


def records(content: Any) -> Iterator[tuple[int, int]]:
    """Places of the payloads of a file; reads headers only, so that a mapped file stays on disk.

    Args:
        content: of the file: bytes, or anything that slices to bytes and has a length.

    Yields:
        Start and stop of each payload, bytes.

    Raises:
        RecordError: a length is damaged, or the file ends within a record.
    """
    position, number = 0, 0
    while position < len(content):
        header = bytes(content[position : position + _HEADER.size])
        if len(header) < _HEADER.size:
            raise RecordError(f"record {number} is cut short")
        length, crc = _HEADER.unpack(header)
        if crc != masked_crc32c(header[:8]):
            raise RecordError(f"the length of record {number} is damaged: its checksum differs")
        start = position + _HEADER.size
        position = start + length + _FOOTER.size
        if position > len(content):
            raise RecordError(f"record {number} is cut short")
        yield start, start + length
        number += 1


def payload(content: Any, start: int, stop: int) -> bytes:
    """Read the payload of a record and compare it with its checksum.

    Raises:
        RecordError: it is damaged.
    """
    found = bytes(content[start:stop])
    (crc,) = _FOOTER.unpack(bytes(content[stop : stop + _FOOTER.size]))
    if crc != masked_crc32c(found):
        raise RecordError("the record is damaged: its checksum differs")
    return found


def masked_crc32c(content: bytes) -> int:
    """CRC-32C, rotated and shifted as TFRecord files store it."""
    crc = google_crc32c.value(content)
    return ((crc >> 15 | crc << 17) + 0xA282EAD8) & 0xFFFFFFFF


def byte_features(example: bytes | memoryview) -> dict[str, memoryview]:
    """First value of every bytes feature of an Example, by the feature's name.

    Raises:
        RecordError: it is not a protobuf message.
    """
    found = {}
    for features in _fields(memoryview(example), 1):
        for entry in _fields(features, 1):
            name = next(_fields(entry, 1), None)
            for value in _fields(entry, 2):
                for listed in _fields(value, 1):
                    content = next(_fields(listed, 1), None)
                    if name is not None and content is not None:
                        found[str(name, "utf-8", "replace")] = content
    return found


def _fields(message: memoryview, number: int) -> Iterator[memoryview]:
    """Contents of the length-delimited fields of one number."""
    position = 0
    while position < len(message):
        key, position = _varint(message, position)
        kind = key & 7
        length, start = _extent(message, position, kind)
        position = start + length
        if position > len(message):
            raise RecordError("the record is not a tf.train.Example")
        if kind == _LENGTH and key >> 3 == number:
            yield message[start:position]


def _extent(message: memoryview, position: int, kind: int) -> tuple[int, int]:
    """Length and start of a field's content."""
    if kind == _VARINT:
        return 0, _varint(message, position)[1]
    if kind == _LENGTH:
        return _varint(message, position)
    if kind in (_FIXED32, _FIXED64):
        return (4 if kind == _FIXED32 else 8), position
    raise RecordError("the record is not a tf.train.Example")


def _varint(message: memoryview, position: int) -> tuple[int, int]:
    """Read a number of seven bits a byte, least significant first; returns its end too."""
    value = 0
    for shift in range(0, 70, 7):
        if position >= len(message):
            break
        byte = message[position]
        position += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, position
    raise RecordError("the record is not a tf.train.Example")
