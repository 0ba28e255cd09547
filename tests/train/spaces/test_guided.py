"""Latents given motion: mask, warped latents, and what the denoiser is conditioned on."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from shared.errors import UserError
from shared.schema import CodecOptions
from tests.train.spaces.clips import codec_options, stored
from train.data.clips import ClipBatch
from train.models.block_autoencoder import BlockAutoencoder, BlockAutoencoderOptions
from train.spaces import Statistics
from train.spaces.guided import GuidedSpace, GuidedSpaceOptions, visible
from train.spaces.motion import MotionSpace, MotionSpaceOptions


def guided(store: CodecOptions, statistics: Statistics | None = None, **options) -> GuidedSpace:
    chosen = GuidedSpaceOptions(**{"factor": 4, "flow": "store", **options})
    torch.manual_seed(0)
    network = BlockAutoencoder(BlockAutoencoderOptions(latent_channels=5, hidden=8), 4, store)
    return GuidedSpace(store, chosen, network.eval(), statistics)


def known_of(space: GuidedSpace, batch: ClipBatch) -> dict[str, Tensor]:
    return vars(batch) | {a.name: a.compute(batch) for a in space.derived()}


def square_that_moves(cells: int, across: int, cell: int) -> Tensor:
    """Flow both ways, pixels, of a 3x3 square that moves `across` cells over a still ground.

    At frame f the square is at columns 4...6, at the key frame it was `across` cells to the left.
    """
    flows = torch.zeros(1, 4, cells, cells)
    flows[:, 0, 4:7, 4:7] = -across * cell
    flows[:, 2, 4:7, 4 - across : 7 - across] = across * cell
    return flows


@pytest.mark.parametrize("cell", [1, 4, 8])
def test_what_a_square_left_behind_is_occluded_and_nothing_else(cell: int) -> None:
    """Where it was, still flow meets a flow that moves away; where it is, both cancel out."""
    mask = visible(square_that_moves(12, 3, cell), cell)
    expected = torch.ones(1, 1, 12, 12)
    expected[..., 4:7, 1:4] = 0
    assert mask.equal(expected)


def test_the_masks_threshold_is_in_pixels_of_the_frame() -> None:
    """0.01 (|o| + |o'|) + 0.5, however large a cell is."""
    for cell in (1, 8):
        flows = torch.zeros(1, 4, 6, 6)
        flows[:, 0], flows[:, 2] = 10.0, -10.0
        assert visible(flows, cell).all()
        flows[:, 0] = 10.69  # error 0.69 < 0.01 * 20.69 + 0.5
        assert visible(flows, cell).all()
        flows[:, 0] = 10.73
        assert not visible(flows, cell).any()


def test_warped_latents_are_the_key_frames_where_they_were() -> None:
    """Whole cells: the square's latents move with it, exactly; behind it there are zeros."""
    store = codec_options(48)
    statistics = Statistics((0.2, 0.0, -0.1, 0.3, 0.0), (2.0, 1.0, 0.5, 1.0, 3.0))
    space = guided(store, statistics, flow="dis")
    batch, _ = stored(store, 1)
    flows = torch.zeros(1, 4, 4, 12, 12)
    flows[:, 2] = square_that_moves(12, 3, 4)
    latents = space.compress(batch)
    known = {**vars(batch), "frame_latent": latents, "flow_pair": flows}
    found = space.conditions(known)
    assert found["warped"].shape == (1, 5, 4, 12, 12)
    assert found["mask"].shape == (1, 1, 4, 12, 12)
    key = space.standardise(latents.transpose(1, 2))[:, :, 0]  # (1, 5, 12, 12)
    for n in (0, 1, 3):
        assert torch.allclose(found["warped"][:, :, n], key, atol=1e-5)
    moved = key.clone()
    moved[..., 4:7, 4:7] = key[..., 4:7, 1:4]
    moved[..., 4:7, 1:4] = 0
    assert torch.allclose(found["warped"][:, :, 2], moved, atol=1e-5)
    at_sampling = space.conditions(
        {"first_frame": batch.first_frame, "label": batch.label, "flow_pair": flows}
    )
    for name, value in found.items():
        assert torch.allclose(at_sampling[name].float(), value.float(), atol=1e-4), name


@pytest.mark.parametrize("size", [16, 13])
@torch.no_grad()
def test_a_clip_loses_what_the_autoencoder_loses(size: int) -> None:
    store = codec_options(size)
    bare = guided(store)
    batch, clips = stored(store)
    bare.autoencoder.fit_initial(*bare.pictures(batch))
    known = known_of(bare, batch)
    space = bare.with_statistics(Statistics.of([bare.unscaled(known)]))
    x0 = space.target(known)
    assert x0.shape == (2, *space.shape) == (2, 5, 4, -(-size // 4), -(-size // 4))
    decoded = space.decode(x0, known)
    frames = space._pictures(clips)
    made = space.autoencoder.decode(space.autoencoder.encode(frames)).unflatten(0, (2, 4))
    expected = ((made + 1) * 127.5).clamp(0, 255)[..., :size, :size]
    assert ((decoded.frames - expected)[:, 1:].abs() < 0.75).all()
    assert decoded.frames[:, 0].equal(clips[:, 0])
    assert decoded.parts["flow"].shape == (2, 3, 2, -(-size // 4), -(-size // 4))
    assert decoded.parts["occlusion"].eq(1).all(), "the store's vectors have no way back"


def test_the_video_network_sees_no_label_and_all_conditions_have_x0s_grid() -> None:
    store = codec_options(16, "first")
    space = guided(store, depth="layers", depth_from="x", cell=2, flow="dis")
    shapes = dict(space.denoiser_input.conditions)
    assert shapes == {
        "label": (), "first_frame": (3, 16, 16), "depth": (1, 4, 4, 4), "warped": (5, 4, 4, 4),
        "mask": (1, 4, 4, 4),
    }  # fmt: skip
    known = {**space.example(), "label": torch.tensor([2])}
    assert space.conditions(known)["label"].tolist() == [-1]
    assert set(dict(guided(store, warped=False, mask=False).denoiser_input.conditions)) == {
        "label", "first_frame",
    }  # fmt: skip


def test_a_guides_sample_becomes_known() -> None:
    store = codec_options(16)
    space, motion = guided(store), MotionSpace(store, MotionSpaceOptions(flow="store"))
    batch, _ = stored(store)
    sample = motion.decode(torch.randn(2, *motion.shape), vars(batch))
    known = space.known_from_guide(sample)
    assert known.keys() == {"flow_pair"}
    assert known["flow_pair"].equal(sample.parts["flow_pair"])
    plain = {"first_frame": batch.first_frame, "label": batch.label}
    assert space.conditions(plain | known)["warped"].isfinite().all()
    with pytest.raises(UserError, match=r"no guide: give --motion-from STORE"):
        space.conditions(plain)


@pytest.mark.parametrize(
    ("options", "fault"),
    [
        ({"cell": 3}, "cell 3: must divide factor"),
        ({"warped": False}, "give mask=false"),
        ({"factor": 6, "cell": 2}, "power of two"),
        ({"depth": "model"}, "needs depth_from"),
    ],
)
def test_options_that_do_not_go_together_are_refused(options: dict, fault: str) -> None:
    with pytest.raises(ValueError, match=fault):
        GuidedSpaceOptions(**options)
