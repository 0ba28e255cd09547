from __future__ import annotations

import pytest
import torch

from shared.conventions import REFERENCES, VECTOR_UNITS, Reference, motion_channels
from shared.schema import CodecOptions
from tests.train.spaces.clips import BLOCK, codec_options, stored
from train.data.motion_compensation import predict_next
from train.evaluate.metrics.frames import psnr
from train.models.block_autoencoder import BlockAutoencoder, BlockAutoencoderOptions
from train.models.conditioned import ConditionedAutoencoder
from train.models.refiner import Refiner, RefinerOptions
from train.spaces import Statistics
from train.spaces.codec import CodecSpace, CodecSpaceOptions

VALUES = 48


def lossless() -> BlockAutoencoder:
    """As many latents as a block has values."""
    torch.manual_seed(0)
    network = BlockAutoencoder(BlockAutoencoderOptions(latent_channels=VALUES, hidden=8), BLOCK)
    network.start_from(torch.randn(40, 3, 8, 8) / 10)
    return network


def space(options: CodecOptions, statistics: Statistics | None = None) -> CodecSpace:
    return CodecSpace(options, CodecSpaceOptions(), lossless(), statistics)


@pytest.mark.parametrize("reference", REFERENCES)
@pytest.mark.parametrize("unit", VECTOR_UNITS)
@pytest.mark.parametrize("size", [16, 13, 4, 3])
def test_a_lossless_autoencoder_gives_the_clips_back(
    size: int, unit: int, reference: Reference
) -> None:
    options = codec_options(size, reference, unit=unit)
    batch, clips = stored(options)
    codec = space(options)
    statistics = Statistics.of([codec.encode(batch)])
    codec = space(options, statistics)
    x0 = codec.encode(batch)
    decoded = codec.decode(x0, batch.first_frame)
    assert (
        x0.shape
        == (2, *codec.shape)
        == (2, motion_channels(reference) + 48, 3, -(-size // 4), -(-size // 4))
    )
    assert decoded.frames.dtype == torch.uint8
    assert decoded.frames.equal(clips)
    assert decoded.parts["motion"].equal(batch.motion)
    assert decoded.parts["residual"].equal(batch.residual)
    assert (clips[:, 1:].to(torch.int16) - decoded.parts["prediction"]).equal(batch.residual)


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
    x0 = space(options, Statistics.of([space(options).encode(batch)])).encode(batch)
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


def test_vectors_round_to_pixels_and_stay_within_the_search_range() -> None:
    codec = space(codec_options(reach=3))
    x0 = torch.zeros(1, *codec.shape)
    x0[0, 0, :, 0, 0] = torch.tensor([50.0, -50.0, 1.6 / 3])
    x0[0, 1, :, 0, 0] = torch.tensor([0.4 / 3, -1.0, -1.4 / 3])
    motion = codec.decode(x0, torch.zeros(1, 3, 16, 16, dtype=torch.uint8)).parts["motion"]
    assert motion.dtype == torch.int8
    assert motion[0, :, :, 0, 0].tolist() == [[3, 0], [-3, -3], [2, -1]]


def test_vectors_between_pixels_round_to_their_unit() -> None:
    codec = space(codec_options(reach=3, unit=4))
    x0 = torch.zeros(1, *codec.shape)
    x0[0, 0, :, 0, 0] = torch.tensor([50.0, 1.6 / 3, -1.4 / 3])  # shares of the search range
    motion = codec.decode(x0, torch.zeros(1, 3, 16, 16, dtype=torch.uint8)).parts["motion"]
    assert motion[0, :, 0, 0, 0].tolist() == [12, 6, -6]


def test_the_index_is_decoded_by_a_threshold() -> None:
    codec = space(codec_options(reference="either"))
    x0 = torch.zeros(1, *codec.shape)
    x0[0, 2, :, 0, 0] = torch.tensor([0.49, 0.51, 7.0])
    x0[0, 2, :, 0, 1] = torch.tensor([-7.0, -0.6, 1.4])
    frames = torch.zeros(1, 3, 16, 16, dtype=torch.uint8)
    motion = codec.decode(x0, frames).parts["motion"]
    assert motion[0, :, 2, 0, :2].tolist() == [[0, 0], [1, 0], [1, 1]]
    assert not motion[:, :, :2].any()


def test_residuals_clamp_to_what_grey_levels_allow() -> None:
    codec = space(codec_options())
    x0 = 1e4 * torch.randn(1, *codec.shape, generator=torch.Generator().manual_seed(0))
    decoded = codec.decode(x0, torch.zeros(1, 3, 16, 16, dtype=torch.uint8))
    rest = decoded.parts["residual"]
    assert (int(rest.min()), int(rest.max())) == (-255, 255)


def coarse(options: CodecOptions, *, closed_loop: bool) -> CodecSpace:
    """An autoencoder of few latents, fitted to the residuals."""
    batch, _ = stored(options, 8)
    network = BlockAutoencoder(BlockAutoencoderOptions(latent_channels=6, hidden=8), BLOCK)
    codec = CodecSpace(options, CodecSpaceOptions(closed_loop=closed_loop), network)
    network.start_from(codec.examples(batch)[0])
    return codec


def test_in_a_closed_loop_errors_do_not_pile_up() -> None:
    options = codec_options(reference="previous")
    batch, clips = stored(options, 8)
    last = {}
    for closed_loop in (False, True):
        codec = coarse(options, closed_loop=closed_loop)
        decoded = codec.decode(codec.encode(batch), batch.first_frame)
        last[closed_loop] = float(psnr(decoded.frames[:, -1], clips[:, -1]).mean())
    assert last[True] > last[False] + 0.3


@pytest.mark.parametrize("unit", VECTOR_UNITS)
@pytest.mark.parametrize("reference", ["previous", "either"])
def test_a_closed_loop_decodes_what_its_encoder_saw(unit: int, reference: Reference) -> None:
    """Each residual is that of the frame against what the decoder has made of the one before."""
    options = codec_options(size=13, reference=reference, unit=unit)
    batch, clips = stored(options)
    codec = coarse(options, closed_loop=True)
    decoded = codec.decode(codec.encode(batch), batch.first_frame)
    _, latents = codec.vectors_and_latents(codec.unscaled(batch))
    for n in range(3):
        difference = clips[:, n + 1].int() - decoded.parts["prediction"][:, n].int()
        padded = torch.nn.functional.pad(difference, (0, 3, 0, 3)) / 255
        assert torch.allclose(codec.autoencoder.encode(padded), latents[:, n], atol=1e-5)


def test_loops_that_differ_have_caches_that_differ() -> None:
    options = codec_options(reference="previous")
    network = lossless()
    spaces = [CodecSpace(options, CodecSpaceOptions(closed_loop=c), network) for c in (False, True)]
    assert spaces[0].identity != spaces[1].identity
    first = codec_options(reference="first")
    spaces = [CodecSpace(first, CodecSpaceOptions(closed_loop=c), network) for c in (False, True)]
    assert spaces[0].identity == spaces[1].identity


@pytest.mark.parametrize("reference", REFERENCES)
@torch.no_grad()
def test_a_conditioned_decoder_sees_the_prediction(reference: Reference) -> None:
    options = codec_options(size=13, reference=reference)
    batch, clips = stored(options)
    network = ConditionedAutoencoder(lossless(), width=8)
    codec = CodecSpace(options, CodecSpaceOptions(conditioned_decoder=True), network)
    x0 = codec.encode(batch)
    assert codec.decode(x0, batch.first_frame).frames.equal(clips), "it starts at no correction"
    pictures, predictions = codec.examples(batch)
    assert pictures.shape == predictions.shape == (2 * 3, 3, 16, 16)
    seen = (predictions[..., :13, :13] + 1) * 127.5 + pictures[..., :13, :13] * 255
    assert torch.allclose(seen, clips[:, 1:].flatten(0, 1).float(), atol=1e-2)
    torch.nn.init.normal_(network.correction[-1].weight)
    brighter = (batch.first_frame // 2) + 60
    residuals = [
        codec.decode(x0, frame).parts["residual"] for frame in (batch.first_frame, brighter)
    ]
    assert not residuals[0].equal(residuals[1])


@pytest.mark.parametrize("reference", REFERENCES)
@torch.no_grad()
def test_a_refining_network_stands_in_the_loop_only_where_frames_depend_on_each_other(
    reference: Reference,
) -> None:
    options = codec_options(reference=reference)
    batch, clips = stored(options)
    torch.manual_seed(0)
    refiner = Refiner(RefinerOptions(width=8, passes=1))
    plain = space(options)
    refining = plain.with_refiner(refiner)
    x0 = plain.encode(batch)
    decoded = refining.decode(x0, batch.first_frame)
    assert decoded.frames.equal(clips), "it starts as the identity"
    torch.nn.init.normal_(refiner.output.weight, std=0.1)
    decoded = refining.decode(x0, batch.first_frame)
    assert decoded.parts["unrefined"].equal(clips)
    assert plain.refiner is None
    source = clips if reference == "first" else decoded.frames
    for n in (1, 2):
        frames = source[:, n], clips[:, 0], batch.motion[:, n]
        expected = predict_next(*frames, block=BLOCK, reference=reference, vector_unit=1)
        assert decoded.parts["prediction"][:, n].equal(expected)
