from __future__ import annotations

import pytest
import torch

from shared.conventions import REFERENCES, Reference
from tests.train.spaces.clips import BLOCK, codec_options, stored
from train.models.contextual import ContextualAutoencoder, ContextualOptions
from train.models.linear_codes import KltAutoencoder, KltOptions
from train.spaces.codec import (
    NEIGHBOURS,
    CodecSpace,
    CodecSpaceOptions,
    DecoderContext,
    context_pictures,
    known_pictures,
)


@pytest.mark.parametrize("name", NEIGHBOURS)
def test_a_neighbours_vector_moves_the_block(name: str) -> None:
    """Block by block, from the frame before, against plain indexing."""
    options = codec_options(16, "previous", reach=2)
    batch, clips = stored(options)
    seen = DecoderContext(clips[:, 1], clips[:, 0], clips[:, 0], batch.motion[:, 0])
    picture = context_pictures([name], seen, options)
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


def test_pictures_stand_in_the_order_of_their_names() -> None:
    options = codec_options(16, "previous")
    batch, clips = stored(options)
    seen = DecoderContext(clips[:, 1], clips[:, 2], clips[:, 3], batch.motion[:, 0])
    pictures = context_pictures(["prediction", "first", "before"], seen, options)
    assert pictures.equal(torch.cat([clips[:, 1], clips[:, 3], clips[:, 2]], dim=1))


def test_there_is_no_frame_before_where_all_are_decoded_at_once() -> None:
    assert "before" not in known_pictures("first")
    assert "before" in known_pictures("previous")
    assert {known_pictures(reference)[0] for reference in REFERENCES} == {"prediction"}


def contextual(reference: Reference, *, closed_loop: bool) -> tuple[CodecSpace, list[float]]:
    """Fitted in two rounds; beside it what the KLT and it lose of the clips it was fitted to."""
    options = codec_options(13, reference)
    batch, clips = stored(options, 8)
    code = ContextualAutoencoder(
        ContextualOptions(latent_channels=6, fixed=12), BLOCK, known_pictures(reference)
    )
    klt = KltAutoencoder(KltOptions(latent_channels=6), BLOCK)
    how, errors, space = CodecSpaceOptions(closed_loop=closed_loop), [], None
    for network in (klt, code):
        space = CodecSpace(options, how, network)
        network.start_from(*space.examples(batch))
        if network.rounds > 1:
            network.start_from(*space.met(batch))
        frames = space.decode(space.encode(batch), batch.first_frame).frames
        errors.append(float((frames.float() - clips.float()).square().mean()))
    assert space is not None
    return space, errors


@pytest.mark.parametrize("reference", REFERENCES)
def test_the_decoder_has_the_context_that_the_encoder_had(reference: Reference) -> None:
    """Else the two would use different codes: what comes back would be far from the best."""
    space, (of_klt, of_contextual) = contextual(reference, closed_loop=True)
    assert of_contextual < 1.1 * of_klt
    batch, clips = stored(space.store, 8)
    decoded = space.decode(space.encode(batch), batch.first_frame)
    pictures, contexts = space.met(batch)
    assert contexts is not None
    width = 3 * len(known_pictures(reference))
    assert contexts.shape == (8 * 3, width, 16, 16)
    prediction = decoded.parts["prediction"].flatten(0, 1)
    seen = ((contexts[:, :3, :13, :13] + 1) * 127.5).round().to(torch.uint8)
    assert seen.equal(prediction)
    residual = clips[:, 1:].flatten(0, 1).int() - prediction.int()
    assert torch.allclose(pictures[..., :13, :13] * 255, residual.float(), atol=1e-3)


@pytest.mark.parametrize("reference", REFERENCES)
def test_in_an_open_loop_what_is_met_is_what_is_stored(reference: Reference) -> None:
    space, _ = contextual(reference, closed_loop=False)
    batch, _ = stored(space.store, 8)
    for met, example in zip(space.met(batch), space.examples(batch), strict=True):
        assert met is not None and example is not None
        assert met.equal(example)
