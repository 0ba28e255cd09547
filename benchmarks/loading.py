"""Training batches from a store, against WebDataset's own loader on tar shards of the same clips.

Both shuffle, deliver tensors in batches of 8, and have two workers: threads here, processes there.
Files are in the page cache, as after a first epoch where memory allows: the tar shards are many
times larger, so a disk would only widen the gap. `python -m benchmarks --only loading`.
"""

from __future__ import annotations

import itertools
import os
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from benchmarks.measure import Figure, least_in_turn
from preprocess.executor import ExecutorOptions
from preprocess.pipeline import Extraction, run
from preprocess.steps.export import export_store
from shared.console import Progress
from shared.manifest import load_manifest
from shared.schema import LARGE, CodecOptions
from shared.store.store import Store
from train.data.batches import BatchSlice, rank_slices, read_ahead
from train.data.clips import Clips

SIZE, BATCH, WORKERS = 128, 8, 2
WARM_UP, BATCHES, ROUNDS = 10, 60, 3

Batch = Sequence[torch.Tensor]
"""First frames, vectors, residuals, labels."""


@dataclass(frozen=True)
class Load:
    """Time and bytes read to load BATCHES batches."""

    seconds: float
    bytes_read: int


def loading_figures(kinds: dict[str, list[Path]]) -> Iterator[Figure]:
    """Yield rate and bytes read for each kind of video."""
    for kind, videos in kinds.items():
        with tempfile.TemporaryDirectory() as folder:
            yield from _figures(kind, *_make(Path(folder), videos))


def _make(folder: Path, videos: list[Path]) -> tuple[Path, Path]:
    """Make a store of some hundred clips, and its tar shards."""
    root = folder / "videos"
    root.mkdir()
    for i, video in enumerate(itertools.islice(itertools.cycle(videos), 120)):
        (root / f"{i:03d}-{video.name}").symlink_to(video.absolute())
    store, executor, progress = folder / "store", ExecutorOptions(), Progress()
    options = CodecOptions(size=SIZE)
    run(Extraction(load_manifest("folder"), root, store, options, executor, None), progress)
    export_store(store, folder / "tars", "webdataset", executor, progress)
    return store, folder / "tars"


def _figures(kind: str, store: Path, tars: Path) -> Iterator[Figure]:
    ours: list[Load] = []
    theirs: list[Load] = []
    least_in_turn(
        ROUNDS,
        lambda: _noted(ours, _timed(from_store(store))),
        lambda: _noted(theirs, _timed(from_tars(tars))),
    )
    clips = BATCH * BATCHES
    rates = [clips / min(load.seconds for load in loads) for loads in (ours, theirs)]
    read = [loads[0].bytes_read / clips / 1e3 for loads in (ours, theirs)]
    name = f"loading {kind}, {SIZE}²: store against WebDataset,"
    yield Figure(f"{name} clips/s", rates[0], rates[1], "/s", rates[0] / rates[1], 1)
    part = read[0] / read[1]
    yield Figure(f"{name} read a clip", read[0], read[1], "kB", part, 0.5, at_most=True)


def _noted(loads: list[Load], load: Load) -> float:
    loads.append(load)
    return load.seconds


def from_store(path: Path) -> Iterator[Batch]:
    """Load with this project, epoch after epoch; nothing is kept in memory."""
    clips = Clips(Store(path), None, in_memory_bytes=0)
    everything = np.arange(len(clips.store))

    def read(part: BatchSlice) -> dict[str, torch.Tensor]:
        return clips.tensors(LARGE, part.indices(everything, 0))

    with closing(read_ahead(read, rank_slices(0, BATCH), workers=WORKERS)) as batches:
        for tensors in batches:
            yield tuple(tensors[name] for name in (*LARGE, "label"))


def from_tars(path: Path) -> Iterator[Batch]:
    """Load with WebDataset: shuffled shards, a buffer of 100 clips, its own decoding."""
    import webdataset
    from torch.utils.data import default_collate

    shards = sorted(map(str, path.glob("*.tar")))
    samples = (
        webdataset.WebDataset(shards, shardshuffle=len(shards), seed=0, empty_check=False)
        .repeat()
        .shuffle(100)
        .decode()
        .to_tuple(*(f"{name}.npy" for name in LARGE), "json")
        .map(_as_tensors)
        .batched(BATCH, collation_fn=default_collate)
    )
    yield from webdataset.WebLoader(samples, batch_size=None, num_workers=WORKERS)


def _as_tensors(sample: tuple[Any, ...]) -> tuple[Any, ...]:
    return *(torch.from_numpy(array) for array in sample[:3]), sample[3]["label"]


def _timed(batches: Iterator[Batch]) -> Load:
    for _ in range(WARM_UP):
        next(batches)
    before, start = _bytes_read(), time.perf_counter()
    for _ in range(BATCHES):
        assert next(batches)[2].shape == (BATCH, 15, 3, SIZE, SIZE)
    return Load(time.perf_counter() - start, _bytes_read() - before)


def _bytes_read() -> int:
    """Bytes read by this process and its children, from files or their cache (Linux)."""
    me = os.getpid()
    children = Path(f"/proc/{me}/task/{me}/children").read_text().split()
    files = [Path(f"/proc/{process}/io") for process in (me, *children)]
    lines = [line for file in files for line in file.read_text().splitlines()]
    return sum(int(line.split()[1]) for line in lines if line.startswith("rchar"))
