"""Create, write, seal and open a store: one Zarr v3 group per extraction.

A partition is the unit of work: one task writes its shard of every array beside the final names,
renames them into place, and then writes a marker with their checksums. Only markers count as
done, because Zarr reads a missing shard as zeros without a word.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import tempfile
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import zarr
from pydantic import ValidationError
from zarr.codecs import BloscCodec

from shared.errors import StoreError
from shared.schema import (
    ARRAYS,
    SCHEMA_VERSION,
    ArraySpec,
    CodecOptions,
    StoreAttributes,
    check_partition,
)

ATTRIBUTE = "dvdm"
MARKERS = "partitions"
REJECTED = "rejected.jsonl"
_METADATA = "zarr.json"
# Names of what is being written, in front of random letters.
_NEW, _PARTITION = ".new-", ".partition"


@dataclass(frozen=True)
class Marker:
    """Proof that a partition is whole: its files' checksums, and what became of its videos."""

    partition: int
    files: dict[str, str]
    """SHA-256 by path relative to the store."""
    valid: int
    """Clips that can be used."""
    rejects: list[dict[str, Any]] = field(default_factory=list)
    """One record for every video that gave fewer clips than planned, with the reason."""


def create_store(path: Path, attributes: StoreAttributes) -> None:
    """Make an empty, unsealed store; nothing happens to one that is already there."""
    if (path / _METADATA).exists():
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    scratch = Path(tempfile.mkdtemp(prefix=f".{path.name}{_NEW}", dir=path.parent))
    try:
        _create_arrays(scratch, attributes)
        (scratch / MARKERS).mkdir()
        scratch.chmod(0o755)
        for written in scratch.rglob("*"):
            _sync(written)
        scratch.rename(path)
        _sync(path.parent)
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


def remove_leftovers(path: Path) -> None:
    """Remove what runs that were killed left half written; only while no other run is at work."""
    absolute = path.absolute()
    new = re.compile(re.escape(f".{absolute.name}{_NEW}") + r"\w{8}")
    for left in [*absolute.parent.iterdir()]:
        if new.fullmatch(left.name):
            shutil.rmtree(left)
    half_written = (f"{_PARTITION}*", f".{REJECTED}", f".{_METADATA}.*", f"{MARKERS}/.*")
    for left in [left for pattern in half_written for left in path.glob(pattern)]:
        if left.is_dir():
            shutil.rmtree(left)
        else:
            left.unlink()


def read_attributes(path: Path) -> StoreAttributes:
    """The attributes of a store, sealed or not.

    Raises:
        StoreError: there is no store, it is not ours, or it has another schema version.
    """
    if not (path / _METADATA).is_file():
        raise StoreError(f"no store at {path}; make one with: python -m preprocess run DATASET")
    try:
        raw = json.loads((path / _METADATA).read_text())["attributes"][ATTRIBUTE]
    except (json.JSONDecodeError, KeyError, TypeError):
        raise StoreError(f"{path} is a Zarr group, but not a dvdm store") from None
    if raw.get("schema_version") != SCHEMA_VERSION:
        raise StoreError(
            f"{path} has schema version {raw.get('schema_version')}; this software reads version"
            f" {SCHEMA_VERSION}. Extract the videos again into another folder."
        )
    try:
        return StoreAttributes.model_validate(raw)
    except ValidationError as error:
        raise StoreError(f"{path} has malformed attributes: {error}") from None


def write_partition(
    path: Path, partition: int, arrays: dict[str, np.ndarray], rejects: list[dict[str, Any]]
) -> Marker:
    """Write one whole shard of every array, then its marker.

    Args:
        path: an unsealed store.
        partition: index p; holds clips p*shard_clips onwards.
        arrays: see `shared.schema.ARRAYS`, clip axis first.
        rejects: records of the videos that failed here.
    """
    attributes = read_attributes(path)
    clips = check_partition(arrays, attributes.options)
    start = partition * attributes.shard_clips
    if clips != min(attributes.shard_clips, attributes.clips - start):
        raise ValueError(f"partition {partition} has {clips} clips, not a whole shard")
    # Hidden and inside the store: same file system, so that the renames are atomic.
    scratch = Path(tempfile.mkdtemp(prefix=f"{_PARTITION}{partition:05d}-", dir=path))
    try:
        # Opened again by name, an array would forget that empty chunks are to be written.
        for name, target in _create_arrays(scratch, attributes).items():
            target[start : start + clips] = arrays[name]
        files = {}
        for chunk in _partition_files(partition):
            (path / chunk).parent.mkdir(parents=True, exist_ok=True)
            files[chunk] = checksum(scratch / chunk)
            _sync(scratch / chunk)
            (scratch / chunk).replace(path / chunk)
            _sync((path / chunk).parent)
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
    marker = Marker(partition, files, int(arrays["valid"].sum()), rejects)
    _write_json(_marker_path(path, partition), asdict(marker))
    return marker


def read_marker(path: Path, partition: int) -> Marker | None:
    """The marker of a partition, or None while it is not done."""
    try:
        return Marker(**json.loads(_marker_path(path, partition).read_text()))
    except (FileNotFoundError, json.JSONDecodeError, TypeError):
        return None  # not there, or not whole: the partition is made again


