from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import Tensor, nn

from shared.errors import UserError
from train.models.denoiser import DenoiserInput, with_null
from train.models.layers import parameter_count
from train.models.planes_autoencoder import TokenGrid, split_planes
from train.models.planes_unet import PlanesUNet, PlanesUNetOptions

GRID = TokenGrid(8, 4, 6)
SMALL = PlanesUNetOptions(
    dim=8, mults=(1, 2), blocks=1, heads=2, attention_levels=1, label_dim=4, layout=2
)


def shapes(grid: TokenGrid = GRID, channels: int = 3) -> DenoiserInput:
    length = sum(rows * columns for rows, columns in grid.planes)
    conditions = (("label", ()), ("before", (channels, length)))
    return DenoiserInput((channels, length), 4, conditions, grid.planes)


def unet(options: PlanesUNetOptions = SMALL, *, trained: bool = True) -> PlanesUNet:
    torch.manual_seed(0)
    network = PlanesUNet(options, shapes(), 3).eval()
    if trained:
        with torch.no_grad():
            for weight in network.parameters():
                weight.add_(0.1 * torch.randn_like(weight))
    return network


def inputs(count: int = 2) -> tuple[Tensor, Tensor, dict[str, Tensor]]:
    generator = torch.Generator().manual_seed(1)
    x0, before = (torch.randn(count, *shapes().x0, generator=generator) for _ in range(2))
    t, label = torch.tensor([3, 700])[:count], torch.tensor([0, 2])[:count]
    return x0, t, {"label": label, "before": before}


def test_it_starts_at_zero_and_keeps_the_shape() -> None:
    x, t, conditions = inputs()
    assert unet(trained=False)(x, t, conditions).equal(torch.zeros_like(x))
    assert unet()(x, t, conditions).shape == x.shape


def test_every_input_matters_and_rows_do_not_mix() -> None:
    network, (x, t, conditions) = unet(), inputs()
    found = network(x, t, conditions)
    changes = [
        (x + 1, t, conditions),
        (x, t + 50, conditions),
        (x, t, {**conditions, "before": -conditions["before"]}),
        (x, t, {**conditions, "label": torch.tensor([1, 1])}),
    ]
    for changed in changes:
        assert ((network(*changed) - found).abs().amax(dim=(1, 2)) > 1e-4).all()
    alone = network(x[1:], t[1:], {n: value[1:] for n, value in conditions.items()})
    assert torch.allclose(alone, found[1:], atol=1e-5)


def test_planes_learn_of_each_other_by_joint_attention_alone() -> None:
    network, (x, t, conditions) = unet(), inputs()

    def reached(network: nn.Module) -> list[bool]:
        """Planes whose prediction changes with the first plane's input."""
        changed = x.clone()
        changed[..., : 4 * 6] += 1
        planes = [split_planes(network(y, t, conditions), GRID.planes) for y in (x, changed)]
        pairs = zip(*planes, strict=True)
        return [bool((one - other).abs().max() > 1e-5) for one, other in pairs]

    assert reached(network) == [True, True, True]
    for name, module in network.named_modules():
        if name.endswith("across"):
            nn.init.zeros_(module.output.weight)  # type: ignore[union-attr, arg-type]
            nn.init.zeros_(module.output.bias)  # type: ignore[union-attr, arg-type]
    assert reached(network) == [True, False, False]


def test_null_rows_are_those_of_no_clip_before_and_no_label() -> None:
    network, (x, t, conditions) = unet(), inputs()
    rows = torch.tensor([True, False])
    null = with_null(network, conditions, {"before": rows, "label": rows})
    plain = {"label": torch.tensor([-1, 2]), "before": conditions["before"].clone()}
    plain["before"][0] = 0
    assert network(x, t, null).equal(network(x, t, plain))


def test_labels_are_no_condition_where_they_are_not_asked_for() -> None:
    network, (x, t, conditions) = unet(replace(SMALL, label_dim=0, layout=0)), inputs()
    other = {**conditions, "label": torch.tensor([1, -1])}
    assert network(x, t, conditions).equal(network(x, t, other))
    assert not hasattr(network, "label")
    with pytest.raises(ValueError, match="layout is a map of the label"):
        replace(SMALL, label_dim=0)


def test_planes_that_cannot_be_halved_are_refused() -> None:
    with pytest.raises(UserError, match="a plane of 4x6 cannot be halved 2 times"):
        PlanesUNet(replace(SMALL, mults=(1, 2, 2)), shapes(), 3)
    with pytest.raises(UserError, match="x_0 is not made of planes"):
        PlanesUNet(SMALL, replace(shapes(), parts=()), 3)


def test_the_published_size_has_the_published_parameters() -> None:
    with torch.device("meta"):
        network = PlanesUNet(PlanesUNetOptions(), shapes(TokenGrid(16, 32, 32), 4), 0)
    assert parameter_count(network) / 1e6 == pytest.approx(528, rel=0.005)
