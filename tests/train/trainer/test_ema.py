from __future__ import annotations

import pytest
import torch
from torch import nn

from train.trainer.optimisers import Ema


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
