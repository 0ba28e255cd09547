"""Write and read one partition of a store, the unit of work of a task.

A partition's shard of every array is written aside and put in place as a whole (by a rename
locally, by one PUT remotely), then the marker with their checksums. Entries of large arrays are
compressed when they are put and decompressed when they are read, so that a clip is processed while
the caches hold it, and a partition takes no more memory than its files.
"""

from __future__ import annotations

import hashlib
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import zarr
from zarr.core.buffer import Buffer
from zarr.core.buffer.cpu import Buffer as CpuBuffer
from zarr.storage import MemoryStore

from shared.errors import StoreError
from shared.schema import ARRAYS, LARGE, check_array, check_columns
from shared.store.layout import METADATA, METADATA_FILES, open_array, shard_file
from shared.store.paths import (
    Location,
    put_in_place,
    read_existing,
    scratch_folder,
    write_whole,
)
from shared.store.shards import ShardedArray
from shared.store.store import (
    UNFINISHED,
    Marker,
    as_json,
    marker_name,
    read_attributes,
    read_marker,
)

SPECS = {spec.name: spec for spec in ARRAYS}
COLUMNS = tuple(spec for spec in ARRAYS if spec.small)
"""Arrays with one or a few numbers for each clip."""


class PartitionWriter:
    """A partition that is being filled; slots without a clip hold zeros.

    Attributes:
        attributes: of the store.
        clips: number of slots of the partition.
    """

    def __init__(self, path: Location, partition: int) -> None:
        """Start an empty partition.

        Args:
            path: an unsealed store.
            partition: index p; its first slot is p * shard_clips.
        """
        self.attributes = read_attributes(path)
        self.clips = self.attributes.clips_in(partition)
        self._path, self._partition = path, partition
        self._metadata = read_existing(path, METADATA_FILES)
        self._large = _large_arrays(path, self._metadata)
        self._zeros = {
            name: array.compress(np.zeros(array.shape, array.dtype))
            for name, array in self._large.items()
        }
        self._entries = {name: [zeros] * self.clips for name, zeros in self._zeros.items()}

    def put(self, slot: int, **entries: np.ndarray) -> None:
        """Set the entries of large arrays of a slot, by name.

        Raises:
            ValueError: an entry has another shape or dtype than the schema.
        """
        for name, entry in entries.items():
            check_array(entry, SPECS[name].shape(self.attributes), SPECS[name])
            self._entries[name][slot] = self._large[name].compress(entry)

    def clear_slot(self, slot: int) -> None:
        """Reset a slot to zeros."""
        for name, zeros in self._zeros.items():
            self._entries[name][slot] = zeros

    def write(self, columns: dict[str, np.ndarray], rejects: list[dict[str, Any]]) -> Marker:
        """Write the shards, then the marker.

        Args:
            columns: the small arrays of `shared.schema.ARRAYS`, clip axis first.
            rejects: records of the videos that failed here.

        Raises:
            ValueError: the columns do not agree with the schema.
        """
        check_columns(columns, self.clips, self.attributes)
        files = {}
        with scratch_folder(self._path, f"{UNFINISHED}{self._partition:05d}-") as scratch:
            for name, chunks in self._shards(columns).items():
                written = scratch / name.replace("/", ".")  # no folders to make and remove
                files[name] = _write_chunks(written, chunks)
                put_in_place(written, self._path / name)
        marker = Marker(self._partition, files, int(columns["valid"].sum()), rejects)
        write_whole(self._path / marker_name(self._partition), as_json(asdict(marker)))
        return marker

    def _shards(self, columns: dict[str, np.ndarray]) -> dict[str, list[bytes]]:
        """The partition's files by name, each as chunks of bytes."""
        in_memory = _buffers(self._metadata)
        start = self._partition * self.attributes.shard_clips
        # All-zero shards are written, too, so that a missing file is always an error.
        with zarr.config.set({"array.write_empty_chunks": True}):
            group = zarr.open_group(MemoryStore(in_memory), mode="r+")
            for spec in COLUMNS:
                open_array(group, spec.name)[start : start + self.clips] = columns[spec.name]
        shards = {}
        for spec in ARRAYS:
            name = shard_file(spec, self._partition)
            shards[name] = (
                [in_memory[name].to_bytes()]
                if spec.small
                else self._large[spec.name].pack(self._entries[spec.name])
            )
        return shards


class PartitionReader:
    """A partition's clips, invalid slots included.

    Attributes:
        attributes: of the store.
        clips: number of slots of the partition.
        marker: its marker.
    """

    def __init__(self, path: Location, partition: int) -> None:
        """Read the partition's files and compare their checksums.

        Raises:
            StoreError: files are missing, or have changed since they were written.
        """
        self.attributes, marker = read_attributes(path), read_marker(path, partition)
        if marker is None:
            raise StoreError(f"{path} lacks partition {partition}: its extraction did not finish")
        self.marker, self.clips = marker, self.attributes.clips_in(partition)
        self._partition = partition
        self._files = read_existing(path, [*METADATA_FILES, *marker.files])
        for name, expected in marker.files.items():
            content = self._files.get(name)
            if content is None or hashlib.sha256(content).hexdigest() != expected:
                raise StoreError(
                    f"{path}: {name} is damaged or missing; restore it or extract again"
                )
        self._large = _large_arrays(path, self._files)

    def columns(self) -> dict[str, np.ndarray]:
        """The small arrays of `shared.schema.ARRAYS` by name, clip axis first, writable."""
        group = zarr.open_group(MemoryStore(_buffers(self._files)), mode="r")
        start = self._partition * self.attributes.shard_clips
        rows = slice(start, start + self.clips)
        return {spec.name: np.asarray(open_array(group, spec.name)[rows]) for spec in COLUMNS}

    def entry(self, name: str, slot: int, out: np.ndarray | None = None) -> np.ndarray:
        """A slot's entry of a large array, in a new array or in the C-contiguous `out`."""
        array = self._large[name]
        entry = np.empty(array.shape, array.dtype) if out is None else out
        array.read_from(self._files[shard_file(SPECS[name], self._partition)], slot, entry)
        return entry


def _buffers(files: dict[str, bytes]) -> dict[str, Buffer]:
    """Files in the form that Zarr's memory store takes."""
    return {name: CpuBuffer.from_bytes(content) for name, content in files.items()}


def _write_chunks(path: Path, chunks: list[bytes]) -> str:
    """Write a file from chunks, without joining them in memory, and return its SHA-256."""
    digest = hashlib.sha256()
    with path.open("wb") as file:
        for chunk in chunks:
            digest.update(chunk)
            file.write(chunk)
    return digest.hexdigest()


def _large_arrays(path: Location, files: dict[str, bytes]) -> dict[str, ShardedArray]:
    if lost := [name for name in METADATA_FILES if name not in files]:
        raise StoreError(f"{path} lacks {', '.join(lost)}; restore them, or extract again")
    return {name: ShardedArray(path / name, files[f"{name}/{METADATA}"]) for name in LARGE}


def read_partition(path: Location, partition: int) -> dict[str, np.ndarray]:
    """All clips of one partition, read and checked by `PartitionReader`.

    Returns:
        Every array of `shared.schema.ARRAYS` by name, clip axis first, writable.
    """
    reader = PartitionReader(path, partition)
    arrays = reader.columns()
    for name in LARGE:
        shape = SPECS[name].shape(reader.attributes)
        arrays[name] = np.empty((reader.clips, *shape), SPECS[name].dtype)
        for slot, entry in enumerate(arrays[name]):
            reader.entry(name, slot, entry)
    return arrays
