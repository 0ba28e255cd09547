"""Entries of a sharded Zarr array one by one, each from one read of its own bytes.

Zarr looks the shard's index up anew for every chunk and passes the bytes through several layers,
which for one clip takes several times as long as decompressing it. Here the indices are kept, and
an entry is decompressed to where it is wanted; likewise an entry is compressed as soon as it is
there, while a cache holds it. The files are plain Zarr all the same, byte for byte.
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

# In one thread the same entry gives the same bytes; processes are what works in parallel here.
blosc.use_threads = False

_CRC_BYTES = 4
_INDEX_CODECS = ["bytes", "crc32c"]
_ENTRY_CODECS = (["bytes"], ["bytes", "blosc"], ["bytes", "crc32c"])
_SHUFFLES = ("noshuffle", "shuffle", "bitshuffle")
"""As Blosc counts them."""
_ABSENT = 2**64 - 1
"""Offset of a chunk that is not in its shard (Zarr's sharding codec, version 1.0)."""


class ShardedArray:
    """An array with one chunk an entry and many in a shard; several threads may read at a time.

    Attributes:
        shape: of one entry.
        dtype: little-endian.
    """

    def __init__(self, path: Location, metadata: bytes) -> None:
        """`metadata` is the content of `path / "zarr.json"`.

        Raises:
            StoreError: the array lies in another way than this software writes.
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
            position: along the first axis.
            out: C-contiguous, of the array's dtype and `shape`.

        Raises:
            StoreError: its file is missing or damaged.
        """
        assert out.dtype == self.dtype
        assert out.shape == self.shape
        assert out.flags.c_contiguous
        shard, row = divmod(position, self._shard_entries)
        try:
            file, index = self._opened(shard)
            offset, count = index[row].tolist()
            if offset == _ABSENT:
                raise ValueError("it is not in its shard")
            _decode(read_range(file, offset, count), self._codecs, out)
        except storage_errors(ValueError, RuntimeError) as error:
            raise StoreError(f"{self._file(shard)}: entry {row} cannot be read: {error}") from error

    def read_from(self, content: bytes, row: int, out: np.ndarray) -> None:
        """Read one entry of a shard whose whole file is in memory.

        Args:
            content: of the shard's file.
            row: of the entry within the shard.
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
        """An entry as it stands in a shard of an array that Blosc compresses."""
        assert entry.dtype == self.dtype
        assert entry.shape == self.shape
        compressed: bytes = blosc.compress(np.ascontiguousarray(entry), *self._compression)
        return compressed

    def pack(self, entries: Sequence[bytes]) -> list[bytes]:
        """A shard's file in pieces, in order; what the last shard lacks is marked as absent."""
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
        """Offset and bytes of each entry, shape (n, 2), from a shard's last bytes."""
        return np.frombuffer(_without_crc(tail), "<u8").reshape(self._shard_entries, 2)

    def _opened(self, shard: int) -> tuple[Location, NDArray[np.uint64]]:
        """A shard's file, and offset and bytes of each entry, shape (n, 2); looked up once."""
        if (known := self._shards.get(shard)) is not None:
            return known
        file = self._file(shard)
        index = self._parse_index(read_tail(file, self._index_bytes))
        return self._shards.setdefault(shard, (file, index))

    def _file(self, shard: int) -> Location:
        return self.path / "/".join(["c", str(shard), *("0" for _ in self.shape)])


def _entry_codecs(metadata: dict[str, Any], chunk: list[int]) -> tuple[list[str], tuple[Any, ...]]:
    """Names of the codecs of one entry, after a look that it is read as it was written.

    And what Blosc is given to compress it; nothing without Blosc.
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
    """What stands before a CRC-32C, which must be its own."""
    plain, stated = content[:-_CRC_BYTES], content[-_CRC_BYTES:]
    if not plain:
        raise ValueError("it is cut off")
    if google_crc32c.value(plain) != int.from_bytes(stated, "little"):
        raise ValueError("its checksum is wrong")
    return plain
