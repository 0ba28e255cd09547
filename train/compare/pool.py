"""Independent tasks in processes of one thread each; what one makes does not depend on the others.

Tasks write files, so nothing comes back from a process but its exit code. A stopped or killed
comparison stops its processes, which save what they have.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing import get_context
from multiprocessing.process import BaseProcess
from typing import Any

from shared.console import EXIT_BY_SIGNAL, Progress, hush, run_command
from shared.errors import UserError

_POLL_SECONDS = 0.5
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


def run_tasks(tasks: list[Task], workers: int, title: str) -> None:
    """Do all tasks, so many at a time, in the order given as far as `after` allows.

    Raises:
        UserError: a task refused its input; it has said why.
        RuntimeError: a task failed otherwise; its traceback was printed.
        KeyboardInterrupt: this process was asked to stop; the tasks were stopped and have saved.
    """
    waiting, done = list(tasks), set[str]()
    running: dict[BaseProcess, Task] = {}
    with _one_thread_each(), Progress().bar(title, _PARTS * len(tasks), "parts") as bar:
        try:
            while waiting or running:
                while len(running) < workers and (task := _ready(waiting, done, tasks)):
                    waiting.remove(task)
                    running[_started(task)] = task
                for process in [one for one in running if not one.is_alive()]:
                    done.add(_finished(process, running.pop(process)))
                shares = {task.name: task.share() for task in running.values()}
                note = ", ".join(f"{name} {share:.0%}" for name, share in shares.items())
                whole = len(done) + sum(shares.values())
                bar.update(int(_PARTS * whole), f"{len(done)} of {len(tasks)} done; {note}")
                time.sleep(_POLL_SECONDS)
        finally:
            _stop(list(running))


def _ready(waiting: list[Task], done: set[str], tasks: list[Task]) -> Task | None:
    known = {task.name for task in tasks}
    free = (t for t in waiting if t.after is None or t.after in done or t.after not in known)
    return next(free, None)


def _started(task: Task) -> BaseProcess:
    arguments = (task.work, task.argument, os.getpid())
    process = get_context("spawn").Process(target=_inside, args=arguments, name=task.name)
    process.start()
    return process


def _finished(process: BaseProcess, task: Task) -> str:
    process.join()
    if process.exitcode == 0:
        return task.name
    if process.exitcode in (-signal.SIGTERM, EXIT_BY_SIGNAL + signal.SIGTERM):
        raise KeyboardInterrupt
    if process.exitcode == 2:
        raise UserError(f"{task.name} could not be done, for the reason above")
    raise RuntimeError(f"{task.name} ended with exit code {process.exitcode}")


def _stop(processes: list[BaseProcess]) -> None:
    for process in processes:
        process.terminate()
    for process in processes:
        process.join()


def _inside(work: Callable[[Any], object], argument: Any, parent: int) -> None:
    """What runs in a task's process."""
    # A terminal's interrupt reaches all processes; the parent decides and sends SIGTERM.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_end_with, args=(parent,), daemon=True).start()
    hush()
    try:
        sys.exit(run_command(lambda: work(argument)))
    except KeyboardInterrupt:
        sys.exit(EXIT_BY_SIGNAL + signal.SIGTERM)


def _end_with(parent: int) -> None:
    """Stop, and save, once the process that started this one is gone."""
    while os.getppid() == parent:
        time.sleep(1)
    os.kill(os.getpid(), signal.SIGTERM)


@contextmanager
def _one_thread_each() -> Iterator[None]:
    """Processes started meanwhile compute on one thread, and get to know it before they begin."""
    before = os.environ.get("OMP_NUM_THREADS")
    os.environ["OMP_NUM_THREADS"] = "1"
    try:
        yield
    finally:
        if before is None:
            del os.environ["OMP_NUM_THREADS"]
        else:
            os.environ["OMP_NUM_THREADS"] = before
