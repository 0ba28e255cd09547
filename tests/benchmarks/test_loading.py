"""Both loaders give the same clips: what is compared is the same work."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice
from pathlib import Path

import pytest

import benchmarks.loading
from benchmarks.loading import Batch, from_store, from_tars
from preprocess.executor import ExecutorOptions
from preprocess.steps.export import export_store
from shared.console import Progress
from tests.train.stores import make_store

CLIPS = 12


def seen(batches: Iterator[Batch], count: int) -> set[bytes]:
    """Every clip of some batches, all of it as bytes."""
    return {
        b"".join(tensor[row].numpy().tobytes() for tensor in batch)
        for batch in islice(batches, count)
        for row in range(len(batch[0]))
    }


def test_the_same_clips(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(benchmarks.loading, "BATCH", 4)
    store = make_store(tmp_path / "store")
    export_store(store.path, tmp_path / "tars", "webdataset", ExecutorOptions(), Progress())
    ours = seen(from_store(store.path), CLIPS // 4)
    assert len(ours) == CLIPS, "each once an epoch"
    # Shuffled by each worker, epoch after epoch: a few make sure that all came.
    assert seen(from_tars(tmp_path / "tars"), 5 * CLIPS) == ours
