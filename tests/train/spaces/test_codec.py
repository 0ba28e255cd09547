from __future__ import annotations

from itertools import product

import pytest
import torch
import torch.nn.functional as functional
from hypothesis import given, settings
from hypothesis import strategies as st

from shared.conventions import (
    COMPENSATIONS,
    REFERENCES,
    VECTOR_UNITS,
    Compensation,
    FrameSize,
    Reference,
    motion_channels,
)
from shared.schema import CodecOptions
from tests.train.spaces.clips import BLOCK, codec_options, stored
from train.data.motion_compensation import predict_next
from train.evaluate.metrics.frames import psnr
from train.models.autoencoder import Autoencoder
from train.models.block_autoencoder import BlockAutoencoder, BlockAutoencoderOptions
from train.models.contextual import (
    NEIGHBOURS,
    ContextualAutoencoder,
    ContextualOptions,
    context_names,
)
from train.models.linear_codes import KltAutoencoder, KltOptions
from train.models.refiner import Refiner, RefinerOptions
from train.spaces import Decoded, Statistics
from train.spaces.codec import CodecSpace, CodecSpaceOptions
from train.spaces.predicted import DecoderContext

VALUES = 48


def lossless() -> BlockAutoencoder:
    """As many latents as a block has values."""
    torch.manual_seed(0)
    options = BlockAutoencoderOptions(latent_channels=VALUES, hidden=8)
    network = BlockAutoencoder(options, BLOCK, codec_options())
    network.fit_initial(torch.randn(40, 3, 8, 8) / 10)
    return network


def space(options: CodecOptions, statistics: Statistics | None = None) -> CodecSpace:
    return CodecSpace(options, CodecSpaceOptions(), lossless(), statistics)


def on_black(codec: CodecSpace, x0: torch.Tensor) -> Decoded:
    return codec.decode(x0, {"first_frame": torch.zeros(1, 3, 16, 16, dtype=torch.uint8)})


@settings(max_examples=20, deadline=None)
@given(
    size=st.builds(FrameSize, st.integers(3, 17), st.integers(3, 17)),
    unit=st.sampled_from(VECTOR_UNITS),
    reference=st.sampled_from(REFERENCES),
    compensation=st.sampled_from(COMPENSATIONS),
)
def test_a_lossless_autoencoder_restores_the_clips(
    size: FrameSize, unit: int, reference: Reference, compensation: Compensation
) -> None:
    options = codec_options(size, reference, unit=unit, compensation=compensation)
    batch, clips = stored(options)
    statistics = Statistics.of([space(options).encode(batch)])
    codec = space(options, statistics)
    x0 = codec.encode(batch)
    decoded = codec.decode(x0, vars(batch))
    assert x0.shape == (2, *codec.shape) == (2, motion_channels(reference) + 48, 3, *options.grid)
    assert decoded.frames.dtype == torch.uint8
    assert decoded.frames.equal(clips)
    assert decoded.parts["motion"].equal(batch.motion)
    assert decoded.parts["residual"].equal(batch.residual)
    assert (clips[:, 1:].to(torch.int16) - decoded.parts["prediction"]).equal(batch.residual)


def test_without_search_motion_stays_zero() -> None:
    options = codec_options(reach=0)
    batch, clips = stored(options)
    codec = space(options)
    assert codec.decode(codec.encode(batch), vars(batch)).frames.equal(clips)


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
    motion = on_black(codec, x0).parts["motion"]
    assert motion.dtype == torch.int8
    assert motion[0, :, :, 0, 0].tolist() == [[3, 0], [-3, -3], [2, -1]]


def test_vectors_between_pixels_round_to_their_unit() -> None:
    codec = space(codec_options(reach=3, unit=4))
    x0 = torch.zeros(1, *codec.shape)
    x0[0, 0, :, 0, 0] = torch.tensor([50.0, 1.6 / 3, -1.4 / 3])  # fractions of the search range
    assert on_black(codec, x0).parts["motion"][0, :, 0, 0, 0].tolist() == [12, 6, -6]


def test_the_reference_index_is_decoded_by_a_threshold() -> None:
    codec = space(codec_options(reference="either"))
    x0 = torch.zeros(1, *codec.shape)
    x0[0, 2, :, 0, 0] = torch.tensor([0.49, 0.51, 7.0])
    x0[0, 2, :, 0, 1] = torch.tensor([-7.0, -0.6, 1.4])
    motion = on_black(codec, x0).parts["motion"]
    assert motion[0, :, 2, 0, :2].tolist() == [[0, 0], [1, 0], [1, 1]]
    assert not motion[:, :, :2].any()


