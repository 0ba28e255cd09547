"""Read and write single entries of a sharded Zarr array, each with one read of its own bytes.

Zarr reads the shard's index again for every chunk and passes the bytes through several layers,
which takes several times as long as decompressing a clip. Here the indices are kept, an entry is
decompressed into the caller's array, and an entry is compressed while the caches hold it. The files
are plain Zarr, byte for byte.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import google_crc32c
import numpy as np
from numcodecs import blosc
from numpy.typing import NDArray

from shared.errors import StoreError
from shared.store.paths import Location, read_range, read_tail, storage_errors

# One thread gives the same bytes each time; parallel work is done by processes.
blosc.use_threads = False

_CRC_BYTES = 4
_INDEX_CODECS = ["bytes", "crc32c"]
_ENTRY_CODECS = (["bytes"], ["bytes", "blosc"], ["bytes", "crc32c"])
_SHUFFLES = ("noshuffle", "shuffle", "bitshuffle")
"""In the order of Blosc's numbers."""
_ABSENT = 2**64 - 1
"""Offset of a chunk that is not in its shard (Zarr's sharding codec, version 1.0)."""


class ShardedArray:
    """An array with one entry a chunk and many chunks a shard; safe to read from several threads.

    Attributes:
        shape: of one entry.
        dtype: little-endian.
    """

    def __init__(self, path: Location, metadata: bytes) -> None:
        """Parse the content of `path / "zarr.json"`.

        Raises:
            StoreError: the array has another layout than this software writes.
        """
        self.path = path
        try:
            content = json.loads(metadata)
            self.dtype = np.dtype(content["data_type"]).newbyteorder("<")
            self._shard_entries, *shape = content["chunk_grid"]["configuration"]["chunk_shape"]
            self.shape: tuple[int, ...] = tuple(shape)
            self._codecs, self._compression = _entry_codecs(content, [1, *shape])
        except (KeyError, TypeError, ValueError, IndexError) as error:
            raise StoreError(
                f"{path} is not laid out as this software writes it ({error}); make it again"
            ) from None
        self._shards: dict[int, tuple[Location, NDArray[np.uint64]]] = {}

    def read_into(self, position: int, out: np.ndarray) -> None:
        """Read one entry.

        Args:
            position: on the first axis.
            out: C-contiguous, of the array's dtype and `shape`.

        Raises:
            StoreError: its file is missing or damaged.
        """
        assert out.dtype == self.dtype
        assert out.shape == self.shape
        assert out.flags.c_contiguous
        shard, row = divmod(position, self._shard_entries)
        try:
            file, index = self._open_shard(shard)
            offset, count = index[row].tolist()
            if offset == _ABSENT:
                raise ValueError("it is not in its shard")
            _decode(read_range(file, offset, count), self._codecs, out)
        except storage_errors(ValueError, RuntimeError) as error:
            raise StoreError(f"{self._file(shard)}: entry {row} cannot be read: {error}") from error

    def read_from(self, content: bytes, row: int, out: np.ndarray) -> None:
        """Read one entry from the content of its shard.

        Args:
            content: of the shard's file.
            row: of the entry in the shard.
            out: C-contiguous, of the array's dtype and `shape`.

        Raises:
            ValueError: the content is damaged.
        """
        index = self._parse_index(content[-self._index_bytes :])
        offset, count = index[row].tolist()
        if offset == _ABSENT:
            raise ValueError("an entry is not in its shard")
        _decode(memoryview(content)[offset : offset + count], self._codecs, out)

    def compress(self, entry: np.ndarray) -> bytes:
        """Bytes of an entry in the shard of an array that Blosc compresses."""
        assert entry.dtype == self.dtype
        assert entry.shape == self.shape
        compressed: bytes = blosc.compress(np.ascontiguousarray(entry), *self._compression)
        return compressed

    def pack(self, entries: Sequence[bytes]) -> list[bytes]:
        """Chunks of a shard's file, in order; entries that the last shard lacks are absent."""
        index = np.full((self._shard_entries, 2), _ABSENT, "<u8")
        counts = [len(entry) for entry in entries]
        index[: len(entries), 0] = np.cumsum([0, *counts[:-1]])
        index[: len(entries), 1] = counts
        table = index.tobytes()
        check = google_crc32c.value(table).to_bytes(_CRC_BYTES, "little")
        return [*entries, table, check]

    @property
    def _index_bytes(self) -> int:
        return 16 * self._shard_entries + _CRC_BYTES

    def _parse_index(self, tail: bytes) -> NDArray[np.uint64]:
        """Offset and size of each entry, bytes, shape (n, 2), from the end of a shard."""
        return np.frombuffer(_without_crc(tail), "<u8").reshape(self._shard_entries, 2)

    def _open_shard(self, shard: int) -> tuple[Location, NDArray[np.uint64]]:
        """A shard's file, and offset and size of each entry, shape (n, 2); read once and kept."""
        if (known := self._shards.get(shard)) is not None:
            return known
        file = self._file(shard)
        index = self._parse_index(read_tail(file, self._index_bytes))
        return self._shards.setdefault(shard, (file, index))

    def _file(self, shard: int) -> Location:
        return self.path / "/".join(["c", str(shard), *("0" for _ in self.shape)])


def _entry_codecs(metadata: dict[str, Any], chunk: list[int]) -> tuple[list[str], tuple[Any, ...]]:
    """Names of an entry's codecs, and Blosc's arguments to compress it; none without Blosc.

    Raises:
        ValueError: the array is not stored as this module reads it.
    """
    [codec] = metadata["codecs"]
    sharding = codec["configuration"]
    names = [inner["name"] for inner in sharding["codecs"]]
    endian = sharding["codecs"][0].get("configuration", {}).get("endian", "little")
    facts = {
        "codec": (codec["name"], "sharding_indexed"),
        "chunk": (sharding["chunk_shape"], chunk),
        "index": ([inner["name"] for inner in sharding["index_codecs"]], _INDEX_CODECS),
        "index location": (sharding.get("index_location", "end"), "end"),
        "codecs of an entry": (names if names in _ENTRY_CODECS else None, names),
        "byte order": (endian, "little"),
    }
    for name, (found, expected) in facts.items():
        if found != expected:
            raise ValueError(f"its {name}: {found}, not {expected}")
    if names[-1] != "blosc":
        return names, ()
    options = sharding["codecs"][-1]["configuration"]
    shuffle = _SHUFFLES.index(options["shuffle"])
    size = options["blocksize"], options["typesize"]
    return names, (options["cname"].encode(), options["clevel"], shuffle, *size)


def _decode(content: bytes | memoryview, codecs: list[str], out: np.ndarray) -> None:
    if codecs[-1] == "blosc":
        # Blosc's header: bytes 4 to 7 are the length of what was compressed.
        if len(content) < 16 or int.from_bytes(content[4:8], "little") != out.nbytes:
            raise ValueError("its length is wrong")
        blosc.decompress(content, out)
        return
    plain = _without_crc(bytes(content)) if codecs[-1] == "crc32c" else content
    out[...] = np.frombuffer(plain, out.dtype).reshape(out.shape)


def _without_crc(content: bytes) -> bytes:
    """The bytes before their CRC-32C, which must be right."""
    plain, stated = content[:-_CRC_BYTES], content[-_CRC_BYTES:]
    if not plain:
        raise ValueError("it is cut off")
    if google_crc32c.value(plain) != int.from_bytes(stated, "little"):
        raise ValueError("its checksum is wrong")
    return plain
