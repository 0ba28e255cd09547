"""Entries and shards compared with those of Zarr's own reader and writer."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import zarr
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from zarr.codecs import BloscCodec, BytesCodec, Crc32cCodec, ZstdCodec

from shared.errors import StoreError
from shared.store.shards import ShardedArray

CODECS: dict[str, Any] = {
    "none": None,
    "checksum": Crc32cCodec(),
    "zstd": BloscCodec(cname="zstd", clevel=1, shuffle="bitshuffle"),
    "lz4": BloscCodec(cname="lz4", clevel=5, shuffle="shuffle"),
}


def write_array(
    path: Path, values: NDArray[Any], shard: int, codec: str, **options: Any
) -> zarr.Array:
    array = zarr.create_array(
        path,
        shape=values.shape,
        dtype=values.dtype,
        chunks=(1, *values.shape[1:]),
        shards=(shard, *values.shape[1:]),
        compressors=CODECS[codec],
        **{"config": {"write_empty_chunks": True}} | options,
    )
    array[:] = values
    return array


def open_array(path: Path) -> ShardedArray:
    return ShardedArray(path, (path / "zarr.json").read_bytes())


def read(array: ShardedArray, position: int) -> np.ndarray:
    entry = np.empty(array.shape, array.dtype)
    array.read_into(position, entry)
    return entry


@settings(max_examples=15)
@given(
    count=st.integers(1, 9),
    shard=st.integers(1, 5),
    shape=st.lists(st.integers(1, 6), max_size=3).map(tuple),
    dtype=st.sampled_from(["uint8", "int8", "int16", "float16"]),
    codec=st.sampled_from(sorted(CODECS)),
    order=st.randoms(use_true_random=False),
)
def test_every_entry_is_the_one_that_zarr_reads(
    tmp_path_factory: pytest.TempPathFactory,
    count: int,
    shard: int,
    shape: tuple[int, ...],
    dtype: str,
    codec: str,
    order: Any,
) -> None:
    path = tmp_path_factory.mktemp("array")
    values = np.random.default_rng(count).integers(0, 100, (count, *shape)).astype(dtype)
    theirs, ours = write_array(path, values, shard, codec), open_array(path)
    for position in order.choices(range(count), k=6):
        entry = read(ours, position)
        assert entry.dtype == values.dtype
        assert np.array_equal(entry, theirs[position])


@pytest.fixture
def path(tmp_path: Path) -> Path:
    values = np.random.default_rng(0).integers(-255, 256, (10, 3, 20, 20), np.int16)
    write_array(tmp_path / "array", values, 4, "zstd")
    return tmp_path / "array"


def test_only_the_bytes_of_the_entry_are_read(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import shared.store.shards

    counts: list[int] = []
    whole = shared.store.shards.read_range

    def counted(*arguments: Any) -> bytes:
        counts.append(len(content := whole(*arguments)))
        return content

    monkeypatch.setattr(shared.store.shards, "read_range", counted)
    array = open_array(path)
    for position in (5, 4, 5):
        read(array, position)
    shard = (path / "c/1/0/0/0").stat().st_size
    assert len(counts) == 3
    assert 0 < max(counts) < shard / 3


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda content: b"", "cut off"),
        (lambda content: content[:-1], "checksum"),
        (lambda content: content[:-8] + bytes([content[-8] ^ 1]) + content[-7:], "checksum"),
        (lambda content: content[:4] + b"\0\0\0\0" + content[8:], "length is wrong"),
        (lambda content: content[:16] + bytes(40) + content[56:], "decompression"),
        (None, "No such file"),
    ],
)
def test_damage_is_named(path: Path, spoil: Any, message: str) -> None:
    file = path / "c/1/0/0/0"
    if spoil:
        file.write_bytes(spoil(file.read_bytes()))
    else:
        file.unlink()
    array = open_array(path)
    with pytest.raises(StoreError, match=rf"c/1/0/0/0: entry 0 cannot be read: .*{message}"):
        read(array, 4)
    read(array, 3)


def test_a_checksum_of_the_entry_is_compared(tmp_path: Path) -> None:
    write_array(tmp_path, np.arange(12.0, dtype="f2").reshape(3, 4), 3, "checksum")
    file = tmp_path / "c/0/0"
    content = bytearray(file.read_bytes())
    content[9] ^= 4  # of entry 0: four halves and a checksum
    file.write_bytes(content)
    array = open_array(tmp_path)
    read(array, 1)
    with pytest.raises(StoreError, match="entry 0 cannot be read: its checksum is wrong"):
        read(array, 0)


def test_an_entry_missing_from_its_shard_is_an_error(tmp_path: Path) -> None:
    values = np.arange(12, dtype="i2").reshape(3, 4)
    values[1] = 0
    write_array(tmp_path, values, 3, "zstd", config={"write_empty_chunks": False})
    array = open_array(tmp_path)
    read(array, 2)
    with pytest.raises(StoreError, match="entry 1 cannot be read: it is not in its shard"):
        read(array, 1)


def test_other_layouts_are_refused(tmp_path: Path) -> None:
    def refused(name: str, message: str) -> None:
        with pytest.raises(StoreError, match=message):
            open_array(tmp_path / name)

    values = np.zeros((4, 6), "i2")
    zarr.create_array(tmp_path / "plain", data=values, chunks=(1, 6))
    refused("plain", "not laid out as this software writes it")
    zarr.create_array(
        tmp_path / "zstd", data=values, chunks=(1, 6), shards=(2, 6), compressors=ZstdCodec()
    )
    refused("zstd", "codecs of an entry")
    zarr.create_array(
        tmp_path / "pairs", data=values, chunks=(2, 6), shards=(4, 6), compressors=None
    )
    refused("pairs", r"its chunk: \[2, 6\], not \[1, 6\]")
    write_array(tmp_path / "big", values, 2, "none", serializer=BytesCodec(endian="big"))
    refused("big", "byte order: big")
    (tmp_path / "torn").mkdir()
    (tmp_path / "torn/zarr.json").write_text('{"sha')
    refused("torn", "make it again")


@settings(max_examples=15)
@given(
    count=st.integers(1, 9),
    shard=st.integers(1, 5),
    shape=st.lists(st.integers(1, 6), max_size=3).map(tuple),
    dtype=st.sampled_from(["uint8", "int8", "int16"]),
    codec=st.sampled_from(["zstd", "lz4"]),
    ceiling=st.sampled_from([1, 100]),
)
def test_a_shard_is_byte_for_byte_the_one_that_zarr_writes(
    tmp_path_factory: pytest.TempPathFactory,
    count: int,
    shard: int,
    shape: tuple[int, ...],
    dtype: str,
    codec: str,
    ceiling: int,
) -> None:
    path = tmp_path_factory.mktemp("array")
    values = np.random.default_rng(count).integers(0, ceiling, (count, *shape)).astype(dtype)
    write_array(path, values, shard, codec)
    ours = open_array(path)
    for number, start in enumerate(range(0, count, shard)):
        entries = [ours.compress(value) for value in values[start : start + shard]]
        file = path / "/".join(["c", str(number), *("0" for _ in shape)])
        assert b"".join(ours.pack(entries)) == file.read_bytes()
