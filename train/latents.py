"""The latent cache: residuals through a trained autoencoder, once, beside the store.

A Zarr group `STORE.latents-HASH`, array `latent`: float16, shape (N, T-1, K, h, w) for the N
valid clips of the store in their order. HASH is that of the autoencoder's weights. The group's
attributes are written last: without them the cache is not finished.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
import zarr

from shared.console import Progress
from shared.errors import UserError
from shared.paths import Location, as_zarr
from shared.reader import ClipReader
from train.models.autoencoder import ResidualAutoencoder, pad_to_blocks


def autoencoder_hash(autoencoder: ResidualAutoencoder) -> str:
    """Short hash of an autoencoder's weights, names and shapes."""
    digest = hashlib.sha256()
    for name, tensor in sorted(autoencoder.state_dict().items()):
        digest.update(f"{name}{tuple(tensor.shape)}".encode())
        digest.update(tensor.cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()[:12]


def cache_path(store: ClipReader, identity: str) -> Location:
    """Where the latents of a store by an autoencoder lie."""
    return store.path.with_name(f"{store.path.name}.latents-{identity}")


def write_latents(
    store: ClipReader, autoencoder: ResidualAutoencoder, device: torch.device
) -> Location:
    """Encode every valid clip's residuals; nothing happens where that is done already.

    Returns:
        The cache's path.
    """
    final = cache_path(store, autoencoder_hash(autoencoder))
    if _is_finished(final):
        _refuse_other_extraction(final, store)
        return final
    shape = (store.options.frames - 1, autoencoder.latent_channels, *store.options.grid)
    group = zarr.create_group(**as_zarr(final), overwrite=True)
    latents = group.create_array(
        "latent", shape=(len(store), *shape), chunks=(1, *shape), shards=(256, *shape),
        dtype="float16",
    )  # fmt: skip
    with Progress().bar("encode residuals", len(store), "clips") as bar:
        for start in range(0, len(store), 256):
            piece = range(start, min(start + 256, len(store)))
            latents[start : piece.stop] = _encode(store, piece, autoencoder, device, bar)
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
    store: ClipReader,
    clips: range,
    autoencoder: ResidualAutoencoder,
    device: torch.device,
    on_clip: Callable[[int], None],
) -> np.ndarray:
    pieces = []
    for index in clips:
        residual = torch.from_numpy(store.clip("residual", index)).to(device).float() / 255
        pieces.append(autoencoder.encode(pad_to_blocks(residual, autoencoder.block)).half().cpu())
        on_clip(1)
    return torch.stack(pieces).numpy()
