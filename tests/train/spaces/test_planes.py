from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import Tensor

from tests.train.models.test_planes_autoencoder import SMALL
from tests.train.spaces.clips import codec_options, stored
from train.data.batches import split_batch
from train.data.clips import ClipBatch
from train.models.planes_autoencoder import PlanesAutoencoder, PlanesAutoencoderOptions, TokenGrid
from train.spaces import Statistics
from train.spaces.planes import PlanesSpace, PlanesSpaceOptions

CPU = torch.device("cpu")
ROUNDED = 0.75
"""Grey levels: half for whole ones, and some for float32."""


class ExactPlanes(PlanesAutoencoder):
    """All pixels of a patch's films are in the plane of places; the other planes are empty."""

    def encode(self, picture: Tensor, context: Tensor | None = None) -> Tensor:
        count, (frames, rows, columns), patch = len(picture), self.grid, self.block
        films = picture.view(count, frames, 3, rows, patch, columns, patch)
        plane = films.permute(0, 1, 2, 4, 6, 3, 5).reshape(count, self.latent_channels, -1)
        empty = plane.new_zeros(*plane.shape[:2], frames * (rows + columns))
        return torch.cat([plane, empty], dim=2)

    def decode(self, latent: Tensor, context: Tensor | None = None) -> Tensor:
        grid: TokenGrid = self.grid
        plane = latent[..., : grid.rows * grid.columns]
        films = plane.view(
            len(latent), grid.frames, 3, self.block, self.block, grid.rows, grid.columns
        )
        return films.permute(0, 1, 2, 5, 3, 6, 4).reshape(len(latent), grid.frames, 3, *self.size)


def planes_space(
    size: int | str = 16, first_frame: float = 0.0, *, exact: bool = False,
    options: PlanesAutoencoderOptions = SMALL,
) -> PlanesSpace:  # fmt: skip
    torch.manual_seed(0)
    store = codec_options(size)
    if exact:
        options = replace(options, latent_channels=store.frames * 3 * options.patch**2)
    kind = ExactPlanes if exact else PlanesAutoencoder
    network = kind(options, 1, store).eval()
    return PlanesSpace(store, PlanesSpaceOptions(first_frame=first_frame), network)


def known_of(space: PlanesSpace, batch: ClipBatch) -> dict[str, Tensor]:
    derived = {array.name: array.compute(batch) for array in space.derived()}
    return {**vars(batch), **derived}


@pytest.mark.parametrize(("size", "first_frame"), [(16, 0.0), (16, 0.5), ("24x12", 0.5)])
def test_an_exact_autoencoder_loses_nothing(size: int | str, first_frame: float) -> None:
    bare = planes_space(size, first_frame, exact=True)
    batch, clips = stored(bare.store, 3)
    space = bare.with_statistics(Statistics.of([bare.encode(batch)]))
    x0 = space.encode(batch)
    assert x0.shape == (3, *space.shape)
    assert x0.mean().abs() < 0.01
    decoded = space.decode(x0, vars(batch))
    assert (decoded.frames.int() - clips.int()).abs().max() <= ROUNDED


@pytest.mark.parametrize("size", [16, 13, "22x13"])
@torch.no_grad()
def test_a_clip_loses_what_the_autoencoder_loses(size: int | str) -> None:
    space = planes_space(size)
    batch, clips = stored(space.store)
    scaled = clips / 127.5 - 1
    made = space.autoencoder.decode(space.autoencoder.encode(scaled))
    decoded = space.decode(space.encode(batch), vars(batch))
    assert (decoded.frames - (made + 1) * 127.5).abs().max() < ROUNDED
    assert decoded.raw is not None
    assert torch.allclose(decoded.raw, space.autoencoder.encode(scaled), atol=1e-5)


def test_the_given_frame_stays_as_it_is_where_there_is_one() -> None:
    batch, _ = stored(codec_options())
    for first_frame, stays in ((0.0, False), (0.5, True)):
        space = planes_space(first_frame=first_frame)
        assert space.takes_first_frame == stays
        x0 = torch.zeros(2, *space.shape)
        given = space.decode(x0, vars(batch)).frames[:, 0]
        assert given.equal(batch.first_frame) == stays
        known = {**vars(batch), "before": x0}
        assert not space.decode(x0, known).frames[:, 0].equal(batch.first_frame), "it goes on"


