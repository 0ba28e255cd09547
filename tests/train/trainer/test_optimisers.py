from __future__ import annotations

from typing import get_args

import pytest
import torch
from torch import nn

from train.trainer.optimisers import OptimiserName, make_optimisers, orthogonalise


def small_network() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(3, 8, 3, padding=1), nn.GroupNorm(2, 8), nn.SiLU(), nn.Conv2d(8, 3, 3, padding=1)
    )


@pytest.mark.parametrize("shape", [(6, 6), (4, 20), (20, 4)])
def test_orthogonalising_brings_singular_values_to_about_one(shape: tuple[int, int]) -> None:
    generator = torch.Generator().manual_seed(0)
    matrix = 100 * torch.randn(shape, generator=generator)
    values = torch.linalg.svdvals(orthogonalise(matrix))
    assert 0.5 < float(values.min()) <= float(values.max()) < 1.3
    left, _, right = torch.linalg.svd(matrix, full_matrices=False)
    assert float((orthogonalise(matrix) * (left @ right)).sum()) > 0.8 * min(shape)


@pytest.mark.parametrize("name", get_args(OptimiserName))
def test_every_weight_is_moved_by_exactly_one_optimiser(name: OptimiserName) -> None:
    network = small_network()
    optimisers = make_optimisers(
        network, name, learning_rate=1e-3, beta2=0.99, weight_decay=0.0
    ).values()
    groups = [group for optimiser in optimisers for group in optimiser.param_groups]
    covered = [id(parameter) for group in groups for parameter in group["params"]]
    assert sorted(covered) == sorted(id(parameter) for parameter in network.parameters())


@pytest.mark.parametrize("name", get_args(OptimiserName))
def test_it_learns(name: OptimiserName) -> None:
    network, x = (
        small_network(),
        torch.randn(4, 3, 6, 6, generator=torch.Generator().manual_seed(1)),
    )
    optimisers = make_optimisers(network, name, learning_rate=3e-3, beta2=0.99, weight_decay=0.0)
    losses = []
    for _ in range(60):
        loss = (network(x) - 2 * x.roll(1, -1)).square().mean()
        network.zero_grad()
        loss.backward()
        for optimiser in optimisers.values():
            optimiser.step()
        losses.append(loss.item())
    assert losses[-1] < 0.6 * losses[0]
