"""The interface of target spaces: statistics, conditions, derived arrays, longer videos."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from shared.errors import UserError
from tests.train.spaces.clips import codec_options, stored
from train.data.clips import ClipBatch
from train.models.block_autoencoder import BlockAutoencoder, BlockAutoencoderOptions
from train.spaces import SPACES, Decoded, Space, Statistics, build_space
from train.spaces.codec import CodecSpaceOptions

STORE = codec_options(size=13)
CHOICES: dict[str, dict[str, Any]] = {"latent": {"factor": 4}}
BUILT_IN = ("rgb", "latent", "difference", "codec")


def space(kind: str) -> Space:
    torch.manual_seed(0)
    autoencoder = BlockAutoencoder(BlockAutoencoderOptions(latent_channels=3, hidden=8), 4, STORE)
    options = SPACES[kind].options_type(**CHOICES.get(kind, {}))
    needed = SPACES[kind].needs_autoencoder
    return build_space(options, STORE, autoencoder if needed else None)


def known_data() -> torch.Tensor:
    raw = torch.zeros(2, 3, 1, 1, 2)
    raw[:, 0] = torch.tensor([[[1.0, 3.0]]])
    raw[:, 1] = 7
    raw[0, 2], raw[1, 2] = -2, 4
    return raw


@pytest.mark.parametrize("chunks", [1, 2])
def test_statistics_of_known_data(chunks: int) -> None:
    """The deviation of a constant channel is taken as 1."""
    statistics = Statistics.of(known_data().chunk(chunks))
    assert statistics.mean == (2, 7, 1)
    assert statistics.std == (1, 1, 3)


@settings(max_examples=25, deadline=None)
@given(
    sizes=st.lists(st.integers(1, 4), min_size=1, max_size=5),
    offset=st.floats(-100, 100),
    seed=st.integers(0, 99),
)
def test_statistics_do_not_depend_on_the_chunks(sizes: list[int], offset: float, seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    whole = torch.randn(sum(sizes), 2, 3, 2, generator=generator) + offset
    statistics = Statistics.of(whole.split(sizes))
    values = whole.double().transpose(0, 1).flatten(1)
    assert statistics.mean == pytest.approx(values.mean(1).tolist(), abs=1e-9)
    assert statistics.std == pytest.approx(values.std(1, correction=0).tolist(), rel=1e-5)


@pytest.mark.parametrize("kind", BUILT_IN)
def test_identity_statistics_change_nothing_and_others_change_a_copy(kind: str) -> None:
    plain = space(kind)
    raw = torch.randn(2, *plain.shape)
    assert plain.standardise(raw).equal(raw)
    assert plain.raw(raw).equal(raw)
    channels = plain.shape[0]
    scaled = plain.with_statistics(Statistics((1.0,) * channels, (2.0,) * channels))
    assert scaled.standardise(raw).equal((raw - 1) / 2)
    assert plain.statistics == Statistics.identity(channels)


@pytest.mark.parametrize("kind", BUILT_IN)
def test_the_denoiser_input_has_the_shapes_of_x0_and_of_the_conditions(kind: str) -> None:
    made, batch = space(kind), stored(STORE)[0]
    noisy, _, zeros = made.denoiser_input.zeros()
    conditions = made.conditions(vars(batch))
    assert made.encode(batch).shape == (2, *noisy.shape[1:])
    assert list(conditions) == list(zeros) == ["label", "first_frame"]
    for name, value in conditions.items():
        assert value.shape[1:] == zeros[name].shape[1:]
        assert value.dtype == zeros[name].dtype
    assert conditions["label"].equal(batch.label)
    rows, columns = (side * made.cell for side in made.shape[-2:])
    assert conditions["first_frame"].shape == (2, 3, rows, columns)
    expected = batch.first_frame / 127.5 - 1
    assert torch.allclose(conditions["first_frame"][..., :13, :13], expected)
    assert not conditions["first_frame"][..., 13:, :].any()


@pytest.mark.parametrize("kind", BUILT_IN)
def test_a_target_from_stored_and_derived_arrays_is_the_encoded_clip(kind: str) -> None:
    made, batch = space(kind), stored(STORE)[0]
    derived = {array.name: array.compute(batch) for array in made.derived()}
    for array in made.derived():
        assert derived[array.name].shape == (2, *array.shape)
        assert array.identity() == made.identity
    assert (made.identity is None) == (not derived)
    known = {name: (vars(batch) | derived)[name] for name in (*made.reads, "label")}
    assert made.target(known).equal(made.encode(batch))
    assert made.conditions(known)["first_frame"].shape[0] == 2


@pytest.mark.parametrize("kind", BUILT_IN)
def test_a_longer_video_goes_on_from_the_last_frame(kind: str) -> None:
    made, clips = space(kind), stored(STORE)[1]
    assert made.adds == STORE.frames - 1
    following = made.continue_from(Decoded(clips, {}), {"first_frame": clips[:, 0]})
    assert list(following) == ["first_frame"]
    assert following["first_frame"].equal(clips[:, -1])


def test_only_spaces_with_an_autoencoder_have_a_loss() -> None:
    made = space("rgb")
    batch: ClipBatch = stored(STORE)[0]
    with pytest.raises(NotImplementedError, match="RgbSpace has no autoencoder"):
        made.examples(batch, [])


def test_a_space_with_an_autoencoder_is_refused_without_one() -> None:
    with pytest.raises(UserError, match="'codec' needs an autoencoder"):
        build_space(CodecSpaceOptions(), codec_options())
