"""Depth and flow: estimated, scaled, found again, and what they make of the key frame."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from shared.errors import UserError
from shared.schema import CodecOptions
from tests.train.spaces.clips import codec_options, stored
from tests.train.spaces.moving import shifted_pictures, stored_clip
from train.models.warp import pixel_grid
from train.spaces import Statistics
from train.spaces.motion import (
    MotionSpace,
    MotionSpaceOptions,
    depth_error,
    largest_norm,
    largest_norm_from_depth,
)

CPU = torch.device("cpu")
SIZE, FRAMES = 64, 4
STORE = CodecOptions(size=SIZE, frames=FRAMES, block=4, search_range=8, reference="first")


def motion_space(store: CodecOptions = STORE, **options: object) -> MotionSpace:
    return MotionSpace(store, MotionSpaceOptions(**options))  # type: ignore[arg-type]


@pytest.mark.parametrize("key", ["first", "centre"])
def test_dis_finds_a_shift_both_ways_in_pixels(key: str) -> None:
    """A frame is W(key, flow): what moved right is looked for on the left."""
    space = motion_space(key=key)
    batch = stored_clip(shifted_pictures(SIZE, FRAMES, 2, -1), STORE)
    [array] = [a for a in space.derived() if a.name == "flow_pair"]
    found = array.compute(batch)[0]
    assert found.shape == array.shape == (FRAMES, 4, 16, 16)
    assert not found[space.estimates.key].any()
    for n in range(FRAMES):
        distance = n - space.estimates.key
        expected = torch.tensor([-2.0, 1.0, 2.0, -1.0]) * distance
        inner = found[n, :, 4:12, 4:12].mean(dim=(1, 2))
        assert torch.allclose(inner, expected, atol=0.3), n


def test_the_stores_vectors_are_flow_into_frame_0() -> None:
    store = codec_options(16)
    space = motion_space(store, flow="store")
    batch, _ = stored(store)
    flow = space.derived()[0].compute(batch)
    assert flow.shape == (2, 4, 2, 4, 4)
    assert not flow[:, 0].any()
    assert flow[:, 1:].equal(batch.motion.float())
    with pytest.raises(UserError, match=r"reference=previous.*reblock STORE --reference first"):
        motion_space(codec_options(16, "previous"), flow="store")


def test_the_stride_is_a_logarithm_or_null() -> None:
    """Also that of one frame again and again, which clips by time may be."""
    space = motion_space(flow="store", stride=True)
    frame = torch.zeros(3, 3, *STORE.size, dtype=torch.uint8)
    known = {"first_frame": frame, "label": torch.zeros(3, dtype=torch.long)}
    assert not space.conditions(known)["stride"].any()
    stride = space.conditions(known | {"stride": torch.tensor([[1.0], [4.0], [0.0]])})["stride"]
    assert stride[:2].tolist() == [[0, 1], [2, 1]]
    assert stride.isfinite().all()
    assert "stride" not in motion_space(flow="store").conditions(known)


def test_depth_is_drawn_where_it_is_not_left_out() -> None:
    assert list(motion_space(flow="store").draws) == ["flow"]
    assert list(motion_space(flow="store", depth="layers", depth_from="x").draws) == [
        "flow",
        "depth",
    ]


def test_real_motion_restores_a_shifted_picture() -> None:
    space = motion_space()
    clip = shifted_pictures(SIZE, FRAMES, 2, 1)
    batch = stored_clip(clip, STORE)
    decoded = space.decode(space.encode(batch), vars(batch))
    inside = (..., slice(16, 48), slice(16, 48))
    error = (decoded.frames[0][inside].float() - torch.from_numpy(clip)[inside].float()).abs()
    still = (torch.from_numpy(clip[:1])[inside].float() - torch.from_numpy(clip)[inside]).abs()
    assert error.mean() < 0.1 * still.mean()
    assert decoded.frames[0, 0].equal(batch.first_frame[0])


@pytest.mark.parametrize("key", ["first", "centre"])
@pytest.mark.parametrize("size", [16, 13])
def test_x0_comes_back_from_its_parts(size: int, key: str) -> None:
    store = codec_options(size)
    space = motion_space(store, key=key)
    batch, clips = stored(store)
    bare = space.encode(batch)
    space = space.with_statistics(Statistics.of([bare]))
    x0 = space.encode(batch)
    assert x0.shape == (2, *space.shape) == (2, 4, 4, -(-size // 4), -(-size // 4))
    given = clips[:, space.estimates.key]
    decoded = space.decode(x0, {"first_frame": given, "label": batch.label})
    again = space.standardise(decoded.parts["flow_pair"].transpose(1, 2))
    assert torch.allclose(again, x0, atol=1e-4)
    assert decoded.frames[:, space.estimates.key].equal(given)
    assert decoded.parts["flow"].shape[1] == 3


def ramp(shift: float, sides: tuple[int, int] = (24, 32), frames: int = 5) -> tuple[Tensor, Tensor]:
    """Depth that rises to the right and moves right, and its exact flow both ways, in cells."""
    columns = pixel_grid(*sides, CPU)[0]
    depth = torch.stack([(columns - shift * n) / sides[1] for n in range(frames)])[None, :, None]
    flow = torch.zeros(1, frames, 4, *sides)
    flow[:, :, 0] = -shift * torch.arange(frames).view(1, -1, 1, 1)
    flow[:, :, 2] = -flow[:, :, 0]
    return depth, flow


@settings(max_examples=15)
@given(st.floats(0.15, 1.5))
def test_the_size_of_flows_is_found_from_a_ramp_of_depth(shift: float) -> None:
    """Equation 10, within 2%; the best scale costs less than its neighbours."""
    depth, flow = ramp(shift)
    most = largest_norm(flow)
    assert most == pytest.approx(4 * shift, rel=1e-5)
    found = largest_norm_from_depth(depth, flow / most, 0, 32)
    assert found == pytest.approx(4 * shift, rel=0.02)
    costs = [depth_error(depth, flow / most, 0, most * k) for k in (0.9, 1, 1.1)]
    assert costs[1] < min(costs[0], costs[2])


def test_clips_have_sizes_of_their_own() -> None:
    pairs = [ramp(0.3), ramp(1.2)]
    depth, flow = (torch.cat(x) for x in zip(*pairs, strict=True))
    most = largest_norm(flow)
    found = largest_norm_from_depth(depth, flow / most.view(-1, 1, 1, 1, 1), 0, 32)
    assert torch.allclose(found, most, rtol=0.02)


def test_nothing_that_moves_has_size_1() -> None:
    assert largest_norm(torch.zeros(2, 3, 4, 5, 5)).equal(torch.ones(2))


def test_flows_of_a_clip_are_scaled_as_in_the_paper_and_found_again() -> None:
    """Equations 7 to 10: both parts in [-1, 1], a norm of 1 somewhere, pixels at the end."""
    space = motion_space(scale="clip", depth="model", depth_from="nowhere")
    depth, flow = ramp(0.7, (16, 16), FRAMES)
    depth = 2 * (depth - depth.min()) / (depth.max() - depth.min()) - 1
    batch = stored_clip(shifted_pictures(SIZE, FRAMES, 2, 1), STORE)
    known = {"depth_map": depth, "flow_pair": 4 * flow, "first_frame": batch.first_frame}
    raw = space.unscaled(known)
    assert raw.shape == (1, 5, FRAMES, 16, 16)
    assert raw[:, 0].amin() == -1 and raw[:, 0].amax() == 1
    assert raw[:, 1:3].norm(dim=1).max() == pytest.approx(1)
    decoded = space.restore(raw, known)
    assert torch.allclose(decoded.parts["flow_pair"], 4 * flow, rtol=0.02, atol=1e-4)
    assert torch.allclose(decoded.parts["depth_map"], depth, atol=1e-6)
    assert decoded.parts["depth"].amin() >= 0


def test_depth_of_layers_spans_minus_1_to_1_over_a_clip() -> None:
    space = motion_space(depth="layers", depth_from="elsewhere")
    greys = np.full((FRAMES, 3, SIZE, SIZE), 40, np.uint8)
    greys[:, :, 16:32, 16:32], greys[2:, :, 40:44, 40:44] = 240, 140
    [array] = [a for a in space.derived() if a.name == "depth_map"]
    assert array.companion == "elsewhere"
    depth = array.compute(stored_clip(greys, STORE))[0, :, 0]
    assert depth.shape == (FRAMES, 16, 16)
    assert (depth[:, 4:8, 4:8] == 1).all()
    assert (depth[2:, 10, 10] == 0).all() and (depth[:2, 10, 10] == -1).all()
    flat = array.compute(stored_clip(np.full_like(greys, 7), STORE))
    assert not flat.any()


@pytest.mark.parametrize(
    ("options", "fault"),
    [
        ({"depth": "layers"}, "depth=layers needs depth_from"),
        ({"flow": "raft"}, "flow=raft needs flow_weights"),
        ({"depth_from": "x"}, "depth=none has no depth_from"),
        ({"scale": "clip"}, "scale=clip .*give depth=layers or model"),
        ({"flow": "store", "key": "centre"}, "flow=store .*key=first only"),
    ],
)
def test_options_that_do_not_go_together_are_refused(options: dict, fault: str) -> None:
    with pytest.raises(ValueError, match=fault):
        MotionSpaceOptions(**options)


def test_clips_around_a_key_frame_do_not_go_on() -> None:
    space = motion_space(key="centre")
    batch = stored_clip(shifted_pictures(SIZE, FRAMES, 2, 1), STORE)
    decoded = space.decode(torch.zeros(1, *space.shape), vars(batch))
    with pytest.raises(UserError, match="key=centre"):
        space.continue_from(decoded, vars(batch))