def test_residuals_are_clamped_to_the_range_of_grey_levels() -> None:
    codec = space(codec_options())
    x0 = 1e4 * torch.randn(1, *codec.shape, generator=torch.Generator().manual_seed(0))
    residual = on_black(codec, x0).parts["residual"]
    assert (int(residual.min()), int(residual.max())) == (-255, 255)


def coarse(options: CodecOptions, *, closed_loop: bool) -> CodecSpace:
    """An autoencoder of few latents, fitted to the residuals."""
    batch, _ = stored(options, 8)
    network = BlockAutoencoder(BlockAutoencoderOptions(latent_channels=6, hidden=8), BLOCK, options)
    codec = CodecSpace(options, CodecSpaceOptions(closed_loop=closed_loop), network)
    network.fit_initial(codec.pictures(batch)[0])
    return codec


def test_in_a_closed_loop_errors_do_not_accumulate() -> None:
    options = codec_options(reference="previous")
    batch, clips = stored(options, 8)
    last = {}
    for closed_loop in (False, True):
        codec = coarse(options, closed_loop=closed_loop)
        decoded = codec.decode(codec.encode(batch), vars(batch))
        last[closed_loop] = float(psnr(decoded.frames[:, -1], clips[:, -1]).mean())
    assert last[True] > last[False] + 0.3


@pytest.mark.parametrize("unit", VECTOR_UNITS)
@pytest.mark.parametrize("reference", ["previous", "either"])
def test_a_closed_loop_encodes_residuals_against_the_decoded_frame_before(
    unit: int, reference: Reference
) -> None:
    options = codec_options(size=13, reference=reference, unit=unit)
    batch, clips = stored(options)
    codec = coarse(options, closed_loop=True)
    x0 = codec.encode(batch)
    decoded = codec.decode(x0, vars(batch))
    _, latents = codec.vectors_and_latents(x0)
    for n in range(3):
        difference = clips[:, n + 1].int() - decoded.parts["prediction"][:, n].int()
        padded = functional.pad(difference, (0, 3, 0, 3)) / 255
        assert torch.allclose(codec.autoencoder.encode(padded), latents[:, n], atol=1e-5)


def test_the_loop_is_part_of_the_identity_where_there_is_one() -> None:
    options = codec_options(reference="previous")
    network = lossless()
    spaces = [CodecSpace(options, CodecSpaceOptions(closed_loop=c), network) for c in (False, True)]
    assert spaces[0].identity != spaces[1].identity
    first = codec_options(reference="first")
    spaces = [CodecSpace(first, CodecSpaceOptions(closed_loop=c), network) for c in (False, True)]
    assert spaces[0].identity == spaces[1].identity


@pytest.mark.parametrize("compensation", COMPENSATIONS)
@pytest.mark.parametrize("reference", REFERENCES)
@torch.no_grad()
def test_the_refiner_is_in_the_loop_only_where_frames_depend_on_the_one_before(
    reference: Reference, compensation: Compensation
) -> None:
    options = codec_options(reference=reference, compensation=compensation)
    batch, clips = stored(options)
    torch.manual_seed(0)
    refiner = Refiner(RefinerOptions(width=8, passes=1))
    plain = space(options)
    refining = plain.with_refiner(refiner)
    x0 = plain.encode(batch)
    decoded = refining.decode(x0, vars(batch))
    assert decoded.frames.equal(clips), "it starts as the identity"
    torch.nn.init.normal_(refiner.output.weight, std=0.1)
    decoded = refining.decode(x0, vars(batch))
    assert decoded.parts["unrefined"].equal(clips)
    assert plain.refiner is None
    source = clips if reference == "first" else decoded.frames
    for n in (1, 2):
        frames = source[:, n], clips[:, 0], batch.motion[:, n]
        expected = predict_next(*frames, options.codec)
        assert decoded.parts["prediction"][:, n].equal(expected)


