"""Encoding and decoding a clip loses what the space's own autoencoder loses, no more."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from shared.conventions import REFERENCES, Reference
from shared.schema import CodecOptions
from tests.train.spaces.clips import codec_options, stored
from train.data.clips import ClipBatch
from train.models.autoencoder import Autoencoder
from train.models.block_autoencoder import BlockAutoencoder, BlockAutoencoderOptions
from train.models.kl_autoencoder import KlAutoencoder, KlAutoencoderOptions
from train.models.layers import pad_to_blocks
from train.spaces import CompressedSpace, Statistics, build_space
from train.spaces.codec import CodecSpaceOptions
from train.spaces.latent import LatentSpaceOptions

CLIPS = 6
ROUNDED = 0.75
"""Grey levels: half for whole ones, and some for float32."""

FLIPPED = 1.0
"""Grey levels: a frame before, in a loop, may have been rounded up where encoding rounded down."""

LOSSY: dict[str, LatentSpaceOptions | CodecSpaceOptions] = {
    "latent": LatentSpaceOptions(factor=4),
    "codec": CodecSpaceOptions(),
    "codec, closed loop": CodecSpaceOptions(closed_loop=True),
}
KINDS = ("block", "kl")


def autoencoder(kind: str, store: CodecOptions) -> Autoencoder:
    """Few latents; of the second kind, untrained, so that it loses nearly everything."""
    torch.manual_seed(0)
    if kind == "block":
        options = BlockAutoencoderOptions(latent_channels=6, hidden=8)
        return BlockAutoencoder(options, 4, store).eval()
    small = KlAutoencoderOptions(latent_channels=2, channels=(8, 8, 8), layers_per_block=1)
    return KlAutoencoder(small, 4, store).eval()


def fitted(
    options: LatentSpaceOptions | CodecSpaceOptions, store: CodecOptions, kind: str
) -> CompressedSpace:
    bare, batch = build_space(options, store, autoencoder(kind, store)), stored(store, CLIPS)[0]
    assert isinstance(bare, CompressedSpace)
    if bare.autoencoder.initial_fits:
        bare.autoencoder.fit_initial(*bare.pictures(batch))
    return bare.with_statistics(Statistics.of([bare.encode(batch)]))


def own_loss(space: CompressedSpace, picture: Tensor, levels: float) -> Tensor:
    """Error of the autoencoder alone on frames (N, 3, H, W) divided by `levels`, grey levels."""
    height, width = picture.shape[-2:]
    scaled = pad_to_blocks(picture / levels, space.cell)
    found = space.autoencoder.decode(space.autoencoder.encode(scaled))
    return ((found - scaled)[..., :height, :width] * levels).abs()


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("reference", REFERENCES)
@pytest.mark.parametrize("name", LOSSY)
@torch.no_grad()
def test_a_clip_loses_what_the_autoencoder_loses(
    name: str, reference: Reference, kind: str
) -> None:
    """Pixel by pixel. In an open loop errors of residuals accumulate along the motion."""
    store = codec_options(size="17x13", reference=reference)
    space = fitted(LOSSY[name], store, kind)
    batch, clips = stored(store, CLIPS)
    decoded = space.decode(space.encode(batch), vars(batch))
    error = (decoded.frames.float() - clips.float()).abs()[:, 1:]
    assert error.mean() > 1, "it does lose something"
    assert decoded.frames[:, 0].equal(clips[:, 0])
    truth = clips[:, 1:].flatten(0, 1).float()
    if name == "latent":
        own = own_loss(space, truth - 127.5, 127.5).view_as(error)
        assert (error <= own + ROUNDED).all()
        return
    in_loop = reference == "first" or "closed" in name
    predicted = decoded.parts["prediction"].float() if in_loop else exact_prediction(batch, clips)
    own = own_loss(space, truth - predicted.flatten(0, 1), 255).view_as(error)
    if in_loop:
        before = 0 if reference == "first" else torch.arange(error.shape[1]).view(-1, 1, 1, 1)
        assert (error <= own + ROUNDED + FLIPPED * before).all()
    else:
        most = own.amax(dim=(2, 3, 4)).cumsum(dim=1) + ROUNDED * torch.arange(1, 4)
        assert (error.amax(dim=(2, 3, 4)) <= most).all()


def exact_prediction(batch: ClipBatch, clips: Tensor) -> Tensor:
    return clips[:, 1:].float() - batch.residual.float()
