"""Batches read ahead: the same whatever reads them, and nothing is left behind."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from shared.errors import StoreError, UserError
from shared.store.store import Store
from tests.train.stores import make_store
from train.data.batches import (
    BatchSlice,
    Prefetch,
    Tensors,
    batch_at,
    generator_for,
    read_ahead,
    split_batch,
)
from train.data.clips import Clips


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
    parts = split_batch(step, total, pieces)
    assert [row for part in parts for row in range(part.start, part.stop)] == list(range(total))
    assert max(map(len, parts)) - min(map(len, parts)) <= 1
    assert {(part.step, part.total) for part in parts} == {(step, total)}


@given(total=st.integers(1, 12), pieces=st.integers(1, 4), step=st.integers(0, 30))
def test_clips_and_random_numbers_do_not_depend_on_the_division(
    total: int, pieces: int, step: int
) -> None:
    among, cpu = np.arange(7) * 2, torch.device("cpu")
    parts = split_batch(step, total, min(pieces, total))
    indices = np.concatenate([part.indices(among, 5) for part in parts])
    assert indices.tolist() == BatchSlice(step, 0, total, total).indices(among, 5).tolist()
    drawn = [float(torch.rand(1, generator=g)) for p in parts for g in p.generators(5, cpu)]
    whole = BatchSlice(step, 0, total, total).generators(5, cpu)
    assert drawn == [float(torch.rand(1, generator=g)) for g in whole]
    assert len(set(drawn)) == total


CPU = torch.device("cpu")
NAMES = ("first_frame", "motion", "residual")


def prefetch(clips: Clips, *, ahead: int = 4, workers: int = 2, seed: int = 0) -> Prefetch:
    return Prefetch(
        partial(clips.tensors, NAMES),
        lambda part: part.indices(clips.train, seed),
        CPU,
        ahead=ahead,
        workers=workers,
    )


def rank_shares(steps: range, total: int, pieces: int, rank: int, ranks: int) -> list[BatchSlice]:
    """What one of several processes takes, `pieces` a step in all."""
    return [
        part for step in steps for part in split_batch(step, total, pieces)[rank * pieces // ranks :]
        [: pieces // ranks]
    ]  # fmt: skip


def equal(one: Tensors, two: Tensors) -> bool:
    return one.keys() == two.keys() and all(one[name].equal(two[name]) for name in one)


def alive() -> list[str]:
    return [t.name for t in threading.enumerate() if t.name.startswith(("prefetch", "read-ahead"))]


@settings(max_examples=12)
@given(
    start=st.integers(0, 30),
    pieces=st.sampled_from([1, 2, 4]),
    ranks=st.sampled_from([1, 2]),
    ahead=st.integers(0, 5),
    workers=st.integers(1, 4),
    in_memory=st.booleans(),
)
def test_batches_do_not_depend_on_who_reads_them(
    store: Store,
    start: int,
    pieces: int,
    ranks: int,
    ahead: int,
    workers: int,
    in_memory: bool,
) -> None:
    """Rows joined over ranks and pieces are the step's batch, read at once and from the start."""
    ranks = min(ranks, pieces)
    plain = Clips(store, None)
    clips = Clips(store, None, in_memory_bytes=2**30 if in_memory else 0)
    steps = range(start, start + 5)
    joined: dict[int, list[Tensors]] = {step: [] for step in steps}
    for rank in range(ranks):
        with prefetch(clips, ahead=ahead, workers=workers) as load:
            for part in rank_shares(steps, 6, pieces, rank, ranks):
                joined[part.step].append(load(part))
    for step, parts in joined.items():
        whole = plain.tensors(NAMES, BatchSlice(step, 0, 6, 6).indices(plain.train, 0))
        assert equal({name: torch.cat([part[name] for part in parts]) for name in whole}, whole)
    assert not alive()


@pytest.mark.parametrize("pieces", [1, 3])
def test_what_follows_is_asked_for_in_advance(store: Store, pieces: int) -> None:
    clips = Clips(store, None)
    asked: list[tuple[int, ...]] = []

    def read(indices: np.ndarray, *, pinned: bool) -> Tensors:
        assert not pinned, "it costs, and a CPU gains nothing"
        asked.append(tuple(indices.tolist()))
        return clips.tensors(("motion",), indices)

    order = [part for step in range(4) for part in split_batch(step, 6, pieces)]
    wanted = [tuple(part.indices(clips.train, 0).tolist()) for part in order]
    with Prefetch(read, lambda part: part.indices(clips.train, 0), CPU, ahead=2) as load:
        for part in order[:-2]:
            load(part)
        deadline = time.monotonic() + 10
        while not set(wanted) <= set(asked) and time.monotonic() < deadline:
            time.sleep(0.01)
    assert set(wanted) <= set(asked), "the last two were never called for"
    assert len(asked) <= len(wanted) + 2 + pieces, "guesses that are wrong come at the start only"


def test_reading_goes_on_while_the_caller_works() -> None:
    started = threading.Semaphore(0)

    def read(indices: np.ndarray, *, pinned: bool) -> Tensors:
        assert not pinned, "it costs, and a CPU gains nothing"
        started.release()
        return {"x": torch.from_numpy(indices)}

    with Prefetch(read, lambda part: np.array([part.step]), CPU, ahead=3) as load:
        assert load(BatchSlice(0, 0, 1, 1))["x"].tolist() == [0]
        for _ in range(4):
            assert started.acquire(timeout=10)


def test_an_unreadable_clip_is_named_when_it_is_wanted(tmp_path: Path) -> None:
    """Not before: what was read in advance may never be needed. Threads end all the same."""
    store = make_store(tmp_path / "store")
    clips = Clips(store, None)
    shard = tmp_path / "store/residual/c/0/0/0/0/0"
    content = bytearray(shard.read_bytes())
    content[:400] = bytes(400)
    shard.write_bytes(content)
    broken = sorted(
        i for i in clips.train.tolist() if store.indices[i] < 5 and not readable(store, i)
    )
    assert broken
    named = rf"clip ({'|'.join(map(str, broken))}) of .*residual"
    with pytest.raises(StoreError, match=named), prefetch(clips) as load:
        for step in range(len(clips.train)):
            part = BatchSlice(step, 0, 1, 1)
            load(part)
            assert part.indices(clips.train, 0)[0] not in broken
    assert not alive()


def readable(store: Store, index: int) -> bool:
    try:
        store.clip("residual", index)
    except UserError:
        return False
    return True


def test_reading_ahead_keeps_the_order_and_ends_its_threads() -> None:
    def slow_at_first(item: int) -> int:
        time.sleep(0.02 if item < 2 else 0)
        return item * item

    assert list(read_ahead(slow_at_first, range(9), workers=3)) == [k * k for k in range(9)]
    pieces: Iterator[int] = read_ahead(slow_at_first, range(100))
    assert next(pieces) == 0
    pieces.close()  # type: ignore[attr-defined]
    assert not alive()
    with pytest.raises(ZeroDivisionError):
        list(read_ahead(lambda item: 1 // item, [1, 0]))
    assert not alive()
