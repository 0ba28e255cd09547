"""Run tasks one after another, or in processes of a local Dask cluster; same results."""

from __future__ import annotations

import logging
import signal
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, TypeVar

Task = TypeVar("Task")
Result = TypeVar("Result")

_CONFIG: dict[str, Any] = {
    # Processes are the only parallelism: libraries must not multiply it by threads.
    "distributed.nanny.pre-spawn-environ": {
        f"{name}_NUM_THREADS": "1" for name in ("OMP", "NUMBA", "OPENBLAS", "MKL")
    },
    # A worker killed for reasons outside a task must not condemn the task it was at.
    "distributed.scheduler.allowed-failures": 10,
    # Memory is bounded by the size of a partition: pausing or restarting workers loses work.
    "distributed.worker.memory.target": False,
    "distributed.worker.memory.spill": False,
    "distributed.worker.memory.pause": False,
    "distributed.worker.memory.terminate": False,
}


def run_tasks(
    function: Callable[[Task], Result],
    tasks: Sequence[Task],
    workers: int,
    on_done: Callable[[Result], None] = lambda result: None,
) -> list[Result]:
    """Call a function on every task.

    Args:
        function: importable by name, for other processes to find it.
        tasks: small and picklable: paths, not arrays.
        workers: processes; 1 stays in this one.
        on_done: told each result as it comes, in no particular order.

    Returns:
        Results in the order of the tasks.

    Raises:
        Exception: whatever a task raised; tasks that were under way are abandoned.
    """
    if workers == 1 or len(tasks) < 2:
        return [_report(function(task), on_done) for task in tasks]
    return _run_on_cluster(function, tasks, min(workers, len(tasks)), on_done)


def _report(result: Result, on_done: Callable[[Result], None]) -> Result:
    on_done(result)
    return result


def _run_on_cluster(
    function: Callable[[Task], Result],
    tasks: Sequence[Task],
    workers: int,
    on_done: Callable[[Result], None],
) -> list[Result]:
    import dask
    from distributed import Client, LocalCluster, as_completed

    results: dict[str, Result] = {}
    with dask.config.set(_CONFIG), _interrupts_ignored():
        cluster = LocalCluster(
            n_workers=workers,
            threads_per_worker=1,
            processes=True,
            dashboard_address=None,
            silence_logs=logging.CRITICAL,
        )
    with cluster, Client(cluster) as client:
        futures = client.map(function, list(tasks), pure=False)
        for future in as_completed(futures, raise_errors=False):
            # Raises what the task raised; KilledWorker once it has taken ten workers down.
            results[future.key] = _report(future.result(), on_done)
        return [results[future.key] for future in futures]


@contextmanager
def _interrupts_ignored() -> Iterator[None]:
    """Processes started meanwhile ignore Ctrl-C, which is for this one alone to answer."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)
