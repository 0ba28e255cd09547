"""Export a sealed store as WebDataset tar shards, resumable and in parallel."""

from __future__ import annotations

import shutil
import tarfile
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from preprocess.executor import ExecutorOptions, run_tasks
from preprocess.records import read_rejects, write_rejects
from shared.console import Progress
from shared.errors import StoreError, UserError
from shared.schema import LARGE, StoreAttributes
from shared.store.export import (
    COLUMNS,
    DATASET,
    Export,
    ShardIndex,
    index_name,
    read_dataset,
    read_indices,
    shard_name,
    write_dataset,
    write_index,
)
from shared.store.partition import read_partition
from shared.store.paths import Location, location, put_in_place, storage_errors
from shared.store.store import Store, checksum, read_attributes

FORMATS = ("webdataset",)


@dataclass(frozen=True)
class ExportTask:
    """Task of writing one shard."""

    source: str
    out: str
    partition: int


def export_store(
    source: Location, out: Location, form: str, executor: ExecutorOptions, progress: Progress
) -> Export:
    """Write a sealed store's valid clips as tar shards, or finish an interrupted run.

    Args:
        source: a sealed store.
        out: a new folder, or one that an earlier run of the same command began.
        form: one of `FORMATS`.
        executor: place where tasks run.
        progress: shows the progress.

    Raises:
        UserError: the store cannot be used, or the folder holds something else.
    """
    if form not in FORMATS:
        raise UserError(f"--format {form}: must be one of {', '.join(FORMATS)}")
    attributes = Store(source).attributes
    try:
        if not _is_complete(out, attributes):
            _export(source, out, attributes, executor, progress)
    except storage_errors() as error:
        reason = getattr(error, "strerror", None) or error
        raise UserError(
            f"cannot write the export {out}: {reason}; correct that and run the same command again"
        ) from error
    return Export(out)


def export_partition(task: ExportTask) -> int:
    """Write one partition's valid clips as one tar shard, then its index; returns the partition.

    Raises:
        StoreError: the store's partition is damaged.
    """
    source, out = location(task.source), location(task.out)
    if (out / index_name(task.partition)).exists():
        return task.partition
    attributes = read_attributes(source)
    arrays = read_partition(source, task.partition)
    start = task.partition * attributes.shard_clips
    scratch = Path(tempfile.mkdtemp(prefix=".shard-", dir=out if isinstance(out, Path) else None))
    try:
        tar = scratch / shard_name(task.partition)
        write_tar(tar, arrays, start, attributes)
        index = index_tar(tar, arrays)
        put_in_place(tar, out / tar.name)
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
    write_index(out, task.partition, index)
    return task.partition


def write_tar(
    path: Path, arrays: dict[str, np.ndarray], start: int, attributes: StoreAttributes
) -> None:
    """Write one sample for every valid clip: an npy file for each large array, and a json.

    Args:
        path: the tar to write; the same clips give the same bytes.
        arrays: from `shared.store.partition.read_partition`.
        start: the partition's first slot in the store; keys are slots.
        attributes: for the texts of labels and subjects.
    """
    from webdataset import TarWriter

    with TarWriter(str(path), user="dvdm", group="dvdm", mtime=0) as tar:
        for slot in np.flatnonzero(arrays["valid"]):
            sample: dict[str, Any] = {f"{name}.npy": arrays[name][slot] for name in LARGE}
            facts = {spec.name: arrays[spec.name][slot : slot + 1].tolist()[0] for spec in COLUMNS}
            texts = {
                "label_text": _text(attributes.labels, facts["label"]),
                "subject_text": _text(attributes.subjects, facts["subject"]),
            }
            tar.write({"__key__": f"{start + slot:09d}", **sample, "json": facts | texts})


def index_tar(path: Path, arrays: dict[str, np.ndarray]) -> ShardIndex:
    """Index a tar: its columns, and offset and size of every clip's entries."""
    entries: dict[str, list[tuple[int, int]]] = {name: [] for name in LARGE}
    with tarfile.open(path) as tar:
        for member in tar:
            name = member.name.split(".")[1]
            if name in entries:
                entries[name].append((member.offset_data, member.size))
    valid = arrays["valid"]
    columns = {spec.name: arrays[spec.name][valid].tolist() for spec in COLUMNS}
    return ShardIndex(path.stat().st_size, checksum(path), columns, entries)


def _export(
    source: Location,
    out: Location,
    attributes: StoreAttributes,
    executor: ExecutorOptions,
    progress: Progress,
) -> None:
    if isinstance(out, Path):
        out.mkdir(parents=True, exist_ok=True)
    write_dataset(out, attributes, complete=False)
    done = read_indices(out, range(attributes.partitions))
    missing = [p for p, index in enumerate(done) if index is None]
    tasks = [ExportTask(str(source.absolute()), str(out.absolute()), p) for p in missing]
    before = attributes.partitions - len(missing)
    with progress.bar("Exporting", attributes.partitions, "shards", done=before) as advance:
        run_tasks(export_partition, tasks, executor, lambda p: advance(1), (source, out))
    write_rejects(out, read_rejects(source))
    if isinstance(out, Path):
        for stale in out.glob(".shard-*"):
            shutil.rmtree(stale)
    write_dataset(out, attributes, complete=True)


def _is_complete(out: Location, attributes: StoreAttributes) -> bool:
    if (out / DATASET).exists():
        existing, complete = read_dataset(out)
        if existing != attributes:
            raise StoreError(f"{out} is the export of another store; choose another --out")
        return complete
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise StoreError(f"{out} exists and is not an export; choose another --out")
    return False


def _text(texts: tuple[str, ...], index: int) -> str | None:
    return texts[index] if index >= 0 else None
