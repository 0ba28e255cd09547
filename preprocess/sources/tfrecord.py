"""TFRecord files and the `tf.train.Example` in their records, without TensorFlow.

A record is a length (uint64), its masked CRC-32C, the payload and its masked CRC-32C, all little
endian. An Example is a protobuf message in which every bytes feature lies at
features (1) > feature (1) > value (2) > bytes_list (1) > value (1).
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from typing import Any

import google_crc32c

_HEADER = struct.Struct("<QI")
_FOOTER = struct.Struct("<I")
_VARINT, _FIXED64, _LENGTH, _FIXED32 = 0, 1, 2, 5


class RecordError(Exception):
    """A record or the message in it is damaged."""


def records(content: Any) -> Iterator[tuple[int, int]]:
    """Where the payloads of a file lie; reads headers only, so that a mapped file stays on disk.

    Args:
        content: the file: bytes, or anything that slices to bytes and has a length.

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
    """A record's payload, held against its checksum.

    Raises:
        RecordError: it is damaged.
    """
    found = bytes(content[start:stop])
    (crc,) = _FOOTER.unpack(bytes(content[stop : stop + _FOOTER.size]))
    if crc != masked_crc32c(found):
        raise RecordError("the record is damaged: its checksum differs")
    return found


def masked_crc32c(content: bytes) -> int:
    """CRC-32C, turned and shifted as TFRecord files store it."""
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
    """A number of seven bits a byte, least significant first, and where it ends."""
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
