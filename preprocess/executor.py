"""Run tasks one after another, in local processes, or on a Dask cluster, with the same results."""

from __future__ import annotations

import asyncio
import logging
import signal
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import islice
from typing import Any, TypeVar

from shared.errors import UserError
from shared.store.paths import Location, location

Task = TypeVar("Task")
Result = TypeVar("Result")

_CONFIG: dict[str, Any] = {
    # Processes are the only parallelism: libraries must not multiply it by threads.
    "distributed.nanny.pre-spawn-environ": {
        f"{name}_NUM_THREADS": "1" for name in ("OMP", "NUMBA", "OPENBLAS", "MKL")
    },
    # A worker killed for reasons outside a task must not condemn its task.
    "distributed.scheduler.allowed-failures": 10,
    # Memory is bounded by the size of a partition: pausing or restarting workers loses work.
    "distributed.worker.memory.target": False,
    "distributed.worker.memory.spill": False,
    "distributed.worker.memory.pause": False,
    "distributed.worker.memory.terminate": False,
}

TASKS_AHEAD = 1024
"""Tasks submitted to a cluster at a time: keeps hundreds of workers busy, the scheduler small."""

CONNECT_SECONDS = 10
"""Time for a scheduler to answer, and for its first worker to appear."""


@dataclass(frozen=True)
class ExecutorOptions:
    """Place where tasks run.

    Attributes:
        workers: processes on this computer; 1 runs tasks in the calling process.
        scheduler: address of a Dask scheduler, whose workers are used instead; or None.
    """

    workers: int = 1
    scheduler: str | None = None


def run_tasks(
    function: Callable[[Task], Result],
    tasks: Sequence[Task],
    executor: ExecutorOptions,
    on_done: Callable[[Result], None] = lambda result: None,
    places: Sequence[Location] = (),
) -> list[Result]:
    """Call a function on every task.

    Args:
        function: importable by name, so that other processes find it.
        tasks: small and picklable: paths, not arrays.
        executor: place where tasks run.
        on_done: called with each result as it comes, in no particular order.
        places: folders that the workers of a cluster must see under the same names.

    Returns:
        Results in the order of the tasks.

    Raises:
        UserError: the cluster cannot be used.
        Exception: as raised by a task; unfinished tasks are abandoned.
    """
    if not tasks:
        return []
    if executor.scheduler:
        with _connected(executor.scheduler) as client:
            _require_same_software(client, executor.scheduler)
            _require_places(client, places)
            return _gather(client, function, tasks, on_done)
    if executor.workers == 1 or len(tasks) < 2:
        return [_report(function(task), on_done) for task in tasks]
    with _local_cluster(min(executor.workers, len(tasks))) as client:
        return _gather(client, function, tasks, on_done)


def _report(result: Result, on_done: Callable[[Result], None]) -> Result:
    on_done(result)
    return result


def _gather(
    client: Any,
    function: Callable[[Task], Result],
    tasks: Sequence[Task],
    on_done: Callable[[Result], None],
) -> list[Result]:
    """Collect the results of all tasks, of which the cluster has a bounded number at a time."""
    from distributed import KilledWorker, as_completed

    positions: dict[str, int] = {}
    results: dict[int, Result] = {}
    waiting = iter(enumerate(tasks))

    def submit(position: int, task: Task) -> Any:
        future = client.submit(function, task, pure=False)
        positions[future.key] = position
        return future

    ahead = [submit(*item) for item in islice(waiting, TASKS_AHEAD)]
    submitted = as_completed(ahead, raise_errors=False)
    # No other reference to a future may remain: its result would stay on the cluster.
    del ahead
    try:
        for future in submitted:
            # result() raises the exception of the task.
            results[positions.pop(future.key)] = _report(future.result(), on_done)
            for item in islice(waiting, 1):
                submitted.add(submit(*item))
    except KilledWorker as error:
        raise UserError(
            f"a task took down every worker that tried it ({error}); most often they have too"
            " little memory: give them more, then run the same command again"
        ) from None
    return [results[position] for position in range(len(tasks))]


@contextmanager
def _local_cluster(workers: int) -> Iterator[Any]:
    import dask
    from distributed import Client, LocalCluster

    with dask.config.set(_CONFIG), _interrupts_ignored():
        cluster = LocalCluster(
            n_workers=workers,
            threads_per_worker=1,
            processes=True,
            dashboard_address=None,
            # Even so it serves its state, by default at a port that one extraction alone can have.
            scheduler_kwargs={"dashboard_address": ":0"},
            silence_logs=logging.CRITICAL,
        )
    with cluster, Client(cluster) as client:
        yield client


@contextmanager
def _connected(address: str) -> Iterator[Any]:
    """Connect to a scheduler that has at least one worker."""
    from distributed import Client

    try:
        # A client alone would wait for ever on a port where another program listens.
        asyncio.run(asyncio.wait_for(_identity(address), CONNECT_SECONDS))
    except (OSError, ValueError, TimeoutError) as error:
        raise UserError(
            f"--scheduler {address}: no Dask scheduler answers within {CONNECT_SECONDS} s"
            f" ({error or 'silence'}); start one with: dask scheduler"
        ) from None
    with Client(address, timeout=CONNECT_SECONDS) as client:
        try:
            client.wait_for_workers(1, timeout=CONNECT_SECONDS)
        except TimeoutError:
            raise UserError(
                f"--scheduler {address} has no workers; start some with: dask worker {address}"
            ) from None
        yield client


async def _identity(address: str) -> Any:
    from distributed.core import rpc

    async with rpc(address) as scheduler:
        return await scheduler.identity()


def software() -> dict[str, str]:
    """Versions in this process of the packages that the stored bytes depend on."""
    import av
    import numpy as np

    import shared

    return {"dvdm": shared.__version__, "av": av.__version__, "numpy": np.__version__}


def invisible(places: Sequence[str]) -> list[str]:
    """Folders that this process does not see."""
    return [place for place in places if not location(place).exists()]


def _require_same_software(client: Any, address: str) -> None:
    """Refuse workers without this package, or with other versions of the video reader."""
    try:
        found: dict[str, dict[str, str]] = client.run(software)
    except Exception as error:  # Dask wraps exceptions that a worker raised while it unpickled
        raise UserError(
            f"--scheduler {address}: its workers cannot import this package ({error}); install the"
            " same version in the environment they are started from"
        ) from None
    here = software()
    for worker, versions in found.items():
        if versions != here:
            raise UserError(
                f"--scheduler {address}: worker {worker} has {_list(versions)}, this process"
                f" {_list(here)}; install the same versions everywhere"
            )


def _require_places(client: Any, places: Sequence[Location]) -> None:
    """Refuse workers that do not see the folders: they would reject all videos."""
    found: dict[str, list[str]] = client.run(invisible, [str(place) for place in places])
    for worker, missing in found.items():
        if missing:
            raise UserError(
                f"worker {worker} does not see {', '.join(missing)}: on several executor, root and"
                " store must lie on a file system that all of them share, or in S3"
            )


def _list(versions: dict[str, str]) -> str:
    return ", ".join(f"{name} {version}" for name, version in versions.items())


@contextmanager
def _interrupts_ignored() -> Iterator[None]:
    """Let processes started inside the context ignore Ctrl-C, which this one alone handles."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)
