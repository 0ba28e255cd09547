from __future__ import annotations

import pytest
import torch
from torch import Tensor

from shared.conventions import REFERENCES, Reference, grid_shape
from shared.errors import UserError
from shared.schema import CodecOptions
from tests.train.spaces.clips import codec_options, stored
from train.data.batches import split_batch
from train.data.clips import ClipBatch
from train.models.flow_autoencoder import FlowAutoencoder, FlowAutoencoderOptions
from train.models.flow_predictors import DenseFlowOptions, StoreVectorsOptions
from train.spaces.flow import FlowSpace, FlowSpaceOptions

CPU = torch.device("cpu")
OPTIONS = FlowAutoencoderOptions(widths=(8, 8, 16), dense=DenseFlowOptions(widths=(8, 8, 16)))


def flow_space(
    size: int | str = 16,
    reference: Reference = "first",
    options: FlowSpaceOptions | None = None,
    unit: int = 1,
) -> FlowSpace:
    """Its predictor sees flow where frames differ: a last layer that is not zero."""
    torch.manual_seed(0)
    store = codec_options(size, reference, unit=unit)
    network = FlowAutoencoder(OPTIONS, 4, store).eval()
    with torch.no_grad():
        network.predictor.output[-1].weight.normal_(std=0.3)
    return FlowSpace(store, options or FlowSpaceOptions(), network)


@pytest.mark.parametrize("reference", REFERENCES)
@pytest.mark.parametrize("size", [16, 13, "22x13"])
@torch.no_grad()
def test_a_clip_loses_what_the_autoencoder_loses(size: int | str, reference: Reference) -> None:
    space = flow_space(size, reference)
    batch, clips = stored(space.store)
    x0 = space.encode(batch)
    assert x0.shape == (2, *space.shape) == (2, 3, 3, *grid_shape(*space.store.size, 4))
    decoded = space.decode(x0, vars(batch))
    first = clips[:, 0] / 127.5 - 1
    network = space.autoencoder
    for n in range(1, 4):
        latent = network.encode(clips[:, n] / 127.5 - 1, first)
        assert torch.allclose(decoded.parts["flow"][:, n - 1], latent[:, :2], atol=1e-4)
        assert torch.allclose(decoded.parts["occlusion"][:, n - 1], latent[:, 2:], atol=1e-4)
        made = (network.decode(latent, first) + 1) * 127.5
        assert (decoded.frames[:, n] - made).abs().max() < 0.75
    assert decoded.frames[:, 0].equal(clips[:, 0])


def test_still_and_visible_x0_repeats_the_first_frame() -> None:
    space = flow_space()
    batch, clips = stored(space.store)
    x0 = torch.zeros(2, *space.shape)
    x0[:, 2] = 1
    frames = space.decode(x0, vars(batch)).frames
    assert frames.equal(clips[:, :1].expand_as(clips))


def test_the_denoiser_is_conditioned_on_the_first_frames_features() -> None:
    space = flow_space()
    batch, clips = stored(space.store)
    known = {"first_frame": batch.first_frame, "label": batch.label}
    features = space.conditions(known)["features"]
    assert not features.requires_grad
    assert torch.allclose(features, space.autoencoder.features(clips[:, 0] / 127.5 - 1), atol=1e-5)
    assert dict(space.denoiser_input.conditions)["features"] == (16, 4, 4)


def pairs_of(space: FlowSpace, batch: ClipBatch, step: int = 0, rows: slice = slice(None)):
    [part] = split_batch(step, len(batch.label), 1)
    generators = part.generators(3, CPU, purpose=1)[rows]
    return space.examples(ClipBatch(*(value[rows] for value in vars(batch).values())), generators)


def index_in(frame: Tensor, clip: Tensor) -> list[int]:
    """Numbers of the clip's frames that equal a frame."""
    levels = ((frame + 1) * 127.5).round()
    return [n for n, other in enumerate(clip) if levels.equal(other.float())]


@pytest.mark.parametrize("pairs", ["any", "first"])
def test_pairs_are_frames_of_one_clip_drawn_by_its_generator(pairs: str) -> None:
    space = flow_space(options=FlowSpaceOptions(pairs=pairs, augment=False))
    batch, clips = stored(space.store, 3)
    found = set()
    for step in range(30):
        reference, driving, vectors = pairs_of(space, batch, step)
        assert (vectors is not None) == (pairs == "first")
        for k in range(3):
            [a], [b] = index_in(reference[k], clips[k]), index_in(driving[k], clips[k])
            found.add((a, b))
    wanted = {(a, b) for a in range(4) for b in range(4)}
    assert found == (wanted if pairs == "any" else {(0, b) for b in (1, 2, 3)})


def test_pairs_do_not_depend_on_how_a_batch_is_shared_out() -> None:
    space = flow_space(options=FlowSpaceOptions(pairs="first"))
    batch, _ = stored(space.store, 4)
    whole = pairs_of(space, batch)
    for rows in (slice(0, 1), slice(1, 4)):
        for one, other in zip(whole, pairs_of(space, batch, rows=rows), strict=True):
            assert torch.allclose(one[rows], other, atol=1e-6)


