"""From planned partitions to a sealed store, whatever the clips come from; resumable."""

from __future__ import annotations

import errno
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Generic, TypeVar

import numpy as np

from preprocess.encode import encode
from preprocess.executor import Machines, run_tasks
from preprocess.finalise import finalise
from preprocess.resume import is_complete
from preprocess.videos import Reject
from shared.console import Progress, errors
from shared.errors import UserError
from shared.lock import hold
from shared.paths import Location, storage_errors
from shared.schema import StoreAttributes
from shared.store import Marker, create_store, read_markers, remove_leftovers

Task = TypeVar("Task")


@dataclass(frozen=True)
class Work(Generic[Task]):
    """How a store is to be filled.

    Attributes:
        title: for the progress bar.
        store: where the result goes.
        attributes: of the store.
        source: where the clips come from; workers must see it.
        function: makes and writes one partition; importable by name.
        task: what the function is given, by partition.
        rejects: the whole list of rejects, from the markers of all partitions.
        warm_up: compiles what the function needs besides the search.
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
class Filled:
    """Clips made now, not counting those of an earlier run, and the seconds that took."""

    clips: int = 0
    seconds: float = 0.0

    @property
    def clips_a_second(self) -> float:
        """Speed of this run; 0 where it made none."""
        return self.clips / self.seconds if self.clips else 0.0


def fill_store(work: Work, machines: Machines, progress: Progress) -> Filled | None:
    """Make the partitions that are missing, then seal; None where all that was done before.

    Raises:
        UserError: the store cannot be written, the cluster cannot be used, or no clip is valid.
    """
    start = time.perf_counter()
    try:
        # Asked before locking, so that a finished store may lie where nothing can be written.
        if is_complete(work.store, work.attributes):
            return None
        with hold(work.store) as held:
            if is_complete(work.store, work.attributes):  # by now
                return None
            if held and isinstance(work.store, Path):
                remove_leftovers(work.store)
            else:
                errors.print(f"{work.store}: no locks here; do not run this twice at once")
            made = _fill(work, machines, progress)
    except storage_errors() as error:
        raise _unwritable(work.store, error) from error
    return Filled(sum(marker.valid for marker in made), time.perf_counter() - start)


def _fill(work: Work, machines: Machines, progress: Progress) -> list[Marker]:
    create_store(work.store, work.attributes)
    done = read_markers(work.store, range(work.attributes.partitions))
    missing = [p for p, marker in enumerate(done) if marker is None]
    made = _make(work, missing, machines, progress)
    markers = {m.partition: m for m in [*made, *done] if m is not None}
    ordered = [markers[p] for p in sorted(markers)]
    finalise(work.store, work.rejects(ordered), ordered)
    return made


def _make(
    work: Work, partitions: list[int], machines: Machines, progress: Progress
) -> list[Marker]:
    sizes = {p: work.attributes.clips_in(p) for p in partitions}
    # Compiled here once: worker processes then read it from disk instead of racing for it.
    encode(np.zeros((2, 3, 16, 16), np.uint8), work.attributes.options)
    work.warm_up()
    clips = work.attributes.clips
    with progress.bar(work.title, clips, "clips", done=clips - sum(sizes.values())) as advance:
        return run_tasks(
            work.function,
            [work.task(p) for p in partitions],
            machines,
            lambda marker: advance(sizes[marker.partition]),
            (work.source, work.store),
        )


def _unwritable(store: Location, error: Exception) -> UserError:
    reason = getattr(error, "strerror", None) or str(error)
    remedy = (
        "free some space and run the same command again: what is done is kept"
        if getattr(error, "errno", None) in (errno.ENOSPC, errno.EDQUOT)
        else "choose another --out, or mend the permissions and run the same command again"
    )
    return UserError(f"cannot write the store {store}: {reason}; {remedy}")
