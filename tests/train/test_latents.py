from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
import zarr

from shared.errors import UserError
from shared.store import Store
from tests.train.stores import OPTIONS, make_store
from train.latents import autoencoder_hash, read_latents, write_latents
from train.models.autoencoder import pad_to_blocks
from train.models.block_autoencoder import BlockAutoencoder, BlockAutoencoderOptions

CPU = torch.device("cpu")


def autoencoder(seed: int = 0) -> BlockAutoencoder:
    torch.manual_seed(seed)
    return BlockAutoencoder(BlockAutoencoderOptions(latent_channels=3, hidden=8), 4)


@pytest.fixture
def own_store(tmp_path: Path) -> Store:
    """13 pixels: a grid of 4 blocks of 4, the last ones cut."""
    return make_store(tmp_path / "store", options=OPTIONS.model_copy(update={"size": 13}))


def test_latents_are_those_of_the_autoencoder(own_store: Store) -> None:
    network = autoencoder()
    path = write_latents(own_store, network, CPU)
    identity = autoencoder_hash(network)
    assert path == own_store.path.with_name(f"store.latents-{identity}")
    latents = read_latents(own_store, identity)
    assert latents.shape == (12, 3, 3, 4, 4)
    assert latents.dtype == np.float16
    for index in (0, 2, 11):
        residual = torch.from_numpy(own_store.clip("residual", index)).float() / 255
        with torch.no_grad():
            expected = network.encode(pad_to_blocks(residual, 4)).half().numpy()
        assert np.array_equal(latents[index], expected)


def test_latents_are_written_once(own_store: Store) -> None:
    path = write_latents(own_store, autoencoder(), CPU)
    before = {file: file.stat().st_mtime_ns for file in path.rglob("*")}
    assert write_latents(own_store, autoencoder(), CPU) == path
    assert {file: file.stat().st_mtime_ns for file in path.rglob("*")} == before
    assert not list(path.parent.glob(".*"))


def test_an_interrupted_cache_is_made_anew(own_store: Store) -> None:
    identity = autoencoder_hash(autoencoder())
    torn = own_store.path.with_name(f".store.latents-{identity}")
    torn.mkdir()
    (torn / "half").touch()
    with pytest.raises(UserError, match="no latents at"):
        read_latents(own_store, identity)
    write_latents(own_store, autoencoder(), CPU)
    assert len(read_latents(own_store, identity)) == len(own_store)


def test_another_autoencoder_has_another_place(own_store: Store) -> None:
    changed = autoencoder()
    with torch.no_grad():
        changed.synthesis.weight[0, 0] += 1e-6
    paths = {write_latents(own_store, net, CPU) for net in (autoencoder(), changed, autoencoder(1))}
    assert len(paths) == 3
    assert all(path.is_dir() for path in paths)


def test_latents_of_another_extraction_are_refused(own_store: Store) -> None:
    path = write_latents(own_store, autoencoder(), CPU)
    zarr.open_group(path).attrs["store_plan"] = "another"
    with pytest.raises(UserError, match="belongs to another extraction; delete it"):
        read_latents(own_store, autoencoder_hash(autoencoder()))


def test_latents_of_the_same_videos_with_other_options_are_refused(own_store: Store) -> None:
    path = write_latents(own_store, autoencoder(), CPU)
    options = own_store.options.model_copy(update={"reference": "previous"})
    other = make_store(own_store.path.with_name("other"), options=options)
    path.rename(other.path.with_name(path.name.replace("store.", "other.", 1)))
    with pytest.raises(UserError, match="another extraction"):
        read_latents(other, autoencoder_hash(autoencoder()))
