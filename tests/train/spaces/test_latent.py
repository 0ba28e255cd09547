from __future__ import annotations

import pytest
import torch

from shared.conventions import REFERENCES, Reference, grid_shape
from tests.train.spaces.clips import codec_options, stored
from train.models.block_autoencoder import BlockAutoencoder, BlockAutoencoderOptions
from train.models.layers import pad_to_blocks
from train.spaces.latent import LatentSpace, LatentSpaceOptions


def latent_space(size: int | str, reference: Reference, latents: int = 12) -> LatentSpace:
    """With factor 2 a cell has 12 values: as many latents lose nothing."""
    torch.manual_seed(0)
    store = codec_options(size, reference)
    options = BlockAutoencoderOptions(latent_channels=latents, hidden=8)
    network = BlockAutoencoder(options, 2, store)
    network.fit_initial(torch.randn(40, 3, 8, 8))
    return LatentSpace(store, LatentSpaceOptions(factor=2), network)


@pytest.mark.parametrize("reference", REFERENCES)
@pytest.mark.parametrize("size", [16, 13, "22x13"])
def test_a_lossless_autoencoder_restores_the_clips(size: int | str, reference: Reference) -> None:
    space = latent_space(size, reference)
    batch, clips = stored(space.store)
    x0 = space.encode(batch)
    assert x0.shape == (2, *space.shape) == (2, 12, 3, *grid_shape(*space.store.size, 2))
    assert space.cell == 2
    assert space.decode(x0, vars(batch)).frames.equal(clips)


def test_latents_are_those_of_the_frames() -> None:
    space = latent_space(13, "previous", latents=3)
    batch, clips = stored(space.store)
    expected = space.autoencoder.encode(pad_to_blocks(clips[1, 3:] / 127.5 - 1, 2))
    assert torch.allclose(space.compress(batch)[1, 2:], expected, atol=1e-5)


def test_the_autoencoder_learns_from_frames_over_the_whole_clip() -> None:
    space = latent_space(13, "first")
    batch, clips = stored(space.store)
    pictures, context = space.pictures(batch)
    assert context is None
    assert pictures.shape == (8, 3, 14, 14)
    assert torch.allclose(pictures[..., :13, :13], clips.flatten(0, 1) / 127.5 - 1)
