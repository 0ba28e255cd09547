"""Start several processes of this machine that train together, as torchrun does on many.

On a CPU, processes of one thread each train faster than one process of as many threads, whose
threads wait for each other in every layer.
"""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Sequence
from contextlib import ExitStack
from tempfile import TemporaryFile
from types import FrameType
from typing import IO

from shared.console import EXIT_BY_SIGNAL, EXIT_USER_ERROR

_POLL_SECONDS = 0.1

_PATIENCE_SECONDS = 10.0
"""Time that the others have to end by themselves once one of them has failed."""


def usable_cores() -> int:
    """Cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def launch(count: int, command: Sequence[str]) -> int:
    """Run a command in several processes that know each other, and wait for all of them.

    They find each other by the variables that torchrun sets (`train.trainer.distributed`). The
    first one has this process's output; what another writes to its standard error is shown where
    it was the one that failed. SIGTERM is passed on; SIGINT reaches them from the terminal.

    Args:
        count: number of processes.
        command: of each.

    Returns:
        0, or the exit code of the process that failed first.
    """
    threads = str(max(1, usable_cores() // count))
    shared = {
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": str(_free_port()),
        "WORLD_SIZE": str(count),
        "OMP_NUM_THREADS": os.environ.get("OMP_NUM_THREADS", threads),
    }
    processes: list[subprocess.Popen[bytes]] = []

    def pass_on(number: int, frame: FrameType | None) -> None:
        for process in processes:
            if process.poll() is None and number == signal.SIGTERM:
                process.send_signal(number)

    before = {number: signal.signal(number, pass_on) for number in (signal.SIGINT, signal.SIGTERM)}
    with ExitStack() as files:
        silenced = [files.enter_context(TemporaryFile()) for _ in range(count - 1)]
        try:
            for rank in range(count):
                environment = {**os.environ, **shared, "RANK": str(rank), "LOCAL_RANK": str(rank)}
                error = silenced[rank - 1] if rank else None
                processes.append(subprocess.Popen(command, env=environment, stderr=error))
            return _wait(processes, silenced)
        finally:
            for process in processes:
                if process.poll() is None:
                    process.kill()
                    process.wait()
            for number, handler in before.items():
                signal.signal(number, handler)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def _wait(processes: list[subprocess.Popen[bytes]], silenced: Sequence[IO[bytes]]) -> int:
    """Wait until all have ended, or some time after one has failed; show what that one wrote."""
    failed, deadline = None, float("inf")
    while True:
        codes = [process.poll() for process in processes]
        if failed is None and any(codes):
            failed = next(rank for rank, code in enumerate(codes) if code)
            deadline = time.monotonic() + _PATIENCE_SECONDS
        if None not in codes or time.monotonic() >= deadline:
            break
        time.sleep(_POLL_SECONDS)
    if failed is None:
        return 0
    # A user's mistake is found by all, and the first one has said so.
    if failed and processes[0].poll() != EXIT_USER_ERROR:
        file = silenced[failed - 1]
        file.seek(0)
        sys.stderr.write(file.read().decode(errors="backslashreplace"))
    code: int = processes[failed].returncode
    return code if code > 0 else EXIT_BY_SIGNAL - code
