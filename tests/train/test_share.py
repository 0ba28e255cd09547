from __future__ import annotations

import numpy as np
import torch
from hypothesis import given
from hypothesis import strategies as st

from train.share import Share, batch_at, generator_for, shares


@given(
    count=st.integers(1, 20),
    batch=st.integers(1, 8),
    seed=st.integers(0, 2**31),
    epochs=st.integers(1, 3),
)
def test_batches_visit_every_clip_once_an_epoch(
    count: int, batch: int, seed: int, epochs: int
) -> None:
    """Batches that reach over the end of an epoch begin the next one."""
    indices = np.arange(count) * 3 + 1
    steps = -(-count * epochs // batch)
    batches = [batch_at(step, indices, batch, seed) for step in range(steps)]
    assert all(len(piece) == batch for piece in batches)
    visited = np.concatenate(batches)
    for epoch in range(epochs):
        assert sorted(visited[epoch * count : (epoch + 1) * count]) == indices.tolist()
    assert batch_at(steps - 1, indices, batch, seed).tolist() == batches[-1].tolist()


def test_epochs_and_seeds_have_orders_of_their_own() -> None:
    indices = np.arange(50)
    orders = {tuple(batch_at(e, indices, 50, s)) for e in range(3) for s in range(3)}
    assert len(orders) == 9


def test_generators_depend_on_every_number_of_their_path() -> None:
    paths = [(0, 0), (0, 1), (1, 0), (1, 1), (2, 0)]
    drawn = {tuple(torch.randn(3, generator=generator_for(*path)).tolist()) for path in paths}
    assert len(drawn) == len(paths)
    assert generator_for(3, 4).initial_seed() == generator_for(3, 4).initial_seed()


@given(total=st.integers(1, 64), pieces=st.integers(1, 16), step=st.integers(0, 100))
def test_shares_are_even_and_cover_the_batch(total: int, pieces: int, step: int) -> None:
    pieces = min(total, pieces)
    parts = shares(step, total, pieces)
    assert [row for part in parts for row in range(part.start, part.stop)] == list(range(total))
    assert max(map(len, parts)) - min(map(len, parts)) <= 1
    assert {(part.step, part.total) for part in parts} == {(step, total)}


@given(total=st.integers(1, 12), pieces=st.integers(1, 4), step=st.integers(0, 30))
def test_clips_and_random_numbers_do_not_depend_on_the_division(
    total: int, pieces: int, step: int
) -> None:
    among, cpu = np.arange(7) * 2, torch.device("cpu")
    parts = shares(step, total, min(pieces, total))
    indices = np.concatenate([part.indices(among, 5) for part in parts])
    assert indices.tolist() == Share(step, 0, total, total).indices(among, 5).tolist()
    drawn = [float(torch.rand(1, generator=g)) for p in parts for g in p.generators(5, cpu)]
    whole = Share(step, 0, total, total).generators(5, cpu)
    assert drawn == [float(torch.rand(1, generator=g)) for g in whole]
    assert len(set(drawn)) == total
