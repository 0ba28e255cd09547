from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor

from shared.compensate import residual
from shared.conventions import REFERENCES, Reference
from shared.schema import CodecOptions
from tests.train.stores import random_clip, random_motion
from train.data import ClipBatch
from train.models.block_autoencoder import BlockAutoencoder, BlockAutoencoderOptions
from train.spaces.codec import CodecSpace, Statistics

BLOCK, VALUES = 4, 48
PLAIN = Statistics((0.0,) * (2 + VALUES), (1.0,) * (2 + VALUES))


def codec_options(size: int = 16, reference: Reference = "first", reach: int = 3) -> CodecOptions:
    return CodecOptions(size=size, frames=4, block=BLOCK, search_range=reach, reference=reference)


def stored(options: CodecOptions, count: int = 2) -> tuple[ClipBatch, Tensor]:
    """A batch as the store holds it, and the clips themselves."""
    clips = [random_clip(options, seed) for seed in range(count)]
    motions = [random_motion(options, seed) for seed in range(count)]
    rests = [
        residual(clip, motion, block=options.block, reference=options.reference)
        for clip, motion in zip(clips, motions, strict=True)
    ]
    whole = torch.from_numpy(np.stack(clips))
    parts = (torch.from_numpy(np.stack(arrays)) for arrays in (motions, rests))
    return ClipBatch(whole[:, 0], *parts, torch.zeros(count, dtype=torch.int64)), whole


def lossless() -> BlockAutoencoder:
    """As many latents as a block has values."""
    torch.manual_seed(0)
    network = BlockAutoencoder(BlockAutoencoderOptions(latent_channels=VALUES, hidden=8), BLOCK)
    network.start_from(torch.randn(40, 3, 8, 8) / 10)
    return network


def space(options: CodecOptions, statistics: Statistics = PLAIN, **more: float) -> CodecSpace:
    return CodecSpace(options, lossless(), statistics, **more)


@pytest.mark.parametrize("reference", REFERENCES)
@pytest.mark.parametrize("size", [16, 13, 4, 3])
def test_a_lossless_autoencoder_gives_the_clips_back(size: int, reference: Reference) -> None:
    options = codec_options(size, reference)
    batch, clips = stored(options)
    codec = space(options)
    statistics = Statistics.of(codec.encode(batch))
    codec = space(options, statistics)
    x0 = codec.encode(batch)
    decoded = codec.decode(x0, batch.first_frame)
    assert x0.shape == (2, *codec.shape) == (2, 50, 3, -(-size // 4), -(-size // 4))
    assert decoded.frames.dtype == torch.uint8
    assert decoded.frames.equal(clips)
    assert decoded.parts["motion"].equal(batch.motion)
    assert decoded.parts["residual"].equal(batch.residual)
    assert ("prediction" in decoded.parts) == (reference == "first")


def test_without_search_motion_stays_zero() -> None:
    options = codec_options(reach=0)
    batch, clips = stored(options)
    codec = space(options)
    assert codec.decode(codec.encode(batch), batch.first_frame).frames.equal(clips)


def test_the_prediction_is_what_the_residual_was_taken_from() -> None:
    options = codec_options()
    batch, clips = stored(options)
    codec = space(options)
    prediction = codec.decode(codec.encode(batch), batch.first_frame).parts["prediction"]
    assert (clips[:, 1:].to(torch.int16) - prediction).equal(batch.residual)


def test_encoded_channels_have_zero_mean_and_unit_deviation() -> None:
    options = codec_options()
    batch, _ = stored(options)
    x0 = space(options, Statistics.of(space(options).encode(batch))).encode(batch)
    assert torch.allclose(x0.mean(dim=(0, 2, 3, 4)), torch.zeros(50), atol=1e-4)
    assert torch.allclose(x0.std(dim=(0, 2, 3, 4), correction=0), torch.ones(50), atol=1e-3)


def test_raw_undoes_standardise() -> None:
    statistics = Statistics(tuple(range(50)), tuple(k + 0.5 for k in range(50)))
    codec = space(codec_options(), statistics)
    raw = torch.randn(2, *codec.shape)
    assert torch.allclose(codec.raw(codec.standardise(raw)), raw, atol=1e-4)
    assert torch.allclose(
        codec.raw(torch.zeros(1, *codec.shape))[0, :, 0, 0, 0], torch.arange(50.0)
    )


def test_statistics_of_known_data() -> None:
    raw = torch.zeros(2, 3, 1, 1, 2)
    raw[:, 0] = torch.tensor([[[1.0, 3.0]]])
    raw[:, 1] = 7
    raw[0, 2], raw[1, 2] = -2, 4
    statistics = Statistics.of(raw)
    assert statistics.mean == (2, 7, 1)
    assert statistics.std == (1, 1, 3)


def test_vectors_round_to_pixels_and_stay_within_the_search_range() -> None:
    codec = space(codec_options(reach=3))
    x0 = torch.zeros(1, *codec.shape)
    x0[0, 0, :, 0, 0] = torch.tensor([50.0, -50.0, 1.6 / 3])
    x0[0, 1, :, 0, 0] = torch.tensor([0.4 / 3, -1.0, -1.4 / 3])
    motion = codec.decode(x0, torch.zeros(1, 3, 16, 16, dtype=torch.uint8)).parts["motion"]
    assert motion.dtype == torch.int8
    assert motion[0, :, :, 0, 0].tolist() == [[3, 0], [-3, -3], [2, -1]]


def test_residuals_clamp_to_what_grey_levels_allow() -> None:
    codec = space(codec_options())
    x0 = 1e4 * torch.randn(1, *codec.shape, generator=torch.Generator().manual_seed(0))
    decoded = codec.decode(x0, torch.zeros(1, 3, 16, 16, dtype=torch.uint8))
    rest = decoded.parts["residual"]
    assert (int(rest.min()), int(rest.max())) == (-255, 255)
