"""Layout of a store in Zarr: group, arrays, chunks, shards, and the names of their files."""

from __future__ import annotations

from pathlib import Path

import zarr
from zarr.codecs import BloscCodec

from shared.schema import ARRAYS, ArraySpec, StoreAttributes
from shared.store.paths import Location, as_zarr

ATTRIBUTE = "dvdm"
"""Name of the group attribute that holds `shared.schema.StoreAttributes`."""

METADATA = "zarr.json"

METADATA_FILES = (*(f"{spec.name}/{METADATA}" for spec in ARRAYS), METADATA)
"""Every metadata file of a store; the group's is last, because it makes the store exist."""


_BLOCK_BYTES = 2**19
"""Bytes that are shuffled and compressed together. With Blosc's default, 32 KiB, compression takes
1.5 times and decompression twice as long, because zstd starts anew with each block."""


def create_arrays(path: Path, attributes: StoreAttributes) -> None:
    """Write the metadata of an empty store's group and arrays into an empty local folder."""
    group = zarr.create_group(
        path, overwrite=True, attributes={ATTRIBUTE: attributes.model_dump(mode="json")}
    )
    codec = BloscCodec(cname="zstd", clevel=1, shuffle="bitshuffle", blocksize=_BLOCK_BYTES)
    for spec in ARRAYS:
        entry = spec.shape(attributes)
        shard = (attributes.shard_clips, *entry)
        group.create_array(
            spec.name,
            shape=(attributes.clips, *entry),
            dtype=str if spec.dtype == "str" else spec.dtype,
            # Large arrays: a chunk for each clip in a shard for each partition. Columns: a chunk
            # for each partition.
            chunks=shard if spec.small else (1, *entry),
            shards=None if spec.small else shard,
            compressors="auto" if spec.small else codec,
            dimension_names=spec.axes,
            attributes={"units": spec.units, "meaning": spec.meaning_in(attributes)},
        )


def open_group(path: Location) -> zarr.Group:
    """Open a store's group for reading."""
    return zarr.open_group(**as_zarr(path), mode="r")


def open_array(group: zarr.Group, name: str) -> zarr.Array:
    """Open an array of a group, which reads its metadata."""
    array = group[name]
    assert isinstance(array, zarr.Array)
    return array


def partition_files(partition: int) -> list[str]:
    """Paths of a partition's shards, one for every array, relative to the store."""
    return [shard_file(spec, partition) for spec in ARRAYS]


def shard_file(spec: ArraySpec, partition: int) -> str:
    """Path of one array's shard, relative to the store."""
    return "/".join([spec.name, "c", str(partition), *("0" for _ in spec.axes[1:])])
