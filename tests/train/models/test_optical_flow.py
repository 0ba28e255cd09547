"""Flow by OpenCV and by RAFT, whose file of random weights goes through the real loading code."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
import torch
from torch import Tensor

from shared.errors import UserError
from tests.train.spaces.moving import shifted_pictures
from train.models.optical_flow import DisFlow
from train.models.raft import Raft, RaftFlow, correlations, enlarge_flow, look_up
from train.models.warp import pixel_grid, warp

CPU = torch.device("cpu")


def pair(size: int, across: int, down: int) -> tuple[Tensor, Tensor]:
    """A picture, and the same moved by (across, down)."""
    clip = torch.from_numpy(shifted_pictures(size, 2, across, down))
    return clip[:1], clip[1:]


@pytest.mark.parametrize("size", [48, 130])
def test_dis_flow_restores_the_frame_from_the_other(size: int) -> None:
    before, after = pair(size, 3, -2)
    flow = DisFlow()(after, before)
    assert flow.shape == (1, 2, size, size)
    inner = (..., slice(12, -12), slice(12, -12))
    assert torch.allclose(flow[inner].mean(dim=(2, 3)), torch.tensor([[-3.0, 2.0]]), atol=0.2)
    error = (warp(before, flow) - after).abs()[inner].mean()
    assert error < 0.2 * (before.float() - after).abs()[inner].mean()


def test_pairs_do_not_depend_on_each_other_and_still_ones_do_not_move() -> None:
    (before, after), search = pair(48, 2, 1), DisFlow()
    both = search(torch.cat([after, before]), torch.cat([before, before]))
    assert both[:1].equal(search(after, before))
    assert not both[1].any()


def test_opencv_is_named_where_it_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "cv2", None)
    with pytest.raises(UserError, match=r"pip install 'dvdm\[movideo\]'; flow=store"):
        DisFlow()


def random_weights(path: Path) -> Path:
    torch.manual_seed(0)
    torch.save(Raft().state_dict(), path)
    return path


def test_raft_has_the_published_number_of_parameters() -> None:
    """5,257,536, as torchvision states for raft_large."""
    assert sum(weight.numel() for weight in Raft().parameters()) == 5_257_536


def test_raft_estimates_with_the_weights_of_a_file(tmp_path: Path) -> None:
    path = random_weights(tmp_path / "raft.pth")
    raft, (before, after) = RaftFlow(path), pair(60, 2, 1)
    flow = raft(after, before)
    assert flow.shape == (1, 2, 60, 60)
    assert flow.isfinite().all() and flow.std() > 0
    assert RaftFlow(path).identity == raft.identity
    other = torch.load(path, weights_only=True)
    other["update_block.flow_head.conv2.bias"] += 1.0
    torch.save(other, tmp_path / "other.pth")
    moved = RaftFlow(tmp_path / "other.pth")
    assert moved.identity != raft.identity
    assert moved(after, before).mean() > flow.mean() + 1


def test_files_that_are_no_weights_of_raft_are_named_with_a_remedy(tmp_path: Path) -> None:
    remedy = r"state dict of torchvision's raft_large"
    with pytest.raises(UserError, match=rf"none\.pth: there is no such file; .*{remedy}"):
        RaftFlow(tmp_path / "none.pth")
    damaged = tmp_path / "cut.pth"
    damaged.write_bytes(random_weights(tmp_path / "raft.pth").read_bytes()[:1000])
    with pytest.raises(UserError, match=rf"cut\.pth: cannot be read .*{remedy}"):
        RaftFlow(damaged)
    weights = Raft().state_dict()
    weights["mask_predictor.conv.weight"] = torch.zeros(3, 3)
    torch.save(weights, tmp_path / "other.pth")
    with pytest.raises(UserError, match=rf"mask_predictor\.conv\.weight.*{remedy}"):
        RaftFlow(tmp_path / "other.pth")


def test_correlations_are_looked_up_around_each_place() -> None:
    """A feature that is unique to a place correlates with itself alone, where it has moved to."""
    features = torch.eye(16 * 16).view(1, 256, 16, 16)
    moved = features.roll((1, 2), dims=(2, 3))  # one down, two to the right
    pyramid = correlations(features, moved)
    assert [level.shape[-1] for level in pyramid] == [16, 8, 4, 2]
    seen = look_up(pyramid, pixel_grid(16, 16, CPU)[None])
    assert seen.shape == (1, 4 * 81, 16, 16)
    finest = seen[0, :81, 8, 8].view(9, 9)
    assert finest.nonzero().tolist() == [[4 + 2, 4 + 1]], "x first, then y"
    assert finest.max() == pytest.approx(1 / 16)


def test_enlarged_flow_combines_neighbours() -> None:
    flow = torch.randn(1, 2, 4, 5, generator=torch.Generator().manual_seed(0))
    centre = torch.zeros(1, 9, 64, 4, 5)
    centre[:, 4] = 50.0  # the cell itself
    large = enlarge_flow(flow, centre.flatten(1, 2))
    expected = 8 * flow.repeat_interleave(8, -1).repeat_interleave(8, -2)
    assert torch.allclose(large, expected, atol=1e-4)
