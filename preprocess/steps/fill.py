"""Fill a store: make its missing partitions, list the rejects, and seal it; resumable."""

from __future__ import annotations

import errno
import time
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Generic, TypeVar

import numpy as np

from preprocess.executor import ExecutorOptions, run_tasks
from preprocess.motion.encode import encode
from preprocess.options import SUFFIXES
from preprocess.planning.plan import Plan
from preprocess.records import Reject, write_rejects
from shared.console import Progress, errors
from shared.errors import StoreError, UserError
from shared.schema import StoreAttributes
from shared.store.layout import METADATA
from shared.store.lock import hold
from shared.store.paths import Location, remove, storage_errors
from shared.store.store import (
    Marker,
    create_store,
    read_attributes,
    read_markers,
    remove_leftovers,
    seal_store,
)

Task = TypeVar("Task")


@dataclass(frozen=True)
class PartitionJob(Generic[Task]):
    """Job of filling a store, partition by partition.

    Attributes:
        title: of the progress bar.
        store: to fill.
        attributes: of the store.
        source: of the clips; workers must see it.
        function: makes and writes one partition; importable by name.
        task: argument of the function, by partition.
        rejects: makes the whole list of rejects from the markers of all partitions.
        warm_up: compiles the kernels that the function needs besides the search.
    """

    title: str
    store: Location
    attributes: StoreAttributes
    source: Location
    function: Callable[[Task], Marker]
    task: Callable[[int], Task]
    rejects: Callable[[list[Marker]], Sequence[Reject]]
    warm_up: Callable[[], None] = lambda: None


@dataclass(frozen=True)
class PartitionResult:
    """Clips made by this run, without those of an earlier one, and its seconds."""

    clips: int = 0
    seconds: float = 0.0

    @property
    def clips_a_second(self) -> float:
        """Speed of this run; 0 if it made no clip."""
        return self.clips / self.seconds if self.clips else 0.0


def fill_store(
    job: PartitionJob, executor: ExecutorOptions, progress: Progress
) -> PartitionResult | None:
    """Make the missing partitions, then seal; None if all that was done before.

    Raises:
        UserError: the store cannot be written, the cluster cannot be used, or no clip is valid.
    """
    start = time.perf_counter()
    try:
        # Tested before locking, so that a finished store may lie on a read-only disk.
        if is_complete(job.store, job.attributes):
            return None
        with hold(job.store) as held:
            if is_complete(job.store, job.attributes):  # another run may have finished it
                return None
            if held and isinstance(job.store, Path):
                remove_leftovers(job.store)
            else:
                errors.print(f"{job.store}: no locks here; do not run it twice at a time")
            made = _fill(job, executor, progress)
    except storage_errors() as error:
        raise _unwritable(job.store, error) from error
    return PartitionResult(sum(marker.valid for marker in made), time.perf_counter() - start)


def _fill(job: PartitionJob, executor: ExecutorOptions, progress: Progress) -> list[Marker]:
    create_store(job.store, job.attributes)
    done = read_markers(job.store, range(job.attributes.partitions))
    missing = [p for p, marker in enumerate(done) if marker is None]
    made = _make(job, missing, executor, progress)
    markers = {m.partition: m for m in [*made, *done] if m is not None}
    ordered = [markers[p] for p in sorted(markers)]
    rejects = job.rejects(ordered)
    if not any(marker.valid for marker in ordered):
        remove(job.store)
        raise no_clips(rejects)
    write_rejects(job.store, rejects)
    seal_store(job.store)
    return made


def _make(
    job: PartitionJob, partitions: list[int], executor: ExecutorOptions, progress: Progress
) -> list[Marker]:
    sizes = {p: job.attributes.clips_in(p) for p in partitions}
    # Compiled here once: worker processes then read the kernels from disk instead of racing.
    encode(np.zeros((2, 3, 16, 16), np.uint8), job.attributes.options)
    job.warm_up()
    clips = job.attributes.clips
    with progress.bar(job.title, clips, "clips", done=clips - sum(sizes.values())) as advance:
        return run_tasks(
            job.function,
            [job.task(p) for p in partitions],
            executor,
            lambda marker: advance(sizes[marker.partition]),
            (job.source, job.store),
        )


