"""The latent cache: clips through a trained autoencoder, once, beside the store.

A Zarr group `STORE.latents-IDENTITY`, array `latent`: float16, shape (N, T-1, K, h, w) for the N
valid clips of the store in their order, each clip with its CRC-32C. IDENTITY is the space's: a hash
of the autoencoder's weights, and what else shapes the latents. A shard is written whole, then a
marker with its SHA-256: a run that was killed goes on at the shard where it was, and finished
shards whose bytes changed are made again.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
import zarr
from zarr.codecs import Crc32cCodec
from zarr.core.buffer import Buffer
from zarr.storage import MemoryStore

from shared.console import Progress, console
from shared.errors import StoreError, UserError
from shared.schema import LARGE
from shared.store.export import ClipReader
from shared.store.paths import Location, read_existing, storage_errors, write_whole
from shared.store.shards import ShardedArray
from shared.store.store import checksum
from train.data.batches import read_ahead
from train.data.clips import ClipBatch, Clips, on_device
from train.spaces import CompressedSpace

NAME = "latent"
SHARD_CLIPS = 256
"""Clips in a shard, and so the most that a killed run loses."""

_BATCH = 16
"""Clips encoded at once. The same in every run: sums may depend on it in their last bit."""

_ATTRIBUTE = "dvdm_latents"
_GROUP, _ARRAY = "zarr.json", f"{NAME}/zarr.json"
_VERSION = 2


def cache_path(store: ClipReader, identity: str) -> Location:
    """Where the latents of a store by an autoencoder lie."""
    return store.path.with_name(f"{store.path.name}.latents-{identity}")


def write_latents(clips: Clips, space: CompressedSpace, device: torch.device) -> Location:
    """Encode every valid clip, or those shards that are missing or damaged; can be run again.

    Returns:
        The cache's path.

    Raises:
        UserError: another cache lies there, or a clip could not be read.
    """
    path = cache_path(clips.store, space.identity)
    try:
        _create(path, clips.store, space)
        _write_missing(path, clips, space, device)
    except storage_errors() as error:
        raise UserError(
            f"cannot write the latents {path}: {error}; run the same command again once mended"
        ) from error
    return path


class Latents:
    """A finished cache, open for reading; implements `train.data.clips.ClipArray`.

    Attributes:
        path: where it is.
        shape: of one clip's latent.
        dtype: float16.
    """

    def __init__(self, store: ClipReader, identity: str) -> None:
        """
        Raises:
            UserError: the cache was never finished, or belongs to another extraction.
        """
        self.path = cache_path(store, identity)
        remedy = "run `python -m train encode` with the same --recipe, --store and --out"
        found = read_existing(self.path, [_GROUP, _ARRAY])
        if len(found) < 2:
            raise UserError(f"no latents at {self.path}: first {remedy}")
        _refuse_other(self.path, found[_GROUP], _facts(store, identity))
        names = [_marker(shard) for shard in range(_shards(len(store)))]
        missing = len(names) - len(read_existing(self.path, names))
        if missing:
            raise UserError(f"{self.path} lacks {missing} of {len(names)} shards: {remedy} again")
        self._array = ShardedArray(self.path / NAME, found[_ARRAY])
        self.shape, self.dtype = self._array.shape, self._array.dtype

    def read_into(self, index: int, out: np.ndarray) -> None:
        """Read a clip's latent; its checksum is compared.

        Raises:
            StoreError: it is missing or damaged.
        """
        try:
            self._array.read_into(index, out)
        except StoreError as error:
            raise StoreError(
                f"latent of clip {index}: {error}. `python -m train encode` again makes what is"
                " damaged anew"
            ) from error


def _create(path: Location, store: ClipReader, space: CompressedSpace) -> None:
    """Write the metadata, the group's last; refuse other latents in the same place."""
    found = read_existing(path, [_GROUP])
    facts = _facts(store, space.identity)
    if found:
        _refuse_other(path, found[_GROUP], facts)
        return
    time, channels = store.options.frames - 1, space.autoencoder.latent_channels
    files = _as_files(len(store), (time, channels, *space.shape[2:]), facts, None)
    if isinstance(path, Path):
        (path / NAME).mkdir(parents=True, exist_ok=True)
    for name in (_ARRAY, _GROUP):
        write_whole(path / name, files[name])