@pytest.mark.parametrize("compensation", COMPENSATIONS)
@pytest.mark.parametrize("name", NEIGHBOURS)
def test_a_neighbours_vector_moves_the_block(name: str, compensation: Compensation) -> None:
    """Block by block, from the frame before, against plain indexing."""
    options = codec_options(16, "previous", reach=2, compensation=compensation)
    batch, clips = stored(options)
    context = DecoderContext(clips[:, 1], clips[:, 0], clips[:, 0], batch.motion[:, 0])
    picture = context.pictures([name], options)
    rows, columns = options.grid
    for y in range(rows):
        for x in range(columns):
            down, across = NEIGHBOURS[name]
            of = min(max(y + down, 0), rows - 1), min(max(x + across, 0), columns - 1)
            dx, dy = batch.motion[0, 0, :, of[0], of[1]].tolist()
            for row in range(y * BLOCK, (y + 1) * BLOCK):
                for column in range(x * BLOCK, (x + 1) * BLOCK):
                    source = min(max(row + dy, 0), 15), min(max(column + dx, 0), 15)
                    expected = clips[0, 0, :, source[0], source[1]]
                    assert picture[0, :, row, column].equal(expected)


def test_context_pictures_are_in_the_order_of_their_names() -> None:
    options = codec_options(16, "previous")
    batch, clips = stored(options)
    context = DecoderContext(clips[:, 1], clips[:, 2], clips[:, 3], batch.motion[:, 0])
    pictures = context.pictures(["prediction", "first", "before"], options)
    assert pictures.equal(torch.cat([clips[:, 1], clips[:, 3], clips[:, 2]], dim=1))


def test_there_is_no_frame_before_where_all_are_decoded_in_parallel() -> None:
    assert "before" not in context_names("first")
    assert "before" in context_names("previous")
    assert {context_names(reference)[0] for reference in REFERENCES} == {"prediction"}


def contextual(
    reference: Reference, *, closed_loop: bool, compensation: Compensation = "block"
) -> tuple[CodecSpace, float, float]:
    """A fitted space, and the mean squared errors of a KLT and of it on the clips of the fit."""
    options = codec_options(13, reference, compensation=compensation)
    batch, clips = stored(options, 8)
    code = ContextualAutoencoder(ContextualOptions(latent_channels=6, fixed=12), BLOCK, options)
    klt = KltAutoencoder(KltOptions(latent_channels=6), BLOCK, options)

    def fitted(network: Autoencoder) -> tuple[CodecSpace, float]:
        space = CodecSpace(options, CodecSpaceOptions(closed_loop=closed_loop), network)
        for index in range(network.initial_fits):
            network.fit_initial(*space.pictures(batch, closed_loop=index > 0))
        frames = space.decode(space.encode(batch), vars(batch)).frames
        return space, float((frames.float() - clips.float()).square().mean())

    _, error_of_klt = fitted(klt)
    space, error = fitted(code)
    return space, error_of_klt, error


@pytest.mark.parametrize(
    ("reference", "compensation"),
    [*product(REFERENCES, ["block"]), ("either", "overlapped")],
)
def test_the_decoder_has_the_context_that_the_encoder_had(
    reference: Reference, compensation: Compensation
) -> None:
    """Else the two would use different codes, and decoded frames would be far from the best."""
    space, error_of_klt, error = contextual(reference, closed_loop=True, compensation=compensation)
    assert error < 1.1 * error_of_klt
    batch, clips = stored(space.store, 8)
    decoded = space.decode(space.encode(batch), vars(batch))
    pictures, contexts = space.pictures(batch, closed_loop=True)
    assert contexts is not None
    width = 3 * len(context_names(reference))
    assert contexts.shape == (8 * 3, width, 16, 16)
    prediction = decoded.parts["prediction"].flatten(0, 1)
    given = ((contexts[:, :3, :13, :13] + 1) * 127.5).round().to(torch.uint8)
    assert given.equal(prediction)
    residual = clips[:, 1:].flatten(0, 1).int() - prediction.int()
    assert torch.allclose(pictures[..., :13, :13] * 255, residual.float(), atol=1e-3)


@pytest.mark.parametrize("reference", REFERENCES)
def test_an_open_loop_has_no_other_pictures(reference: Reference) -> None:
    space, *_ = contextual(reference, closed_loop=False)
    batch, _ = stored(space.store, 8)
    pairs = zip(space.pictures(batch, closed_loop=True), space.pictures(batch), strict=True)
    for closed, opened in pairs:
        assert closed is not None and opened is not None
        assert closed.equal(opened)
