"""Caches of derived arrays: entries of every clip computed once, stored next to the store.

A Zarr group `STORE.latents-IDENTITY` holds the array `latent`, and likewise for any other name:
float16, shape (N, ...) for the N valid clips of the store in their order, each clip with its
CRC-32C. IDENTITY is a hash of all that shapes the values besides the clips, such as the
autoencoder's weights. A shard is written whole, then a marker with its SHA-256: a killed run goes
on at the shard where it was, and finished shards whose bytes changed are made again.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Callable
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
import zarr
from numpy.typing import NDArray
from torch import Tensor
from zarr.codecs import Crc32cCodec
from zarr.core.buffer import Buffer
from zarr.storage import MemoryStore

from shared.console import Progress, console
from shared.errors import StoreError, UserError
from shared.schema import LARGE
from shared.store.paths import Location, read_existing, storage_errors, write_whole
from shared.store.reader import ClipReader, open_path
from shared.store.shards import ShardedArray
from shared.store.store import checksum
from train.data.batches import read_ahead
from train.data.clips import ClipBatch, Clips, on_device
from train.spaces.base import Derived, Space

SHARD_CLIPS = 256
"""Clips in a shard, and so the most that a killed run loses."""

_BATCH = 16
"""Clips computed together. The same in every run: sums may depend on it in their last bit."""

_GROUP = "zarr.json"
_VERSION = 2


def write_derived(clips: Clips, array: Derived, device: torch.device) -> Location:
    """Compute the entries of every valid clip, or of shards that are missing or damaged.

    Returns:
        The cache's path.

    Raises:
        UserError: another cache lies there, or a clip could not be read.
    """
    cache, source = _Cache(clips.store, array), source_clips(clips, array)
    try:
        cache.create()
        cache.write_missing(source, device)
    except storage_errors() as error:
        raise UserError(
            f"cannot write the {array.name}s {cache.path}: {error}; run the same command again once"
            " mended"
        ) from error
    return cache.path


def source_clips(clips: Clips, array: Derived) -> Clips:
    """The clips that an array is computed from: these, or those of its companion store.

    Raises:
        UserError: the companion is missing, or does not hold the same clips in the same order.
    """
    if array.companion is None:
        return clips
    own, other = clips.store, open_path(array.companion)
    there = dict(other.attributes.options)
    differing = [name for name, value in own.attributes.options if there[name] != value]
    for name in ("video", "segment", "frame_index"):
        if len(own) != len(other) or not np.array_equal(own.column(name), other.column(name)):
            differing.append(name)
    if differing:
        raise UserError(
            f"{array.companion} does not hold the clips of {own.path} (other"
            f" {', '.join(differing)}): extract it with the options of that store"
        )
    return Clips(other, None)


def stored_and_derived(
    space: Space, clips: Clips, indices: NDArray[np.int64], device: torch.device
) -> dict[str, Tensor]:
    """Arrays of stored clips by name: stored ones, and those that a space derives, computed now."""
    known = on_device(clips.tensors((*LARGE, *space.asks), indices), device)
    for array in space.derived():
        known[array.name] = array.compute(source_clips(clips, array).batch(indices, device))
    return known


class DerivedArray:
    """A finished cache, open for reading; implements `train.data.clips.Entries`.

    Attributes:
        path: of the cache.
        shape: of one clip's entry.
        dtype: float16.
    """

    def __init__(self, store: ClipReader, array: Derived) -> None:
        """
        Raises:
            UserError: the cache was never finished, or belongs to another extraction.
        """
        cache = _Cache(store, array)
        self.path, self._name = cache.path, array.name
        remedy = "run `dvdm-train encode` with the same --recipe, --store and --out"
        found = read_existing(self.path, [_GROUP, cache.metadata])
        if len(found) < 2:
            raise UserError(f"no {array.name}s at {self.path}: first {remedy}")
        cache.check_same(found[_GROUP])
        names = [_marker(shard) for shard in range(cache.shards)]
        missing = len(names) - len(read_existing(self.path, names))
        if missing:
            raise UserError(f"{self.path} lacks {missing} of {len(names)} shards: {remedy} again")
        self._array = ShardedArray(self.path / array.name, found[cache.metadata])
        self.shape, self.dtype = self._array.shape, self._array.dtype

    def read_into(self, index: int, out: np.ndarray) -> None:
        """Read a clip's entry; its checksum is compared.

        Raises:
            StoreError: it is missing or damaged.
        """
        try:
            self._array.read_into(index, out)
        except StoreError as error:
            raise StoreError(
                f"{self._name} of clip {index}: {error}. Run `dvdm-train encode` again to"
                " compute what is damaged anew"
            ) from error


class _Cache:
    """Place and format of one derived array of a store."""

    def __init__(self, store: ClipReader, array: Derived) -> None:
        identity = array.identity()
        self.array, self.count = array, len(store)
        self.path = store.path.with_name(f"{store.path.name}.{array.name}s-{identity}")
        self.metadata = f"{array.name}/zarr.json"
        self.shards = math.ceil(self.count / SHARD_CLIPS)
        self._attribute = f"dvdm_{array.name}s"
        self._facts: dict[str, Any] = {
            "version": _VERSION,
            "identity": identity,
            "plan": store.attributes.plan_hash,
            "clips": self.count,
            "options": store.attributes.options.model_dump(mode="json"),
        }

    def create(self) -> None:
        """Write the metadata, the group's last; refuse other values in the same place."""
        found = read_existing(self.path, [_GROUP])
        if found:
            self.check_same(found[_GROUP])
            return
        if isinstance(self.path, Path):
            (self.path / self.array.name).mkdir(parents=True, exist_ok=True)
        for name in (self.metadata, _GROUP):
            write_whole(self.path / name, self._empty[name])

    def write_missing(self, clips: Clips, device: torch.device) -> None:
        """Compute and write the shards that are not whole."""
        wanted = [shard for shard in range(self.shards) if not self._is_whole(shard)]
        done = self.count - sum(len(self._clips_of(shard)) for shard in wanted)
        with Progress().bar("encode", self.count, "clips", done=done) as bar:
            for shard in wanted:
                entries = _compute(self.array, clips, self._clips_of(shard), device, bar)
                self._write_shard(shard, entries)
        if isinstance(self.path, Path):
            for half_written in self.path.rglob(".*"):
                half_written.unlink()

    def check_same(self, metadata: bytes) -> None:
        """Refuse a cache that depends on something else.

        Raises:
            UserError: it does.
        """
        try:
            found = json.loads(metadata)["attributes"][self._attribute]
        except (ValueError, KeyError, TypeError):
            found = {}
        differing = [
            key
            for key, value in self._facts.items()
            if not isinstance(found, dict) or found.get(key) != value
        ]
        if differing or found.keys() != self._facts.keys():
            raise UserError(
                f"{self.path} belongs to another extraction (other {', '.join(differing)}); delete"
                " it and run `dvdm-train encode` again"
            )

    def _is_whole(self, shard: int) -> bool:
        """True if a shard was finished and still has its bytes."""
        found = read_existing(self.path, [_marker(shard)])
        if not found:
            return False
        try:
            marker = json.loads(found[_marker(shard)])
            whole = checksum(self.path / marker["file"]) == marker["sha256"]
        except (ValueError, KeyError, TypeError, FileNotFoundError):
            whole = False
        if not whole:
            console.print(f"shard {shard} of {self.path} is damaged; it is encoded again")
        return bool(whole)

    def _write_shard(self, shard: int, entries: np.ndarray) -> None:
        name = "/".join([self.array.name, "c", str(shard), *["0"] * (entries.ndim - 1)])
        content = self._as_files(shard, entries)[name]
        marker = {"file": name, "sha256": hashlib.sha256(content).hexdigest()}
        for file, written in ((name, content), (_marker(shard), json.dumps(marker).encode())):
            if isinstance(self.path, Path):
                (self.path / file).parent.mkdir(parents=True, exist_ok=True)
            write_whole(self.path / file, written)

    def _clips_of(self, shard: int) -> range:
        return range(shard * SHARD_CLIPS, min((shard + 1) * SHARD_CLIPS, self.count))

    @cached_property
    def _empty(self) -> dict[str, bytes]:
        return self._as_files(0, np.empty((0, *self.array.shape), np.float16))

    def _as_files(self, shard: int, entries: np.ndarray) -> dict[str, bytes]:
        """Files, by name, in which Zarr writes the cache with one shard at most."""
        files: dict[str, Buffer] = {}
        group = zarr.create_group(MemoryStore(files), attributes={self._attribute: self._facts})
        array = group.create_array(
            self.array.name,
            shape=(self.count, *self.array.shape),
            dtype="float16",
            chunks=(1, *self.array.shape),
            shards=(SHARD_CLIPS, *self.array.shape),
            compressors=Crc32cCodec(),  # noise-like halves do not compress
            config={"write_empty_chunks": True},
        )
        if len(entries):
            array[shard * SHARD_CLIPS : shard * SHARD_CLIPS + len(entries)] = entries
        return {name: buffer.to_bytes() for name, buffer in files.items()}


@torch.no_grad()
def _compute(
    array: Derived,
    clips: Clips,
    wanted: range,
    device: torch.device,
    on_clips: Callable[[int], None],
) -> np.ndarray:
    """Entries of some clips, float16, shape (n, ...)."""
    pinned = device.type == "cuda"
    batches = [wanted[k : k + _BATCH] for k in range(0, len(wanted), _BATCH)]
    made = []
    for tensors in read_ahead(lambda rows: clips.tensors(LARGE, rows, pinned=pinned), batches):
        entries = array.compute(ClipBatch(**on_device(tensors, device)))
        made.append(entries.half().cpu())
        on_clips(len(entries))
    return torch.cat(made).numpy()


def _marker(shard: int) -> str:
    return f"shards/{shard:06d}.json"
