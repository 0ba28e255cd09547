from __future__ import annotations

import json
import math
import time

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from train.distributed import World
from train.meter import FiniteGuard, Means, Pace

CPU = torch.device("cpu")
NUMBERS = st.floats(-1e6, 1e6, width=32)


@given(st.lists(st.lists(NUMBERS | st.just(math.nan), min_size=1, max_size=5), min_size=1))
def test_means_are_over_rows_that_say_something(shares: list[list[float]]) -> None:
    means = Means(World())
    for rows in shares:
        means.add({"rows": torch.tensor(rows), "scalar": torch.tensor(float(len(rows)))}, len(rows))
    known = [value for rows in shares for value in rows if not math.isnan(value)]
    taken = means.take()
    sizes = [len(rows) for rows in shares]
    assert taken["scalar"] == pytest.approx(sum(n * n for n in sizes) / sum(sizes))
    if known:
        assert taken["rows"] == pytest.approx(math.fsum(known) / len(known), abs=1e-6)
    else:
        assert "rows" not in taken
    assert means.take() == {}


@given(st.lists(NUMBERS, min_size=2, max_size=20), st.integers(0, 20))
def test_sums_outlive_their_process_bit_for_bit(values: list[float], cut: int) -> None:
    whole, first = Means(World()), Means(World())
    for value in values:
        whole.add({"loss": torch.tensor(value)}, 3)
    for value in values[:cut]:
        first.add({"loss": torch.tensor(value)}, 3)
    second = Means(World())
    second.restore(json.loads(json.dumps(first.state())), CPU)
    for value in values[cut:]:
        second.add({"loss": torch.tensor(value)}, 3)
    assert second.take() == whole.take()


def test_only_rank_0_goes_on_from_the_sums_of_all() -> None:
    follower = Means(World(rank=1, size=2))
    follower.restore({"loss": [3.0, 1.0]}, CPU)
    assert not follower._sums


def test_the_first_step_that_is_not_finite_is_remembered() -> None:
    guard = FiniteGuard(World(), CPU)
    one = torch.ones(())
    guard.watch(3, one, one)
    assert guard.first() is None
    guard.watch(4, one, one * math.inf)
    guard.watch(5, one * math.nan, one)
    guard.watch(6, one, one)
    assert guard.first() == 4


def test_pauses_do_not_count() -> None:
    pace = Pace(World())
    with pace.paused():
        time.sleep(0.3)
    with pace.waiting():
        time.sleep(0.05)
    pace.count(10)
    taken = pace.take()
    assert taken["wait"] > 0.5
    assert 10 / 0.3 < taken["clips_per_second"] <= 10 / 0.05
    assert pace.take()["wait"] == 0