def test_the_next_clip_knows_the_planes_that_were_generated() -> None:
    space = planes_space(first_frame=1.0)
    batch, _ = stored(space.store)
    x0 = torch.randn(2, *space.shape, generator=torch.Generator().manual_seed(0)).clamp(-1, 1)
    decoded = space.decode(x0, vars(batch))
    known = {**space.continue_from(decoded, vars(batch)), "label": batch.label}
    assert space.adds == space.store.frames
    assert space.conditions(known)["before"].equal(space.raw(x0))


def test_a_first_clip_has_no_clip_before_or_its_first_frame_held_still() -> None:
    batch, clips = stored(codec_options())
    known = {"first_frame": batch.first_frame, "label": batch.label}
    free, held = planes_space(), planes_space(first_frame=0.5)
    assert not free.conditions(known)["before"].any()
    still = clips[:, :1].expand_as(clips) / 127.5 - 1
    wanted = held.autoencoder.encode(still)
    found = held.conditions(known)["before"]
    assert torch.allclose(found, wanted, atol=1e-5)
    assert not found.requires_grad
    assert torch.allclose(known_of(held, batch)["still"], wanted, atol=1e-5)
    shapes = held.denoiser_input
    assert dict(shapes.conditions)["before"] == held.shape
    assert shapes.parts == ((4, 4), (4, 4), (4, 4))


def drawn(space: PlanesSpace, known: dict[str, Tensor], step: int, rows: slice) -> Tensor:
    [part] = split_batch(step, len(known["label"]), 1)
    generators = part.generators(5, CPU, purpose=1)[rows]
    chosen = {name: value[rows] for name, value in known.items()}
    return space.conditions(space.drawn_known(chosen, generators))["before"]


def test_the_condition_in_training_is_drawn_row_by_row() -> None:
    """From the third row on there is a clip before; the others have their first frame alone."""
    space = planes_space(first_frame=0.25)
    batch, _ = stored(space.store, 4)
    known = known_of(space, batch)
    before = torch.randn(4, *space.shape, generator=torch.Generator().manual_seed(1))
    before[:2] = 0
    known["planes_before"] = before.half()
    still = 0
    for step in range(40):
        found = drawn(space, known, step, slice(None))
        parts = [drawn(space, known, step, rows) for rows in (slice(0, 1), slice(1, 4))]
        assert found.equal(torch.cat(parts)), "it does not depend on how a batch is shared out"
        assert found[:2].equal(known["still"][:2])
        for row in (2, 3):
            is_still = bool(found[row].equal(known["still"][row]))
            assert is_still or found[row].equal(before[row].half().float())
            still += is_still
    assert 8 <= still <= 35


def test_without_first_frames_the_condition_is_the_clip_before_or_none() -> None:
    space = planes_space()
    batch, _ = stored(space.store, 2)
    known = known_of(space, batch)
    assert "still" not in known
    known["planes_before"] = torch.ones(2, *space.shape)
    known["planes_before"][0] = 0
    assert drawn(space, known, 0, slice(None)).equal(known["planes_before"])


def test_examples_are_clips_and_a_random_frame_of_each() -> None:
    space = planes_space()
    batch, clips = stored(space.store, 2)
    seen = set()
    for step in range(30):
        [part] = split_batch(step, 2, 1)
        found = space.examples(batch, part.generators(0, CPU))
        assert torch.allclose(found.clips, clips / 127.5 - 1)
        seen |= set(found.frame.tolist())
    assert seen == {0, 1, 2, 3}


def test_another_encoder_is_another_space_another_decoder_is_not() -> None:
    one, other = planes_space(), planes_space()
    with torch.no_grad():
        next(other.autoencoder.decoder.parameters()).add_(1)
    assert one.identity == other.identity
    with torch.no_grad():
        next(other.autoencoder.encoder.parameters()).add_(1)
    assert one.identity != other.identity