def _unwritable(store: Location, error: Exception) -> UserError:
    reason = getattr(error, "strerror", None) or str(error)
    remedy = (
        "free some space and run the same command again: what is done is kept"
        if getattr(error, "errno", None) in (errno.ENOSPC, errno.EDQUOT)
        else "choose another --out, or correct the permissions and run the same command again"
    )
    return UserError(f"cannot write the store {store}: {reason}; {remedy}")


def is_complete(store: Location, wanted: StoreAttributes) -> bool:
    """Test whether a store is sealed already; False if there is none, or only a part of one.

    Raises:
        StoreError: it was made with other options or videos, or is no store.
    """
    if not (store / METADATA).exists():
        if store.exists() and (not store.is_dir() or any(store.iterdir())):
            raise StoreError(f"{store} exists and is not a store; choose another --out")
        return False
    existing = read_attributes(store)
    differences = _differences(existing, wanted)
    if differences:
        raise StoreError(
            f"{store} was made with other options or videos:\n"
            + "\n".join(f"  {difference}" for difference in differences)
            + "\nChoose another --out, or delete that store."
        )
    return existing.sealed


def _differences(existing: StoreAttributes, wanted: StoreAttributes) -> list[str]:
    old, new = (
        dict(made.options) | {"size": made.options.size.option} for made in (existing, wanted)
    )
    found = [
        f"{'--' if name in SUFFIXES else ''}{name.replace('_', '-')} {old[name]}, now {new[name]}"
        for name in new
        if old[name] != new[name]
    ]
    for name in ("dataset", "manifest_hash", "source", "colour", "splits"):
        before, now = getattr(existing, name), getattr(wanted, name)
        if before != now:
            found.append(f"{name.replace('_', ' ')} {before}, now {now}")
    same_plan = (existing.plan_hash, existing.clips, existing.shard_clips) == (
        wanted.plan_hash,
        wanted.clips,
        wanted.shard_clips,
    )
    if not found and not same_plan:
        found.append(
            f"other videos: {existing.clips} clips then, {wanted.clips} now (files were added,"
            " changed or removed, or --limit or --any-name differs)"
        )
    return found


def no_clips(rejects: Sequence[Reject]) -> UserError:
    """Make the error for a data set in which no file gave a clip."""
    reasons = Counter(reject.reason for reject in rejects).most_common(10)
    listed = "\n".join(f"  {count} × {reason}" for reason, count in reasons)
    files = len({reject.file for reject in rejects})
    selected = any(reject.stage == "select" for reject in rejects)
    return UserError(
        f"no clip could be made of {files} files:\n{listed}\n"
        "Give other videos, or fewer --frames or a smaller --stride if they are too short"
        + (", or other --cuts, --min-motion or --max-motion." if selected else ".")
    )


def gather_rejects(
    plan: Plan, earlier: Iterable[Reject], markers: Iterable[Marker]
) -> list[Reject]:
    """List every file that is damaged or gave fewer clips than planned, with its total of clips."""
    planned = Counter(clip.video for clip in plan.clips)
    first: dict[tuple[str, str], Reject] = {}
    missing: Counter[tuple[str, str]] = Counter()
    for reject in (Reject(**record) for marker in markers for record in marker.rejects):
        # A long video may fail in several partitions, with the same reason in each.
        key = reject.file, reject.reason if reject.stage == "select" else ""
        first.setdefault(key, reject)
        missing[key] += reject.clips_planned - reject.clips_made
    late = [
        replace(reject, clips_planned=total, clips_made=total - missing[key])
        for key, reject in first.items()
        for total in [planned[reject.file]]
    ]
    return sorted([*earlier, *plan.rejects, *late], key=lambda reject: (reject.file, reject.reason))