def test_augmented_pairs_move_as_their_vectors_say() -> None:
    """A block that moved right moves left in a mirrored pair; colours change in both alike."""
    store = CodecOptions(size=16, frames=4, block=4, search_range=3, reference="first")
    first = torch.randint(0, 256, (1, 3, 16, 16), generator=torch.Generator().manual_seed(0))
    motion = torch.zeros(1, 3, 2, 4, 4, dtype=torch.int8)
    motion[:, :, 0, 1, 2] = 3
    residual = torch.zeros(1, 3, 3, 16, 16, dtype=torch.int16)
    batch = ClipBatch(first.to(torch.uint8), motion, residual, torch.zeros(1, dtype=torch.long))
    plain = flow_space(options=FlowSpaceOptions(pairs="first", augment=False))
    space = flow_space(options=FlowSpaceOptions(pairs="first"))
    assert plain.store == store
    seen = set()
    for step in range(12):
        reference, driving, vectors = pairs_of(space, batch, step)
        _, still, _ = pairs_of(plain, batch, step)
        assert vectors is not None
        place = (2, 3) if vectors[0, 0, 1, 2] else (1, -3)
        seen.add(place)
        assert vectors[0, 0, 1, place[0]] == place[1]
        assert vectors.abs().sum() == 3
        columns = slice(8, 12) if place[0] == 2 else slice(4, 8)
        shifted = slice(columns.start + place[1], columns.stop + place[1])
        assert torch.allclose(driving[0, :, 4:8, columns], reference[0, :, 4:8, shifted])
        assert (driving - still).abs().mean() > 0
    assert seen == {(2, 3), (1, -3)}


def test_vectors_of_a_block_are_those_of_its_cells_in_pixels() -> None:
    """Quarter pixels, blocks of 8: each covers four cells of 4 pixels."""
    store = replace_options(flow_space(unit=4).store, block=8)
    space = FlowSpace(store, FlowSpaceOptions(pairs="first"), flow_space().autoencoder)
    motion = torch.arange(2 * 3 * 2 * 4, dtype=torch.int8).view(2, 3, 2, 2, 2)
    batch = ClipBatch(
        torch.zeros(2, 3, 16, 16, dtype=torch.uint8), motion,
        torch.zeros(2, 3, 3, 16, 16, dtype=torch.int16), torch.zeros(2, dtype=torch.long),
    )  # fmt: skip
    expected = motion.repeat_interleave(2, -1).repeat_interleave(2, -2) / 4
    assert space._vectors(batch).equal(expected)


def replace_options(store: CodecOptions, **changes: object) -> CodecOptions:
    return store.model_copy(update=changes)


def test_pairs_without_vectors_from_frame_0_have_none() -> None:
    space = flow_space(reference="previous", options=FlowSpaceOptions(pairs="first"))
    assert pairs_of(space, stored(space.store)[0]).vectors is None


def test_another_autoencoder_is_another_space() -> None:
    one, other = flow_space(), flow_space()
    assert one.identity == other.identity
    assert [array.name for array in one.derived()] == ["flow"]
    with torch.no_grad():
        next(other.autoencoder.parameters()).add_(1)
    assert one.identity != other.identity


FROM_FIRST = FlowSpaceOptions(pairs="first")
STORE_OPTIONS = FlowAutoencoderOptions(
    predictor="store", widths=(8, 8, 16), store=StoreVectorsOptions(widths=(8, 8, 16))
)


def store_space(store: CodecOptions) -> FlowSpace:
    """Flow is the store's vectors; the predictor finds the occlusion alone."""
    torch.manual_seed(0)
    return FlowSpace(store, FROM_FIRST, FlowAutoencoder(STORE_OPTIONS, 4, store).eval())


def test_flow_may_be_the_stores_vectors() -> None:
    space = store_space(codec_options(16, "first", unit=4))
    batch, _ = stored(space.store)
    decoded = space.decode(space.encode(batch), vars(batch))
    assert torch.allclose(decoded.parts["flow"], batch.motion / 4, atol=1e-5)
    [part] = split_batch(0, 2, 1)
    losses = space.loss(
        space.autoencoder, pairs_of(space, batch), part, part.generators(3, CPU, purpose=2)
    )
    losses["loss"].backward()
    # Several processes wait for each other's gradients of every parameter.
    assert all(parameter.grad is not None for parameter in space.autoencoder.parameters())


def test_vectors_between_which_pixels_lie_are_interpolated_for_the_cells() -> None:
    """Blocks of 8, cells of 4: the centres of cells lie a quarter of a block from the blocks'."""
    store = replace_options(codec_options(16, "first"), block=8, compensation="interpolated")
    motion = torch.zeros(1, 3, 2, 2, 2, dtype=torch.int8)
    motion[:, :, 0, :, 1] = 4
    batch = ClipBatch(
        torch.zeros(1, 3, 16, 16, dtype=torch.uint8), motion,
        torch.zeros(1, 3, 3, 16, 16, dtype=torch.int16), torch.zeros(1, dtype=torch.long),
    )  # fmt: skip
    found = store_space(store)._vectors(batch)
    assert found[0, 0, 0].tolist() == [[0, 1, 3, 4]] * 4
    assert not found[:, :, 1].any()


@pytest.mark.parametrize(("reference", "pairs"), [("previous", "first"), ("first", "any")])
def test_vectors_that_do_not_fit_the_pairs_are_refused(reference: Reference, pairs: str) -> None:
    store = codec_options(16, reference)
    network = FlowAutoencoder(STORE_OPTIONS, 4, store)
    with pytest.raises(UserError, match="--reference first, and set"):
        FlowSpace(store, FlowSpaceOptions(pairs=pairs), network)


def test_motion_alone_moves_pixels_by_whole_flows_exactly() -> None:
    space = flow_space()
    first = torch.randint(0, 256, (2, 3, 16, 16), generator=torch.Generator().manual_seed(0))
    flow = torch.zeros(2, 3, 2, 4, 4)
    flow[:, 1, 0] = 3
    moved = space.moved({"flow": flow}, first.to(torch.uint8))
    assert moved[:, [0, 1, 3]].equal(first[:, None].to(torch.uint8).expand(-1, 3, -1, -1, -1))
    assert moved[:, 2, :, :, :-3].equal(first[..., 3:].to(torch.uint8))
