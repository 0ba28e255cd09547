"""Create, seal and open a store: one Zarr v3 group per extraction, local or in S3.

Partitions, the units of work, are written by `shared.store.partition`. Each has a marker with the
checksums of its files. Only markers count as done, because Zarr reads a missing shard as zeros.
"""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from pydantic import ValidationError

from shared.errors import StoreError
from shared.schema import ARRAYS, SCHEMA_VERSION, CodecOptions, StoreAttributes
from shared.store.layout import (
    ATTRIBUTE,
    METADATA,
    METADATA_FILES,
    create_arrays,
    open_array,
    open_group,
    partition_files,
)
from shared.store.paths import (
    Location,
    checksum,
    missing_files,
    put_in_place,
    read_existing,
    scratch_folder,
    storage_errors,
    sync,
    write_whole,
)
from shared.store.shards import ShardedArray

MARKERS = "partitions"
REJECTED = "rejected.jsonl"
"""List of the videos that gave fewer clips than planned."""

_RESTORE = "`dvdm-preprocess verify` lists what is damaged; restore those files, or extract again"

_NEW, UNFINISHED = ".new-", ".partition"
"""Prefixes of temporary folders of new stores and of partitions, before random letters."""


@dataclass(frozen=True)
class Marker:
    """Proof that a partition is whole: checksums of its files, and the fate of its videos."""

    partition: int
    files: dict[str, str]
    """SHA-256 by path relative to the store."""
    valid: int
    """Number of valid clips."""
    rejects: list[dict[str, Any]] = field(default_factory=list)
    """One record for each video that gave fewer clips than planned, with the reason."""


def create_store(path: Location, attributes: StoreAttributes) -> None:
    """Make an empty, unsealed store; an existing one is left as it is."""
    if (path / METADATA).exists():
        return
    if isinstance(path, Path):
        path.parent.mkdir(parents=True, exist_ok=True)
    with scratch_folder(path.parent, f".{path.name}{_NEW}") as scratch:
        create_arrays(scratch, attributes)
        if isinstance(path, Path):
            (scratch / MARKERS).mkdir()
            scratch.chmod(0o755)
            for written in scratch.rglob("*"):
                sync(written)
            scratch.rename(path)
            sync(path.parent)
        else:
            for name in METADATA_FILES:
                put_in_place(scratch / name, path / name)


def remove_leftovers(path: Path) -> None:
    """Remove the temporary files of killed runs; only while no other run works on the store."""
    absolute = path.absolute()
    new = re.compile(re.escape(f".{absolute.name}{_NEW}") + r"\w{8}")
    found = [item for item in absolute.parent.iterdir() if new.fullmatch(item.name)]
    for pattern in (f"{UNFINISHED}*", f".{REJECTED}*", f".{METADATA}.*", f"{MARKERS}/.*"):
        found += path.glob(pattern)
    for item in found:
        if item.is_dir():
            shutil.rmtree(item)
        else:
            item.unlink()


def read_attributes(path: Location) -> StoreAttributes:
    """The attributes of a store, sealed or not.

    Raises:
        StoreError: there is no store, or one of another program or schema version.
    """
    metadata = read_existing(path, [METADATA])
    if not metadata:
        raise StoreError(f"no store at {path}; make one with: dvdm-preprocess run DATASET")
    try:
        raw = json.loads(metadata[METADATA])["attributes"][ATTRIBUTE]
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


def read_marker(path: Location, partition: int) -> Marker | None:
    """The marker of a partition; None while it is not done."""
    return read_markers(path, [partition])[0]


def read_markers(path: Location, partitions: Iterable[int]) -> list[Marker | None]:
    """The markers of some partitions; None for each that is not done."""
    names = [marker_name(partition) for partition in partitions]
    found = read_existing(path, names)

    def parse(content: bytes | None) -> Marker | None:
        try:
            return None if content is None else Marker(**json.loads(content))
        except (ValueError, TypeError):
            return None  # damaged: the partition is made again

    return [parse(found.get(name)) for name in names]


def seal_store(path: Location) -> list[Marker]:
    """Declare a store complete; may be repeated.

    Returns:
        The markers of all partitions.

    Raises:
        StoreError: partitions are missing.
    """
    attributes = read_attributes(path)
    markers = read_markers(path, range(attributes.partitions))
    missing = [p for p, marker in enumerate(markers) if marker is None]
    if missing:
        raise StoreError(
            f"{path} lacks {len(missing)} of {attributes.partitions} partitions"
            f" ({_few(missing)}); run the same command again to make them"
        )
    if isinstance(path, Path):
        remove_leftovers(path)  # of workers that were killed while others went on
    metadata = json.loads((path / METADATA).read_bytes())
    metadata["attributes"][ATTRIBUTE]["sealed"] = True
    write_whole(path / METADATA, as_json(metadata))
    return [marker for marker in markers if marker is not None]


