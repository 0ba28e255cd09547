from __future__ import annotations

from dataclasses import replace

import pytest
import torch
import torch.nn.functional as functional
from torch import Tensor

from shared.errors import UserError
from train.models.unet3d import UNet3D, UNet3DOptions, attention

OPTIONS = UNet3DOptions(dim=16, mults=(1, 2), blocks=1, heads=2, head_dim=8, context=8, label_dim=8)
CHANNELS, BLOCK, LABELS = 5, 4, 3


def network(options: UNet3DOptions = OPTIONS) -> UNet3D:
    torch.manual_seed(0)
    return UNet3D(options, CHANNELS, BLOCK, LABELS).eval()


@pytest.fixture(scope="module")
def shaken() -> UNet3D:
    """A network whose weights, those that start at zero too, all matter."""
    shaken = network()
    with torch.no_grad():
        for parameter in shaken.parameters():
            parameter += 0.1 * torch.randn_like(parameter)
    return shaken


def inputs(grid: int = 4, frames: int = 3, batch: int = 2) -> list[Tensor]:
    generator = torch.Generator().manual_seed(0)
    return [
        torch.randn(batch, CHANNELS, frames, grid, grid, generator=generator),
        torch.tensor([10, 900])[:batch],
        torch.tensor([0, 2])[:batch],
        torch.rand(batch, 3, grid * BLOCK, grid * BLOCK, generator=generator) * 2 - 1,
    ]


@torch.no_grad()
def output(net: UNet3D, arguments: list[Tensor]) -> Tensor:
    return net(*arguments)


@pytest.mark.parametrize("grid", [4, 6, 8])
@pytest.mark.parametrize("frames", [1, 3])
def test_the_prediction_has_the_shape_of_its_input(shaken: UNet3D, grid: int, frames: int) -> None:
    arguments = inputs(grid, frames)
    assert output(shaken, arguments).shape == arguments[0].shape


def test_it_starts_by_predicting_nothing() -> None:
    assert output(network(), inputs()).abs().max() == 0


def test_a_grid_that_cannot_be_halved_is_refused() -> None:
    with pytest.raises(UserError, match=r"5x5 grid cannot be halved 1 times.*multiple of 2"):
        output(network(), inputs(grid=5))


@pytest.mark.parametrize(("position", "name"), [(1, "time"), (2, "label"), (3, "first frame")])
def test_every_condition_matters(shaken: UNet3D, position: int, name: str) -> None:
    arguments = inputs()
    before = output(shaken, arguments)
    arguments[position] = arguments[position].flip(0)
    assert (output(shaken, arguments) - before).abs().amax(dim=(1, 2, 3, 4)).min() > 1e-3, name


def test_the_null_label_is_one_of_its_own(shaken: UNet3D) -> None:
    assert shaken.null_label == LABELS
    arguments = inputs()
    before = output(shaken, arguments)
    arguments[2] = torch.full((2,), shaken.null_label)
    assert (output(shaken, arguments) - before).abs().max() > 1e-3


def test_frames_and_places_see_each_other(shaken: UNet3D) -> None:
    arguments = inputs()
    before = output(shaken, arguments)
    arguments[0][:, :, 2, 3, 3] += 1
    change = (output(shaken, arguments) - before).abs()
    assert change[:, :, 0, 3, 3].max() > 1e-5
    assert change[:, :, 2, 0, 0].max() > 1e-5


def test_clips_of_a_batch_do_not_see_each_other(shaken: UNet3D) -> None:
    arguments = inputs()
    together = output(shaken, arguments)
    alone = [output(shaken, [a[i : i + 1] for a in arguments]) for i in range(2)]
    assert torch.allclose(together, torch.cat(alone), atol=1e-4)


def test_equal_frames_differ_by_their_place_in_the_clip(shaken: UNet3D) -> None:
    arguments = inputs()
    arguments[0] = arguments[0][:, :, :1].expand(-1, -1, 3, -1, -1)
    result = output(shaken, arguments)
    assert (result[:, :, 0] - result[:, :, 2]).abs().max() > 1e-4


def test_after_one_step_every_weight_learns() -> None:
    net = network()
    optimiser = torch.optim.SGD(net.parameters(), lr=0.1)
    generator = torch.Generator().manual_seed(3)
    for _ in range(4):
        arguments = inputs()
        loss = (net(*arguments) - torch.randn(arguments[0].shape, generator=generator)).square()
        optimiser.zero_grad()
        loss.mean().backward()
        optimiser.step()
    still = [name for name, p in net.named_parameters() if p.grad is None or not p.grad.any()]
    assert not still


def test_temporal_convolutions_start_as_the_identity() -> None:
    options = UNet3DOptions(
        dim=16, mults=(1, 2), blocks=1, heads=2, head_dim=8, context=8, label_dim=8,
        temporal_conv=True,
    )  # fmt: skip
    net = network(options)
    assert output(net, inputs()).shape == inputs()[0].shape
    assert sum(p.numel() for p in net.parameters()) > sum(p.numel() for p in network().parameters())


WITH_LAYOUT = replace(OPTIONS, layout=3)


def layout_network() -> UNet3D:
    torch.manual_seed(0)
    return UNet3D(WITH_LAYOUT, CHANNELS, BLOCK, LABELS, shape=(3, 4, 4))


def test_a_layout_says_where_and_when_for_each_label() -> None:
    net = layout_network()
    assert net.layout is not None
    maps = net.layout(net.label(torch.tensor([0, 2])))
    assert maps.shape == (2, 3, 3, 4, 4)
    assert (maps[0] - maps[1]).abs().min() > 0
    assert maps.flatten(2).std(dim=2).min() > 0


def test_a_network_with_a_layout_learns_a_place_and_a_time_sooner() -> None:
    """A label that lights one cell in one frame, told from pure noise."""

    def error(net: UNet3D) -> float:
        optimiser = torch.optim.AdamW(net.parameters(), lr=3e-3)
        _, _, label, first_frame = inputs()
        truth = torch.zeros(2, CHANNELS, 3, 4, 4)
        truth[0, :, 1, 0, 3] = truth[1, :, 2, 2, 0] = 1
        generator = torch.Generator().manual_seed(1)
        losses = []
        for _ in range(40):
            noise = torch.randn(truth.shape, generator=generator)
            loss = (net(noise, torch.tensor([999, 999]), label, first_frame) - truth).square()
            optimiser.zero_grad()
            loss.mean().backward()
            optimiser.step()
            losses.append(float(loss.detach().mean() / truth.square().mean()))
        return sum(losses[-5:]) / 5

    without = error(network().train())
    assert error(layout_network()) < 0.7 * without


def test_attention_written_out_agrees_with_the_fused_kernel() -> None:
    generator = torch.Generator().manual_seed(0)
    query, key, value = torch.randn(3, 2, 4, 7, 8, generator=generator)
    bias = torch.randn(4, 7, 7, generator=generator)
    for given in (None, bias):
        fused = functional.scaled_dot_product_attention(query, key, value, attn_mask=given)
        assert torch.allclose(attention(query, key, value, given), fused, atol=1e-5)
