from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
import zarr

from shared.errors import UserError
from shared.store import Store
from tests.train.stores import OPTIONS, make_store
from train.data import Clips
from train.latents import read_latents, write_latents
from train.models.autoencoder import pad_to_blocks
from train.models.block_autoencoder import BlockAutoencoder, BlockAutoencoderOptions
from train.spaces.codec import CodecSpace, CodecSpaceOptions

CPU = torch.device("cpu")


def codec(store: Store, seed: int = 0) -> CodecSpace:
    torch.manual_seed(seed)
    network = BlockAutoencoder(BlockAutoencoderOptions(latent_channels=3, hidden=8), 4)
    return CodecSpace(store.options, CodecSpaceOptions(), network)


def write(store: Store, space: CodecSpace | None = None) -> Path:
    return write_latents(store, space or codec(store), Clips(store, None), CPU)


@pytest.fixture
def own_store(tmp_path: Path) -> Store:
    """13 pixels: a grid of 4 blocks of 4, the last ones cut."""
    return make_store(tmp_path / "store", options=OPTIONS.model_copy(update={"size": 13}))


def test_latents_are_those_of_the_autoencoder(own_store: Store) -> None:
    space = codec(own_store)
    path, identity = write(own_store, space), space.identity
    assert path == own_store.path.with_name(f"store.latents-{identity}")
    latents = read_latents(own_store, identity)
    assert latents.shape == (12, 3, 3, 4, 4)
    assert latents.dtype == np.float16
    for index in (0, 2, 11):
        residual = torch.from_numpy(own_store.clip("residual", index)).float() / 255
        with torch.no_grad():
            expected = space.autoencoder.encode(pad_to_blocks(residual, 4)).half().numpy()
        assert np.array_equal(latents[index], expected)


def test_latents_are_written_once(own_store: Store) -> None:
    path = write(own_store)
    before = {file: file.stat().st_mtime_ns for file in path.rglob("*")}
    assert write(own_store) == path
    assert {file: file.stat().st_mtime_ns for file in path.rglob("*")} == before
    assert not list(path.parent.glob(".*"))


def test_an_interrupted_cache_is_made_anew(own_store: Store) -> None:
    identity = codec(own_store).identity
    torn = own_store.path.with_name(f".store.latents-{identity}")
    torn.mkdir()
    (torn / "half").touch()
    with pytest.raises(UserError, match="no latents at"):
        read_latents(own_store, identity)
    write(own_store)
    assert len(read_latents(own_store, identity)) == len(own_store)


def test_another_autoencoder_has_another_place(own_store: Store) -> None:
    changed = codec(own_store)
    with torch.no_grad():
        changed.autoencoder.synthesis.weight[0, 0] += 1e-6
    spaces = (codec(own_store), changed, codec(own_store, seed=1))
    paths = {write(own_store, space) for space in spaces}
    assert len(paths) == 3
    assert all(path.is_dir() for path in paths)


def test_latents_of_another_extraction_are_refused(own_store: Store) -> None:
    path = write(own_store)
    zarr.open_group(path).attrs["store_plan"] = "another"
    with pytest.raises(UserError, match="belongs to another extraction; delete it"):
        read_latents(own_store, codec(own_store).identity)


def test_latents_of_the_same_videos_with_other_options_are_refused(own_store: Store) -> None:
    path = write(own_store)
    options = own_store.options.model_copy(update={"reference": "previous"})
    other = make_store(own_store.path.with_name("other"), options=options)
    path.rename(other.path.with_name(path.name.replace("store.", "other.", 1)))
    with pytest.raises(UserError, match="another extraction"):
        read_latents(other, codec(own_store).identity)
