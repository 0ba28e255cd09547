"""How a store lies in Zarr: group, arrays, chunks, shards, and the names of their files."""

from __future__ import annotations

from pathlib import Path

import zarr
from zarr.codecs import BloscCodec

from shared.schema import ARRAYS, ArraySpec, StoreAttributes
from shared.store.paths import Location, as_zarr

ATTRIBUTE = "dvdm"
"""The group attribute that `shared.schema.StoreAttributes` describes."""

METADATA = "zarr.json"

METADATA_FILES = (*(f"{spec.name}/{METADATA}" for spec in ARRAYS), METADATA)
"""Every metadata file of a store; the group's last, for a store is there once that is."""


_BLOCK_BYTES = 2**19
"""What is shuffled and compressed at once. Blosc's own choice, 32 KiB, takes half as long again to
compress and twice as long to decompress, because zstd begins anew with each."""


def create_arrays(path: Path, attributes: StoreAttributes) -> None:
    """Write the metadata of group and arrays into an empty local folder; no clip is in it yet."""
    group = zarr.create_group(
        path, overwrite=True, attributes={ATTRIBUTE: attributes.model_dump(mode="json")}
    )
    for spec in ARRAYS:
        _create_array(group, spec, attributes)


def _create_array(group: zarr.Group, spec: ArraySpec, attributes: StoreAttributes) -> None:
    entry = spec.shape(attributes)
    shard = (attributes.shard_clips, *entry)
    codec = BloscCodec(cname="zstd", clevel=1, shuffle="bitshuffle", blocksize=_BLOCK_BYTES)
    group.create_array(
        spec.name,
        shape=(attributes.clips, *entry),
        dtype=str if spec.dtype == "str" else spec.dtype,
        # Large entries: one chunk a clip in one shard a partition. Columns: one chunk a partition.
        chunks=shard if spec.small else (1, *entry),
        shards=None if spec.small else shard,
        compressors="auto" if spec.small else codec,
        dimension_names=spec.axes,
        attributes={"units": spec.units, "meaning": spec.meaning_in(attributes)},
    )


def open_group(path: Location) -> zarr.Group:
    """A store's group, for reading."""
    return zarr.open_group(**as_zarr(path), mode="r")


def open_array(group: zarr.Group, name: str) -> zarr.Array:
    """One of a group's arrays; opening it reads its metadata."""
    array = group[name]
    assert isinstance(array, zarr.Array)
    return array


def partition_files(partition: int) -> list[str]:
    """Names of a partition's shards, one for every array, relative to the store."""
    return [shard_file(spec, partition) for spec in ARRAYS]


def shard_file(spec: ArraySpec, partition: int) -> str:
    """Name of one array's shard, relative to the store."""
    return "/".join([spec.name, "c", str(partition), *("0" for _ in spec.axes[1:])])
