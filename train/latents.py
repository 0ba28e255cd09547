"""The latent cache: clips through a trained autoencoder, once, beside the store.

A Zarr group `STORE.latents-IDENTITY`, array `latent`: float16, shape (N, T-1, K, h, w) for the N
valid clips of the store in their order. IDENTITY is the space's: a hash of the autoencoder's
weights, and what else shapes the latents. The group's attributes are written last: without them the
cache is not finished.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
import zarr

from shared.console import Progress
from shared.errors import UserError
from shared.paths import Location, as_zarr
from shared.reader import ClipReader
from train.data import Clips
from train.spaces import CompressedSpace


def cache_path(store: ClipReader, identity: str) -> Location:
    """Where the latents of a store by an autoencoder lie."""
    return store.path.with_name(f"{store.path.name}.latents-{identity}")


def write_latents(
    store: ClipReader, space: CompressedSpace, clips: Clips, device: torch.device
) -> Location:
    """Encode every valid clip; nothing happens where that is done already.

    Returns:
        The cache's path.
    """
    final = cache_path(store, space.identity)
    if _is_finished(final):
        _refuse_other_extraction(final, store)
        return final
    channels = space.autoencoder.latent_channels
    shape = (store.options.frames - 1, channels, *space.shape[2:])
    group = zarr.create_group(**as_zarr(final), overwrite=True)
    latents = group.create_array(
        "latent", shape=(len(store), *shape), chunks=(1, *shape), shards=(256, *shape),
        dtype="float16",
    )  # fmt: skip
    with Progress().bar("encode clips", len(store), "clips") as bar:
        for start in range(0, len(store), 256):
            piece = range(start, min(start + 256, len(store)))
            latents[start : piece.stop] = _encode(space, clips, piece, device, bar)
    group.attrs.update(_extraction(store))
    return final


def read_latents(store: ClipReader, identity: str) -> np.ndarray:
    """All latents of a store, float16, shape (N, T-1, K, h, w).

    Raises:
        UserError: they were never written, or belong to another extraction.
    """
    path = cache_path(store, identity)
    if not _is_finished(path):
        raise UserError(
            f"no latents at {path}: run first `python -m train encode` with the same --recipe,"
            " --store and --out"
        )
    _refuse_other_extraction(path, store)
    latents = zarr.open_group(**as_zarr(path), mode="r")["latent"]
    assert isinstance(latents, zarr.Array)
    return np.asarray(latents[:])


def _extraction(store: ClipReader) -> dict[str, Any]:
    """What the latents depend on, besides the autoencoder."""
    attributes = store.attributes
    return {"plan": attributes.plan_hash, "options": attributes.options.model_dump(mode="json")}


def _is_finished(path: Location) -> bool:
    return (path / "zarr.json").exists() and bool(zarr.open_group(**as_zarr(path), mode="r").attrs)


def _refuse_other_extraction(path: Location, store: ClipReader) -> None:
    if dict(zarr.open_group(**as_zarr(path), mode="r").attrs) != _extraction(store):
        raise UserError(f"{path} belongs to another extraction; delete it and encode again")


@torch.no_grad()
def _encode(
    space: CompressedSpace,
    clips: Clips,
    indices: range,
    device: torch.device,
    on_clip: Callable[[int], None],
) -> np.ndarray:
    pieces = []
    for index in indices:
        pieces.append(space.compress(clips.batch([index], device)).half().cpu())
        on_clip(1)
    return torch.cat(pieces).numpy()
