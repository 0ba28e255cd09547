from __future__ import annotations

from pathlib import Path
from typing import get_args

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from tests.train.toy import CPU, start_ranks
from train.trainer.distributed import World, process_group
from train.trainer.optimisers import Ema, Muon, make_optimisers, orthogonalise, share_out
from train.trainer.schedule import OptimiserName, TrainingOptions


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


def test_orthogonalising_by_the_small_squares_is_the_iteration_on_the_matrix_itself() -> None:
    matrix = torch.randn(5, 9, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    x = matrix / matrix.norm()
    for _ in range(5):
        gram = x @ x.T
        x = 3.4445 * x + (-4.7750 * gram + 2.0315 * gram @ gram) @ x
    assert torch.allclose(orthogonalise(matrix), x, atol=1e-6)
    assert torch.allclose(orthogonalise(matrix.T), x.T, atol=1e-6)


@given(st.lists(st.integers(1, 1000), max_size=20), st.integers(1, 5))
def test_work_is_shared_out_evenly(work: list[int], ranks: int) -> None:
    """The busiest rank would be ahead of no other without its smallest piece."""
    owners = share_out(work, ranks)
    pieces = [[w for w, owner in zip(work, owners, strict=True) if owner == rank]
              for rank in range(ranks)]  # fmt: skip
    busiest = max(pieces, key=sum)
    assert sum(map(sum, pieces)) == sum(work)
    assert sum(busiest) - min(busiest, default=0) <= min(map(sum, pieces))


@pytest.mark.parametrize("name", get_args(OptimiserName))
def test_every_weight_is_moved_by_exactly_one_optimiser(name: OptimiserName) -> None:
    network = small_network()
    optimisers = make_optimisers(network, TrainingOptions(optimiser=name, beta1=0.5), World())
    assert optimisers["adamw"].param_groups[0]["betas"] == (0.5, 0.999)
    groups = [group for optimiser in optimisers.values() for group in optimiser.param_groups]
    covered = [id(parameter) for group in groups for parameter in group["params"]]
    assert sorted(covered) == sorted(id(parameter) for parameter in network.parameters())


@pytest.mark.parametrize("name", get_args(OptimiserName))
def test_it_learns(name: OptimiserName) -> None:
    network = small_network()
    x = torch.randn(4, 3, 6, 6, generator=torch.Generator().manual_seed(1))
    options = TrainingOptions(optimiser=name, learning_rate=3e-3, beta2=0.99)
    optimisers = make_optimisers(network, options, World())
    losses = []
    for _ in range(60):
        loss = (network(x) - 2 * x.roll(1, -1)).square().mean()
        network.zero_grad()
        loss.backward()
        for optimiser in optimisers.values():
            optimiser.step()
        losses.append(loss.item())
    assert losses[-1] < 0.6 * losses[0]


def take_muon_steps(folder: Path) -> None:
    """Three steps on gradients that all ranks have, into FOLDER/RANK.pt."""
    torch.set_num_threads(1)
    generator = torch.Generator().manual_seed(1)
    shapes = [(7, 4), (5, 7), (5, 5), (9, 5)]
    weights = [torch.randn(shape, generator=generator, requires_grad=True) for shape in shapes]
    with process_group(CPU) as world:
        muon = Muon(weights, lr=0.1, world=world)
        for _ in range(3):
            for weight in weights:
                weight.grad = torch.randn(weight.shape, generator=generator)
            muon.step()
    means = [muon.state[weight]["mean"] for weight in weights]
    torch.save([weight.detach() for weight in weights] + means, folder / f"{world.rank}.pt")


@pytest.mark.parametrize("ranks", [2, 5])
def test_ranks_that_share_the_matrices_step_as_one_does(tmp_path: Path, ranks: int) -> None:
    """Bit for bit, more ranks than matrices too; each has all that a checkpoint holds."""
    take_muon_steps(tmp_path)
    alone = torch.load(tmp_path / "0.pt")
    (together := tmp_path / "together").mkdir()
    for process in start_ranks(ranks, take_muon_steps, together):
        process.join()
        assert process.exitcode == 0
    for rank in range(ranks):
        for tensor, expected in zip(torch.load(together / f"{rank}.pt"), alone, strict=True):
            assert torch.equal(tensor, expected)


def set_weight(network: nn.Linear, value: float) -> None:
    with torch.no_grad():
        network.weight.fill_(value)


def test_averages_by_hand() -> None:
    """Decay is min(0.5, (1 + s) / (10 + s)): 1/10, 2/11, ... and 0.5 from step 8 on."""
    network = nn.Linear(1, 1, bias=False)
    set_weight(network, 2.0)
    ema = Ema(network, decay=0.5)
    expected = 2.0
    for step in range(15):
        set_weight(network, float(step))
        ema.update(network, step)
        decay = min(0.5, (1 + step) / (10 + step))
        expected = decay * expected + (1 - decay) * step
        assert ema.network.weight.item() == pytest.approx(expected, rel=1e-5)
    assert expected == pytest.approx(13.0, abs=0.2)


def test_the_average_is_a_copy_that_does_not_learn() -> None:
    network = nn.Linear(2, 1)
    ema = Ema(network, decay=0.9)
    assert not any(parameter.requires_grad for parameter in ema.network.parameters())
    before = ema.network.weight.clone()
    set_weight(network, 100.0)
    assert ema.network.weight.equal(before)


def test_whole_numbers_are_copied() -> None:
    network = nn.BatchNorm1d(2)
    ema = Ema(network, decay=0.9)
    network(torch.randn(4, 2))
    ema.update(network, 0)
    assert ema.network.num_batches_tracked.item() == 1
