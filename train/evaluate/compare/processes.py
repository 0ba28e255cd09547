"""Do jobs in processes of their own, of one thread each, which end with this one.

A process loads what its job needs and no more: this file needs no torch.
"""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing import get_context, parent_process
from multiprocessing.connection import Connection
from types import FrameType
from typing import Any

from shared.console import EXIT_BY_SIGNAL, Progress, hush
from shared.errors import UserError
from train.trainer.signals import StoppedError

_POLL_SECONDS = 0.2
_TICKS = 100
"""Units of the progress bar for each job."""


@dataclass(frozen=True)
class Job:
    """Work for a process of its own.

    Attributes:
        name: shown while it runs, and by which others wait for it.
        function: of a module, called with `argument`; both are pickled.
        argument: of the function.
        after: names of jobs that must be done before, where they are among the jobs.
        progress: the part of it that is done, 0...1; called in this process.
    """

    name: str
    function: Callable[[Any], object]
    argument: Any
    after: frozenset[str] = frozenset()
    progress: Callable[[], float] = lambda: 0.0


def run_jobs(jobs: Sequence[Job], workers: int) -> None:
    """Do all jobs, in the order given as far as `after` allows.

    However this ends, its processes end with it; trainings save a checkpoint first.

    Args:
        jobs: to do.
        workers: processes at a time.

    Raises:
        UserError: a job refused its input.
        KeyboardInterrupt: a job was asked to stop.
        RuntimeError: a process died. Other exceptions of a job pass through.
    """
    waiting, done = list(jobs), set[str]()
    names, running = {job.name for job in jobs}, dict[Future[None], Job]()
    with (
        _pool(workers) as pool,
        Progress().bar("comparing", _TICKS * len(jobs), "jobs", patience_seconds=2) as bar,
    ):
        while waiting or running:
            ready = [job for job in waiting if job.after & names <= done]
            for job in ready[: workers - len(running)]:
                waiting.remove(job)
                running[pool.submit(_work, job.function, job.argument)] = job
            finished, _ = wait(running, _POLL_SECONDS, FIRST_COMPLETED)
            for future in finished:
                job = running.pop(future)
                _raise_fault(future, job)
                done.add(job.name)
            parts = {job.name: job.progress() for job in running.values()}
            note = ", ".join(f"{name} {part:.0%}" for name, part in parts.items())
            whole = int(_TICKS * (len(done) + sum(parts.values())))
            bar.update(whole, f"{len(done)} of {len(jobs)} done; {note}")


def _raise_fault(future: Future[None], job: Job) -> None:
    try:
        future.result()
    except UserError as error:
        raise UserError(f"{job.name}: {error}") from None
    except BrokenProcessPool:
        raise RuntimeError(
            f"{job.name}: its process died, perhaps for want of memory; the same command goes on"
            " from what is saved"
        ) from None


@contextmanager
def _pool(workers: int) -> Iterator[ProcessPoolExecutor]:
    """Processes of one thread each, which end with this block or with this process."""
    context, before = get_context("spawn"), os.environ.get("OMP_NUM_THREADS")
    # Processes see the end of the pipe when it is closed, and when this process is gone.
    reader, stop = context.Pipe(duplex=False)
    # Libraries read it when they are loaded, so a process must be born with it.
    os.environ["OMP_NUM_THREADS"] = "1"
    pool = ProcessPoolExecutor(workers, context, _begin, (reader,))
    try:
        yield pool
    except BaseException:
        stop.close()
        raise
    finally:
        pool.shutdown(cancel_futures=True)
        del os.environ["OMP_NUM_THREADS"]
        if before is not None:
            os.environ["OMP_NUM_THREADS"] = before


def _begin(stop: Connection) -> None:
    """Prepare a process: quiet, one thread, and stopped by its parent alone."""
    # A terminal's interrupt reaches all processes; the parent decides.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_watch, args=(stop,), daemon=True).start()
    hush()


def _watch(stop: Connection) -> None:
    """Stop the job at work once the parent says so or is gone; end with a parent that is gone."""
    stop.poll(None)
    if _at_work():
        os.kill(os.getpid(), signal.SIGTERM)
    parent = parent_process()
    # The pool ends a process between two jobs; a second signal would keep others from saving.
    while _at_work() or (parent is not None and os.getppid() == parent.pid):
        time.sleep(0.1)
    os._exit(EXIT_BY_SIGNAL + signal.SIGTERM)


def _at_work() -> bool:
    """Test whether this process is doing a job: `_work` then handles SIGTERM."""
    return signal.getsignal(signal.SIGTERM) is not signal.SIG_DFL


def _work(function: Callable[[Any], object], argument: Any) -> None:
    """Do a job in a process; SIGTERM raises `StoppedError` in it, and training saves first."""
    signal.signal(signal.SIGTERM, _stop)
    try:
        function(argument)
    finally:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)


def _stop(number: int, frame: FrameType | None) -> None:
    raise StoppedError(number)