def _write_missing(
    path: Location, clips: Clips, space: CompressedSpace, device: torch.device
) -> None:
    count = len(clips.store)
    wanted = [shard for shard in range(_shards(count)) if not _is_whole(path, shard)]
    done = count - sum(len(_clips_of(shard, count)) for shard in wanted)
    with Progress().bar("encode", count, "clips", done=done) as bar:
        for shard in wanted:
            latents = _encode(clips, _clips_of(shard, count), space, device, bar)
            _write_shard(path, shard, latents, count)
    if isinstance(path, Path):
        for half_written in path.rglob(".*"):
            half_written.unlink()


@torch.no_grad()
def _encode(
    clips: Clips,
    wanted: range,
    space: CompressedSpace,
    device: torch.device,
    on_clips: Callable[[int], None],
) -> np.ndarray:
    """Latents of some clips, float16, shape (n, T-1, K, h, w)."""
    pinned = device.type == "cuda"
    pieces = [wanted[k : k + _BATCH] for k in range(0, len(wanted), _BATCH)]
    made = []
    for tensors in read_ahead(lambda p: clips.tensors(LARGE, p, pinned=pinned), pieces):
        latents = space.compress(ClipBatch(**on_device(tensors, device)))
        made.append(latents.half().cpu())
        on_clips(len(latents))
    return torch.cat(made).numpy()


def _write_shard(path: Location, shard: int, latents: np.ndarray, count: int) -> None:
    name = _shard(shard, latents.ndim)
    content = _as_files(count, latents.shape[1:], {}, (shard, latents))[name]
    marker = {"file": name, "sha256": hashlib.sha256(content).hexdigest()}
    for file, written in ((name, content), (_marker(shard), json.dumps(marker).encode())):
        if isinstance(path, Path):
            (path / file).parent.mkdir(parents=True, exist_ok=True)
        write_whole(path / file, written)


def _as_files(
    count: int,
    shape: Sequence[int],
    facts: dict[str, Any],
    shard: tuple[int, np.ndarray] | None,
) -> dict[str, bytes]:
    """The cache as Zarr writes it, with one shard at most, by file name."""
    files: dict[str, Buffer] = {}
    group = zarr.create_group(MemoryStore(files), attributes={_ATTRIBUTE: facts})
    array = group.create_array(
        NAME,
        shape=(count, *shape),
        dtype="float16",
        chunks=(1, *shape),
        shards=(SHARD_CLIPS, *shape),
        compressors=Crc32cCodec(),  # noise-like halves do not compress
        config={"write_empty_chunks": True},
    )
    if shard is not None:
        start = shard[0] * SHARD_CLIPS
        array[start : start + len(shard[1])] = shard[1]
    return {name: buffer.to_bytes() for name, buffer in files.items()}


def _facts(store: ClipReader, identity: str) -> dict[str, Any]:
    """What the latents depend on."""
    attributes = store.attributes
    return {
        "version": _VERSION,
        "identity": identity,
        "plan": attributes.plan_hash,
        "clips": len(store),
        "options": attributes.options.model_dump(mode="json"),
    }


def _refuse_other(path: Location, metadata: bytes, facts: dict[str, Any]) -> None:
    try:
        found = json.loads(metadata)["attributes"][_ATTRIBUTE]
    except (ValueError, KeyError, TypeError):
        found = None
    if found != facts:
        differing = [k for k in facts if not isinstance(found, dict) or found.get(k) != facts[k]]
        raise UserError(
            f"{path} belongs to another extraction (other {', '.join(differing)}); delete it and"
            " run `python -m train encode` again"
        )


def _is_whole(path: Location, shard: int) -> bool:
    """Whether a shard was finished and is still as it was written."""
    found = read_existing(path, [_marker(shard)])
    if not found:
        return False
    try:
        marker = json.loads(found[_marker(shard)])
        whole = checksum(path / marker["file"]) == marker["sha256"]
    except (ValueError, KeyError, TypeError, FileNotFoundError):
        whole = False
    if not whole:
        console.print(f"shard {shard} of {path} is damaged; it is encoded again")
    return bool(whole)


def _shards(clips: int) -> int:
    return math.ceil(clips / SHARD_CLIPS)


def _clips_of(shard: int, count: int) -> range:
    return range(shard * SHARD_CLIPS, min((shard + 1) * SHARD_CLIPS, count))


def _shard(shard: int, axes: int) -> str:
    return "/".join([NAME, "c", str(shard), *["0"] * (axes - 1)])


def _marker(shard: int) -> str:
    return f"shards/{shard:06d}.json"