def seal_store(path: Path) -> list[Marker]:
    """Declare a store complete. Can be run again.

    Returns:
        The markers of all partitions.

    Raises:
        StoreError: partitions are missing.
    """
    attributes = read_attributes(path)
    markers = [read_marker(path, p) for p in range(attributes.partitions)]
    missing = [p for p, marker in enumerate(markers) if marker is None]
    if missing:
        raise StoreError(
            f"{path} lacks {len(missing)} of {attributes.partitions} partitions"
            f" ({_few(missing)}); run the same command again to make them"
        )
    for stale in path.glob(f"{_PARTITION}*"):
        shutil.rmtree(stale)
    metadata = json.loads((path / _METADATA).read_text())
    metadata["attributes"][ATTRIBUTE]["sealed"] = True
    _write_json(path / _METADATA, metadata)
    return [marker for marker in markers if marker is not None]


def checksum(path: Path) -> str:
    """SHA-256 of a file, hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def damaged_files(path: Path, on_file: Callable[[str], None] = lambda name: None) -> list[str]:
    """Files of a sealed store that are missing or whose bytes changed since they were written."""
    damaged = []
    for partition in range(read_attributes(path).partitions):
        marker = read_marker(path, partition)
        for name, expected in marker.files.items() if marker else ():
            if not (path / name).is_file() or checksum(path / name) != expected:
                damaged.append(name)
            on_file(name)
    return damaged


class Store:
    """A sealed store, open for reading.

    Attributes:
        path: where it is.
        attributes: what it holds and how it was made.
        indices: positions of the valid clips, int64, shape (N,); invalid slots are never given out.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.attributes = read_attributes(path)
        if not self.attributes.sealed:
            raise StoreError(
                f"{path} is not sealed: its extraction did not finish; run the same"
                " `python -m preprocess run` command again"
            )
        _refuse_missing_files(path, self.attributes)
        self._group = zarr.open_group(path, mode="r")
        # Opening an array reads its metadata: once, not for every clip.
        self._arrays: dict[str, zarr.Array] = {}
        self.indices = np.flatnonzero(np.asarray(self._array("valid")[:]))

    @property
    def options(self) -> CodecOptions:
        """The options that shaped the bytes."""
        return self.attributes.options

    def __len__(self) -> int:
        """Number of valid clips."""
        return len(self.indices)

    def column(self, name: str) -> np.ndarray:
        """A whole small array (label, subject, video, start_frame), valid clips only."""
        return np.asarray(self._array(name)[:])[self.indices]

    def clip(self, name: str, index: int) -> np.ndarray:
        """One valid clip's entry of a large array (first_frame, motion, residual)."""
        return np.asarray(self._array(name)[int(self.indices[index])])

    def _array(self, name: str) -> zarr.Array:
        if name not in self._arrays:
            self._arrays[name] = _array(self._group, name)
        return self._arrays[name]


def _create_arrays(path: Path, attributes: StoreAttributes) -> dict[str, zarr.Array]:
    group = zarr.create_group(
        path,
        overwrite=path.exists(),
        attributes={ATTRIBUTE: attributes.model_dump(mode="json")},
    )
    return {spec.name: _create_array(group, spec, attributes) for spec in ARRAYS}


def _create_array(group: zarr.Group, spec: ArraySpec, attributes: StoreAttributes) -> zarr.Array:
    entry = spec.shape(attributes.options)
    shard = (attributes.shard_clips, *entry)
    codec = BloscCodec(cname="zstd", clevel=1, shuffle="bitshuffle")
    return group.create_array(
        spec.name,
        shape=(attributes.clips, *entry),
        dtype=str if spec.dtype == "str" else spec.dtype,
        # Large entries: one chunk a clip in one shard a partition. Columns: one chunk a partition.
        chunks=(1, *entry) if entry else shard,
        shards=shard if entry else None,
        compressors=codec if entry else "auto",
        dimension_names=spec.axes,
        attributes={"units": spec.units, "meaning": spec.meaning},
        # An all-zero shard must be a file like any other: a missing one is then an error.
        config={"write_empty_chunks": True},
    )


def _array(group: zarr.Group, name: str) -> zarr.Array:
    array = group[name]
    assert isinstance(array, zarr.Array)
    return array


def _partition_files(partition: int) -> list[str]:
    return [
        "/".join([spec.name, "c", str(partition), *("0" for _ in spec.axes[1:])]) for spec in ARRAYS
    ]


def _refuse_missing_files(path: Path, attributes: StoreAttributes) -> None:
    missing = [
        name
        for partition in range(attributes.partitions)
        for name in _partition_files(partition)
        if not (path / name).is_file()
    ]
    if missing:
        raise StoreError(
            f"{path} lacks {len(missing)} of its shards ({_few(missing)}), which would read as"
            " zeros; delete the store and extract again, or restore the files"
        )


def _marker_path(path: Path, partition: int) -> Path:
    return path / MARKERS / f"{partition:06d}.json"


def _write_json(path: Path, content: Any) -> None:
    scratch = path.with_name(f".{path.name}.{os.getpid()}")
    scratch.write_text(json.dumps(content, indent=1, ensure_ascii=False))
    _sync(scratch)
    scratch.replace(path)
    _sync(path.parent)


def _sync(path: Path) -> None:
    """Have a file or folder on disk: after a power cut, a marker must not stand for less."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _few(items: list[Any], count: int = 3) -> str:
    shown = ", ".join(str(item) for item in items[:count])
    return shown + (", …" if len(items) > count else "")
