"""The space of vectors alone."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from shared.conventions import REFERENCES, VECTOR_UNITS, FrameSize, Reference, motion_channels
from shared.motion_compensation import decode_clip
from tests.train.spaces.clips import codec_options, stored
from train.models.refiner import Refiner, RefinerOptions
from train.spaces import Statistics
from train.spaces.vectors import VectorSpace, VectorSpaceOptions


@settings(max_examples=20, deadline=None)
@given(
    size=st.builds(FrameSize, st.integers(3, 17), st.integers(3, 17)),
    unit=st.sampled_from(VECTOR_UNITS),
    reference=st.sampled_from(REFERENCES),
)
def test_decoding_gives_the_stored_vectors_and_what_they_predict(
    size: FrameSize, unit: int, reference: Reference
) -> None:
    """Predictions of decoded frames, which for a first-frame reference are the stored ones."""
    options = codec_options(size, reference, unit=unit)
    batch, clips = stored(options)
    bare = VectorSpace(options, VectorSpaceOptions())
    space = bare.with_statistics(Statistics.of([bare.encode(batch)]))
    x0 = space.encode(batch)
    assert x0.shape == (2, motion_channels(reference), 3, *options.grid)
    decoded = space.decode(x0, vars(batch))
    assert torch.equal(decoded.parts["motion"], batch.motion)
    assert not decoded.parts["residual"].any()
    assert torch.equal(decoded.frames[:, 1:], decoded.parts["prediction"])
    if reference == "first":
        stored_prediction = clips[:, 1:].short() - batch.residual
        assert torch.equal(decoded.parts["prediction"].short(), stored_prediction)


def test_nothing_but_first_frames_and_vectors_is_read() -> None:
    space = VectorSpace(codec_options(), VectorSpaceOptions())
    assert space.reads == ("first_frame", "motion")
    assert (space.identity, space.derived()) == (None, ())


def test_a_refining_network_follows_the_prediction() -> None:
    batch, _ = stored(codec_options())
    space = VectorSpace(codec_options(), VectorSpaceOptions())
    torch.manual_seed(0)
    refiner = Refiner(RefinerOptions(width=8))
    torch.nn.init.normal_(refiner.output.weight, std=0.1)
    decoded = space.with_refiner(refiner).decode(space.encode(batch), vars(batch))
    assert torch.equal(decoded.parts["unrefined"][:, 1:], decoded.parts["prediction"])
    assert (decoded.frames != decoded.parts["unrefined"]).any()


@pytest.mark.parametrize("reference", REFERENCES)
def test_motion_alone_is_what_vectors_predict_without_residuals(reference: Reference) -> None:
    options = codec_options(16, reference)
    batch, _ = stored(options)
    space = VectorSpace(options, VectorSpaceOptions())
    moved = space.moved({"motion": batch.motion}, batch.first_frame)
    for first, motion, film in zip(batch.first_frame, batch.motion, moved, strict=True):
        none = np.zeros((3, 3, 16, 16), np.int16)
        expected = decode_clip(first.numpy(), motion.numpy(), none, options.codec)
        assert np.array_equal(film.numpy(), expected)
