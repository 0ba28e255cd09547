"""Independent tasks in processes of one thread each; what one makes does not depend on the others.

Tasks write files, so nothing comes back from a process but that it is done. A stopped or killed
comparison stops its processes, which save what they have.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing import get_context
from multiprocessing.connection import Connection
from typing import Any

from shared.console import EXIT_BY_SIGNAL, Progress, hush, run_command
from shared.errors import UserError

_POLL_SECONDS = 0.2
_PARTS = 100
"""Of the progress bar, for each task."""


@dataclass(frozen=True)
class Task:
    """Something to be done in a process of its own.

    Attributes:
        name: shown while it is at work.
        work: a function of a module, called with `argument`; both go through pickle.
        argument: what it works on.
        after: the name of the task that must be done before, if any.
        share: how much of it is done, 0...1, asked for in this process.
    """

    name: str
    work: Callable[[Any], object]
    argument: Any
    after: str | None = None
    share: Callable[[], float] = lambda: 0.0


class Pool:
    """Processes that take tasks; started when there is one for them, and kept for the next.

    A context: they end with it.

    Args:
        workers: how many at most.
    """

    def __init__(self, workers: int) -> None:
        self._workers, self._most = list[_Worker](), workers

    def __enter__(self) -> Pool:
        return self

    def __exit__(self, *_: object) -> None:
        for worker in self._workers:
            worker.stop()

    def run(self, tasks: Sequence[Task], title: str) -> None:
        """Do all tasks, in the order given as far as `after` allows.

        Raises:
            UserError: a task refused its input; it has said why.
            RuntimeError: a task failed otherwise; its traceback was printed.
            KeyboardInterrupt: a task was asked to stop.
        """
        waiting, done = list(tasks), set[str]()
        names = {task.name for task in tasks}
        with Progress().bar(title, _PARTS * len(tasks), "parts", patience_seconds=2) as bar:
            while len(done) < len(tasks):
                while (worker := self._free(len(waiting))) is not None and (
                    task := _ready(waiting, done, names)
                ):
                    waiting.remove(task)
                    worker.begin(task)
                done |= {name for worker in self._workers if (name := worker.finished())}
                shares = {w.task.name: w.task.share() for w in self._workers if w.task}
                note = ", ".join(f"{name} {share:.0%}" for name, share in shares.items())
                whole = len(done) + sum(shares.values())
                bar.update(int(_PARTS * whole), f"{len(done)} of {len(tasks)} done; {note}")
                time.sleep(_POLL_SECONDS)

    def _free(self, waiting: int) -> _Worker | None:
        for worker in self._workers:
            if worker.task is None:
                return worker
        if not waiting or len(self._workers) >= self._most:
            return None
        self._workers.append(_Worker())
        return self._workers[-1]


class _Worker:
    """One process, and the task it is at."""

    def __init__(self) -> None:
        context = get_context("spawn")
        self._tasks, inside = context.Pipe()
        self.task: Task | None = None
        self._process = context.Process(target=_inside, args=(inside, os.getpid()))
        with _one_thread():
            self._process.start()
        inside.close()  # so that the end of the process is the end of the pipe

    def begin(self, task: Task) -> None:
        self.task = task
        self._tasks.send((task.work, task.argument))

    def finished(self) -> str | None:
        """The name of the task that has just been done, if one has."""
        if self.task is None or not self._tasks.poll():
            return None
        try:
            self._tasks.recv()
        except EOFError:
            self._process.join()
            _refuse(self._process.exitcode, self.task.name)
        name, self.task = self.task.name, None
        return name

    def stop(self) -> None:
        """End the process: at once where it waits, after saving where it trains."""
        self._process.terminate()
        self._process.join()
        self._tasks.close()


def _ready(waiting: list[Task], done: set[str], names: set[str]) -> Task | None:
    free = (t for t in waiting if t.after is None or t.after in done or t.after not in names)
    return next(free, None)


def _refuse(exit_code: int | None, name: str) -> None:
    if exit_code in (-signal.SIGTERM, EXIT_BY_SIGNAL + signal.SIGTERM):
        raise KeyboardInterrupt
    if exit_code == 2:
        raise UserError(f"{name} could not be done, for the reason above")
    raise RuntimeError(f"{name} ended with exit code {exit_code}")


def _inside(tasks: Connection, parent: int) -> None:
    """What a process does: one task after the other, until one fails."""
    # A terminal's interrupt reaches all processes; the parent decides and sends SIGTERM.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_end_with, args=(parent,), daemon=True).start()
    hush()
    try:
        while True:
            work, argument = tasks.recv()
            if code := run_command(lambda: work(argument)):  # noqa: B023, called at once
                sys.exit(code)
            tasks.send(None)
    except EOFError:
        return
    except KeyboardInterrupt:
        sys.exit(EXIT_BY_SIGNAL + signal.SIGTERM)


def _end_with(parent: int) -> None:
    """Stop, and save, once the process that started this one is gone."""
    while os.getppid() == parent:
        time.sleep(1)
    os.kill(os.getpid(), signal.SIGTERM)


@contextmanager
def _one_thread() -> Iterator[None]:
    """A process started meanwhile computes on one thread, and gets to know it before it begins."""
    before = os.environ.get("OMP_NUM_THREADS")
    os.environ["OMP_NUM_THREADS"] = "1"
    try:
        yield
    finally:
        if before is None:
            del os.environ["OMP_NUM_THREADS"]
        else:
            os.environ["OMP_NUM_THREADS"] = before