def damaged_files(path: Location, on_file: Callable[[str], None] = lambda name: None) -> list[str]:
    """Files of a sealed store that are missing or have changed since they were written.

    Args:
        path: the store.
        on_file: called with the name of each file once it is checked.
    """
    damaged = []
    for marker in read_markers(path, range(read_attributes(path).partitions)):
        for name, expected in marker.files.items() if marker else ():
            try:
                if checksum(path / name) != expected:
                    damaged.append(name)
            except FileNotFoundError:
                damaged.append(name)
            on_file(name)
    return damaged


class Store:
    """A sealed store, open for reading.

    Attributes:
        path: of the store.
        attributes: its content and the options that made it.
        indices: positions of the valid clips, int64, shape (N,); invalid slots are never read.
    """

    def __init__(self, path: Location) -> None:
        self.path = path
        self.attributes = read_attributes(path)
        if not self.attributes.sealed:
            raise StoreError(
                f"{path} is not sealed: its extraction did not finish; run the same"
                " `dvdm-preprocess run` command again"
            )
        _check_files(path, self.attributes)
        self._group = open_group(path)
        self.indices = np.flatnonzero(self._small("valid", slice(None)))

    @cached_property
    def _large(self) -> dict[str, ShardedArray]:
        # Opened when first read from, because `verify` also opens stores with damaged metadata.
        names = {spec.name: f"{spec.name}/{METADATA}" for spec in ARRAYS if not spec.small}
        found = read_existing(self.path, names.values())
        return {n: ShardedArray(self.path / n, found[file]) for n, file in names.items()}

    @property
    def options(self) -> CodecOptions:
        """The options that shaped the bytes."""
        return self.attributes.options

    def __len__(self) -> int:
        """Number of valid clips."""
        return len(self.indices)

    def column(self, name: str) -> np.ndarray:
        """A whole small array (label, video, frame_index, split...), valid clips only.

        Raises:
            StoreError: a file is damaged.
        """
        return self._small(name, slice(None))[self.indices]

    def entry(self, name: str, index: int) -> Any:
        """One valid clip's entry of a small array; its partition's chunk alone is read.

        Raises:
            StoreError: the file is damaged.
        """
        return self._small(name, int(self.indices[index]))[()]

    def _small(self, name: str, chosen: slice | int) -> np.ndarray:
        try:
            return np.asarray(open_array(self._group, name)[chosen])
        except storage_errors(ValueError, RuntimeError, KeyError, TypeError) as error:
            raise StoreError(
                f"array `{name}` of {self.path} cannot be read: {error}. {_RESTORE}"
            ) from error

    def clip(self, name: str, index: int, out: np.ndarray | None = None) -> np.ndarray:
        """One clip's entry of a large array: see `shared.store.reader.ClipReader.clip`.

        Only the bytes of that entry are read. Threads may read at the same time.
        """
        array = self._large[name]
        entry = np.empty(array.shape, array.dtype) if out is None else out
        try:
            array.read_into(int(self.indices[index]), entry)
        except StoreError as error:
            raise StoreError(f"clip {index} of {self.path}: {error}. {_RESTORE}") from error
        return entry


def _check_files(path: Location, attributes: StoreAttributes) -> None:
    if lost := missing_files(path, METADATA_FILES):
        raise StoreError(f"{path} lacks {', '.join(lost)}; restore them, or extract again")
    shards = [name for p in range(attributes.partitions) for name in partition_files(p)]
    if missing := missing_files(path, shards):
        raise StoreError(
            f"{path} lacks {len(missing)} of its shards ({_few(missing)}), which would read as"
            " zeros; delete the store and extract again, or restore the files"
        )


def marker_name(partition: int) -> str:
    """Path of a partition's marker, relative to the store."""
    return f"{MARKERS}/{partition:06d}.json"


def as_json(content: Any) -> bytes:
    """JSON in the form of metadata and markers."""
    return json.dumps(content, indent=1, ensure_ascii=False).encode()


def _few(items: list[Any], count: int = 3) -> str:
    shown = ", ".join(str(item) for item in items[:count])
    return shown + (", …" if len(items) > count else "")
