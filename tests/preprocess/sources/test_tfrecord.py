from __future__ import annotations

import struct
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from preprocess.sources.bair import RecordError, byte_features, masked_crc32c, payload, records


def write_record(content: bytes) -> bytes:
    length = struct.pack("<Q", len(content))
    return (
        length
        + struct.pack("<I", masked_crc32c(length))
        + content
        + struct.pack("<I", masked_crc32c(content))
    )


def varint(value: int) -> bytes:
    out = b""
    while value > 0x7F:
        out += bytes([value & 0x7F | 0x80])
        value >>= 7
    return out + bytes([value])


def field(number: int, content: bytes) -> bytes:
    return varint(number << 3 | 2) + varint(len(content)) + content


def write_example(features: dict[str, bytes]) -> bytes:
    """A tf.train.Example of bytes features."""
    entries = b"".join(
        field(1, field(1, name.encode()) + field(2, field(1, field(1, content))))
        for name, content in features.items()
    )
    return field(1, entries)


@given(st.lists(st.binary(max_size=300)))
def test_records_come_back(contents: list[bytes]) -> None:
    file = b"".join(map(write_record, contents))
    assert [payload(file, *place) for place in records(file)] == contents


@given(st.dictionaries(st.text(max_size=20), st.binary(max_size=300)))
def test_examples_come_back(features: dict[str, bytes]) -> None:
    found = byte_features(write_example(features))
    assert {name: bytes(content) for name, content in found.items()} == features


def test_the_checksum_is_that_of_the_format() -> None:
    """CRC-32C of 32 zero bytes is 8A9136AA (RFC 3720, B.4)."""
    turned = (0x8A9136AA >> 15 | 0x8A9136AA << 17) & 0xFFFFFFFF
    assert masked_crc32c(bytes(32)) == (turned + 0xA282EAD8) & 0xFFFFFFFF


def test_every_flipped_bit_is_noticed() -> None:
    file = write_record(b"some content")
    for position in range(len(file)):
        for bit in range(8):
            damaged = bytearray(file)
            damaged[position] ^= 1 << bit
            with pytest.raises(RecordError):
                for place in records(bytes(damaged)):
                    payload(bytes(damaged), *place)


def test_cut_files_give_what_is_whole() -> None:
    file = write_record(b"first") + write_record(b"second")
    for cut in range(1, len(write_record(b"second"))):
        found = records(file[:-cut])
        assert next(found) == (12, 17)
        with pytest.raises(RecordError, match="record 1 is cut short"):
            next(found)


@given(st.binary(max_size=200))
def test_any_bytes_are_a_message_or_an_error(content: bytes) -> None:
    try:
        byte_features(content)
    except RecordError as error:
        assert str(error) == "the record is not a tf.train.Example"


def test_google_reads_what_we_do(real_clips: Path) -> None:
    """Held against the protobuf library, from a description of the message made here."""
    from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

    proto = descriptor_pb2.FileDescriptorProto(name="example.proto", package="t", syntax="proto3")
    described = {
        "Bytes": [("value", 1, "bytes", 3)],
        "Floats": [("value", 1, "float", 3)],
        "Feature": [("bytes_list", 1, "Bytes", 1), ("float_list", 2, "Floats", 1)],
        "Entry": [("key", 1, "string", 1), ("value", 2, "Feature", 1)],
        "Features": [("feature", 1, "Entry", 3)],
        "Example": [("features", 1, "Features", 1)],
    }
    scalars = {"bytes": 12, "string": 9, "float": 2}
    for name, fields in described.items():
        message = proto.message_type.add(name=name)
        for label, number, kind, repeated in fields:
            added = message.field.add(name=label, number=number, label=repeated)
            added.type = scalars.get(kind, 11)
            if kind not in scalars:
                added.type_name = f".t.{kind}"
    pool = descriptor_pool.DescriptorPool()
    pool.Add(proto)
    example_class = message_factory.GetMessageClass(pool.FindMessageTypeByName("t.Example"))
    for path in real_clips.glob("fixtures/bair_tfds_fake/*/*/*.tfrecords"):
        file = path.read_bytes()
        for place in records(file):
            content = payload(file, *place)
            theirs = {
                entry.key: entry.value.bytes_list.value[0]
                for entry in example_class.FromString(content).features.feature
                if entry.value.bytes_list.value
            }
            ours = {name: bytes(value) for name, value in byte_features(content).items()}
            assert len(ours) == 60
            assert ours == theirs
