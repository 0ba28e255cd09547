"""Each step's clips and random numbers, and reading ahead: independent of ranks and threads."""

from __future__ import annotations

import itertools
import threading
import time
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from shared.errors import StoreError, UserError
from shared.store.store import Store
from tests.train.stores import make_store
from train.data.batches import (
    BatchSlice,
    batch_at,
    generator_for,
    rank_slices,
    read_ahead,
    split_batch,
)
from train.data.clips import Clips

CPU = torch.device("cpu")
NAMES = ("first_frame", "motion", "residual")


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
    assert all(len(chosen) == batch for chosen in batches)
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


@given(
    total=st.integers(1, 64),
    passes=st.integers(1, 4),
    ranks=st.integers(1, 4),
    step=st.integers(0, 100),
)
def test_slices_of_all_ranks_are_even_and_cover_the_batch(
    total: int, passes: int, ranks: int, step: int
) -> None:
    total = max(total, ranks * passes)
    steps = {step: [], step + 1: []}  # type: dict[int, list[BatchSlice]]
    for rank in range(ranks):
        slices = rank_slices(step, total, passes=passes, rank=rank, ranks=ranks)
        for part in itertools.islice(slices, 2 * passes):
            steps[part.step].append(part)
    for number, parts in steps.items():
        assert parts == split_batch(number, total, ranks * passes)
        assert [row for part in parts for row in range(part.start, part.stop)] == [*range(total)]
        assert max(map(len, parts)) - min(map(len, parts)) <= 1
        assert {part.total for part in parts} == {total}


@given(total=st.integers(1, 12), count=st.integers(1, 4), step=st.integers(0, 30))
def test_clips_and_random_numbers_do_not_depend_on_the_split(
    total: int, count: int, step: int
) -> None:
    among = np.arange(7) * 2
    parts = split_batch(step, total, min(count, total))
    indices = np.concatenate([part.indices(among, 5) for part in parts])
    assert indices.tolist() == BatchSlice(step, 0, total, total).indices(among, 5).tolist()
    drawn = [float(torch.rand(1, generator=g)) for p in parts for g in p.generators(5, CPU)]
    whole = BatchSlice(step, 0, total, total).generators(5, CPU)
    assert drawn == [float(torch.rand(1, generator=g)) for g in whole]
    assert len(set(drawn)) == total


def reading_threads() -> list[str]:
    return [thread.name for thread in threading.enumerate() if "read-ahead" in thread.name]


@settings(max_examples=12)
@given(
    start=st.integers(0, 30),
    passes=st.integers(1, 3),
    ranks=st.integers(1, 2),
    ahead=st.integers(0, 5),
    workers=st.integers(1, 4),
    in_memory=st.booleans(),
)
def test_batches_do_not_depend_on_who_reads_them(
    store: Store, start: int, passes: int, ranks: int, ahead: int, workers: int, in_memory: bool
) -> None:
    """Slices joined over ranks and passes are the batch that one process reads, without threads."""
    plain = Clips(store, None)
    clips = Clips(store, None, in_memory_bytes=2**30 if in_memory else 0)
    steps = range(start, start + 5)
    slices = [
        [*itertools.islice(rank_slices(start, 6, passes=passes, rank=r, ranks=ranks), 5 * passes)]
        for r in range(ranks)
    ]
    by_step: dict[int, list[dict[str, Tensor]]] = {step: [] for step in steps}

    def read(part: BatchSlice) -> dict[str, Tensor]:
        return clips.tensors(NAMES, part.indices(clips.train, 0))

    for own in slices:
        for part, tensors in zip(
            own, read_ahead(read, own, ahead=ahead, workers=workers), strict=True
        ):
            by_step[part.step].append(tensors)
    for step, parts in by_step.items():
        whole = plain.tensors(NAMES, BatchSlice(step, 0, 6, 6).indices(plain.train, 0))
        assert all(torch.cat([part[name] for part in parts]).equal(whole[name]) for name in whole)
    assert not reading_threads()


def test_the_next_items_are_read_while_the_caller_works() -> None:
    begun = threading.Semaphore(0)

    def read(item: int) -> int:
        begun.release()
        return item

    with closing(read_ahead(read, itertools.count(), ahead=3)) as items:
        assert next(items) == 0
        for _ in range(4):
            assert begun.acquire(timeout=10)
        assert not begun.acquire(timeout=0.05), "no more than three are read in advance"


def test_order_is_kept_and_threads_end_with_the_items_an_error_or_close() -> None:
    def slow_at_first(item: int) -> int:
        time.sleep(0.02 if item < 2 else 0)
        return item * item

    assert [*read_ahead(slow_at_first, range(9), workers=3)] == [k * k for k in range(9)]
    assert not reading_threads()
    items = read_ahead(slow_at_first, range(100))
    assert next(items) == 0
    items.close()
    assert not reading_threads()
    with pytest.raises(ZeroDivisionError):
        list(read_ahead(lambda item: 1 // item, [1, 0]))
    assert not reading_threads()


def test_an_unreadable_clip_is_named_when_its_turn_comes(tmp_path: Path) -> None:
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
    indices = [int(batch_at(step, clips.train, 1, 0)[0]) for step in range(len(clips.train))]
    batches = read_ahead(lambda index: clips.tensors(NAMES, [index]), indices)
    with pytest.raises(StoreError, match=named):
        for index, _ in zip(indices, batches, strict=True):
            assert index not in broken
    assert not reading_threads()


def readable(store: Store, index: int) -> bool:
    try:
        store.clip("residual", index)
    except UserError:
        return False
    return True
