"""The spaces whose cells are pixels: frames themselves, and their differences."""

from __future__ import annotations

import pytest
import torch

from shared.conventions import REFERENCES, Reference
from tests.train.spaces.clips import codec_options, stored
from train.spaces import Space, Statistics, build_space
from train.spaces.difference import DifferenceSpaceOptions
from train.spaces.rgb import RgbSpaceOptions

SpaceOptions = RgbSpaceOptions | DifferenceSpaceOptions

SPACES: list[SpaceOptions] = [
    RgbSpaceOptions(),
    DifferenceSpaceOptions(),
    DifferenceSpaceOptions(reference="first"),
]

GREY = {"first_frame": torch.full((1, 3, 16, 16), 90, dtype=torch.uint8)}


def fitted(options: SpaceOptions, size: int | str, reference: Reference) -> Space:
    store = codec_options(size, reference)
    bare = build_space(options, store)
    return bare.with_statistics(Statistics.of([bare.encode(stored(store)[0])]))


@pytest.mark.parametrize("options", SPACES)
@pytest.mark.parametrize("reference", REFERENCES)
@pytest.mark.parametrize("size", [16, 13, 1, "11x6"])
def test_clips_are_restored_exactly(
    options: SpaceOptions, size: int | str, reference: Reference
) -> None:
    space = fitted(options, size, reference)
    batch, clips = stored(space.store)
    x0 = space.encode(batch)
    assert x0.shape == (2, *space.shape) == (2, 3, 3, *space.store.size)
    assert space.cell == 1
    decoded = space.decode(x0, vars(batch))
    assert decoded.frames.dtype == torch.uint8
    assert decoded.frames.equal(clips)


@pytest.mark.parametrize("options", SPACES)
def test_encoded_channels_have_zero_mean_and_unit_deviation(options: SpaceOptions) -> None:
    space = fitted(options, 16, "first")
    x0 = space.encode(stored(space.store)[0])
    assert torch.allclose(x0.mean(dim=(0, 2, 3, 4)), torch.zeros(3), atol=1e-4)
    assert torch.allclose(x0.std(dim=(0, 2, 3, 4), correction=0), torch.ones(3), atol=1e-3)


def test_pixels_are_scaled_to_one() -> None:
    store = codec_options(2)
    space = build_space(RgbSpaceOptions(), store)
    batch, clips = stored(store)
    expected = clips[:, 1:].transpose(1, 2) / 127.5 - 1
    assert torch.allclose(space.unscaled(vars(batch)), expected)


def test_errors_accumulate_in_differences_to_the_frame_before_alone() -> None:
    decoded = {}
    for reference in ("previous", "first"):
        space = build_space(DifferenceSpaceOptions(reference=reference), codec_options())
        x0 = torch.zeros(1, *space.shape)
        x0[:, :, 1] = 10 / 255
        frames = space.decode(x0, GREY).frames
        decoded[reference] = frames[0, :, 0, 0, 0].tolist()
    assert decoded == {"previous": [90, 90, 100, 100], "first": [90, 90, 100, 90]}


def test_the_part_difference_holds_the_differences() -> None:
    space = fitted(DifferenceSpaceOptions(), 13, "previous")
    batch, clips = stored(space.store)
    decoded = space.decode(space.encode(batch), vars(batch))
    assert decoded.parts["difference"].int().equal(clips[:, 1:].int() - clips[:, :-1].int())


def test_pixels_beyond_white_and_black_are_clamped() -> None:
    for options in SPACES:
        space = build_space(options, codec_options())
        x0 = torch.full((1, *space.shape), 9.0)
        x0[..., :8] = -9
        frames = space.decode(x0, GREY).frames[:, 1:]
        assert set(frames[..., :8].unique().tolist()) == {0}
        assert set(frames[..., 8:].unique().tolist()) == {255}
