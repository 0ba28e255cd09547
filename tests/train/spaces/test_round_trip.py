"""What encoding and decoding a clip loses is what the space's own autoencoder loses, no more."""

from __future__ import annotations

from functools import partial

import pytest
import torch
from torch import Tensor

from shared.conventions import REFERENCES, Reference
from shared.schema import CodecOptions
from tests.train.spaces.clips import codec_options, stored
from train.data.clips import ClipBatch
from train.models.autoencoder import Autoencoder, pad_to_blocks
from train.models.block_autoencoder import BlockAutoencoder, BlockAutoencoderOptions
from train.models.conditioned import ConditionedAutoencoder
from train.models.kl_autoencoder import KlAutoencoder, KlAutoencoderOptions
from train.spaces import CompressedSpace, SpaceOptions, Statistics, build_space
from train.spaces.codec import CodecSpaceOptions
from train.spaces.difference import DifferenceSpaceOptions
from train.spaces.latent import LatentSpaceOptions
from train.spaces.rgb import RgbSpaceOptions

CLIPS = 6
ROUNDED = 0.75
"""Grey levels: half for whole ones, and some for float32."""

FLIPPED = 1.0
"""Grey levels: a frame before, in a loop, may have been rounded up where encoding rounded down."""

LOSSY: dict[str, SpaceOptions] = {
    "latent": LatentSpaceOptions(factor=4),
    "codec": CodecSpaceOptions(),
    "codec, closed loop": CodecSpaceOptions(closed_loop=True),
    "codec, conditioned": CodecSpaceOptions(conditioned_decoder=True),
    "codec, both": CodecSpaceOptions(closed_loop=True, conditioned_decoder=True),
}
KINDS = ("block", "kl")


def autoencoder(kind: str, conditioned: bool) -> Autoencoder:
    """Few latents; of the second kind, untrained, so that it loses nearly everything."""
    torch.manual_seed(0)
    plain: Autoencoder
    if kind == "block":
        plain = BlockAutoencoder(BlockAutoencoderOptions(latent_channels=6, hidden=8), 4)
    else:
        options = KlAutoencoderOptions(latent_channels=2, channels=(8, 8, 8), layers_per_block=1)
        plain = KlAutoencoder(options, 4)
    return ConditionedAutoencoder(plain).eval() if conditioned else plain.eval()


def fitted(options: SpaceOptions, store: CodecOptions, kind: str) -> CompressedSpace:
    conditioned = getattr(options, "conditioned_decoder", False)
    build = partial(build_space, options, store, autoencoder(kind, conditioned))
    bare, batch = build(), stored(store, CLIPS)[0]
    assert isinstance(bare, CompressedSpace)
    bare.autoencoder.start_from(bare.examples(batch)[0])
    if conditioned:  # its last layer starts at zero: then the prediction would not matter
        torch.nn.init.normal_(bare.autoencoder.correction[-1].weight, std=0.05)
    space = build(Statistics.of([bare.unscaled(batch)]))
    assert isinstance(space, CompressedSpace)
    return space


def own_loss(space: CompressedSpace, picture: Tensor, prediction: Tensor, levels: float) -> Tensor:
    """What the autoencoder alone makes of frames (N, 3, H, W) on its scale: error, grey levels."""
    size, cell = picture.shape[-1], space.cell
    scaled = pad_to_blocks(picture / levels, cell)
    seen = pad_to_blocks(prediction / 127.5 - 1, cell) if space.autoencoder.context else None
    found = space.autoencoder.decode(space.autoencoder.encode(scaled), seen)
    return ((found - scaled)[..., :size, :size] * levels).abs()


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("reference", REFERENCES)
@pytest.mark.parametrize("name", LOSSY)
@torch.no_grad()
def test_a_clip_loses_what_the_autoencoder_loses(
    name: str, reference: Reference, kind: str
) -> None:
    """Pixel by pixel. Residuals in an open loop pile their errors up along the motion."""
    store = codec_options(size=13, reference=reference)
    space = fitted(LOSSY[name], store, kind)
    batch, clips = stored(store, CLIPS)
    decoded = space.decode(space.encode(batch), batch.first_frame)
    error = (decoded.frames.float() - clips.float()).abs()[:, 1:]
    assert error.mean() > 1, "it does lose something"
    assert decoded.frames[:, 0].equal(clips[:, 0])
    truth = clips[:, 1:].flatten(0, 1).float()
    if name == "latent":
        own = own_loss(space, truth - 127.5, truth, 127.5).view_as(error)
        assert (error <= own + ROUNDED).all()
        return
    in_loop = reference == "first" or "closed" in name or "both" in name
    predicted = decoded.parts["prediction"].float() if in_loop else exact_prediction(batch, clips)
    own = own_loss(space, truth - predicted.flatten(0, 1), predicted.flatten(0, 1), 255)
    own = own.view_as(error)
    if in_loop:
        before = 0 if reference == "first" else torch.arange(error.shape[1]).view(-1, 1, 1, 1)
        assert (error <= own + ROUNDED + FLIPPED * before).all()
    elif not space.autoencoder.context:  # a prediction that is not exact is seen otherwise
        most = own.amax(dim=(2, 3, 4)).cumsum(dim=1) + ROUNDED * torch.arange(1, 4)
        assert (error.amax(dim=(2, 3, 4)) <= most).all()


def exact_prediction(batch: ClipBatch, clips: Tensor) -> Tensor:
    return clips[:, 1:].float() - batch.residual.float()


@pytest.mark.parametrize("options", [RgbSpaceOptions(), DifferenceSpaceOptions()])
def test_pixels_lose_nothing(options: SpaceOptions) -> None:
    store = codec_options(size=13)
    batch, clips = stored(store, CLIPS)
    space = build_space(options, store)
    assert space.decode(space.encode(batch), batch.first_frame).frames.equal(clips)
