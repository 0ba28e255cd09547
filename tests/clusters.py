"""A Dask scheduler and workers as processes of their own, as on a cluster."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

SECONDS = 60

# Ends with the process that started it, however that ends: its standard input then closes.
_DASK = """
import os, sys, threading
from dask.cli import run_cli

def end_with_parent():
    sys.stdin.buffer.read()
    os._exit(1)

threading.Thread(target=end_with_parent, daemon=True).start()
run_cli()
"""


@dataclass
class Cluster:
    """Address of a scheduler, and the processes of its workers."""

    address: str
    folder: Path
    workers: list[subprocess.Popen[bytes]] = field(default_factory=list)

    def start_worker(self, *options: str) -> None:
        """A worker without a nanny: killed, it stays dead."""
        self.workers.append(
            _start("worker", self.address, "--no-nanny", "--nthreads", "1", "--no-dashboard",
                   "--local-directory", str(self.folder), *options)
        )  # fmt: skip

    def kill_worker(self) -> None:
        """SIGKILL the first worker that is alive."""
        alive = next(worker for worker in self.workers if worker.poll() is None)
        alive.send_signal(signal.SIGKILL)
        alive.wait()


@contextlib.contextmanager
def running_cluster(folder: Path, workers: int) -> Iterator[Cluster]:
    """A scheduler on loopback with workers; all processes end with the context."""
    port = _free_port()
    scheduler = _start("scheduler", "--host", "127.0.0.1", "--port", str(port), "--no-dashboard")
    cluster = Cluster(f"tcp://127.0.0.1:{port}", folder)
    try:
        wait_until(lambda: _listens(port), "the scheduler to listen")
        for _ in range(workers):
            cluster.start_worker()
        yield cluster
    finally:
        for process in [*cluster.workers, scheduler]:
            process.kill()
            process.communicate()


def wait_until(condition: Callable[[], bool], what: str) -> None:
    """Wait for something that must come within a minute."""
    deadline = time.monotonic() + SECONDS
    while not condition():
        if time.monotonic() > deadline:
            raise TimeoutError(f"waited {SECONDS} s for {what}")
        time.sleep(0.02)


def _start(*command: str) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        [sys.executable, "-c", _DASK, *command],
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        env=os.environ | {"PYTHONDONTWRITEBYTECODE": "1"},
    )


def _free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])


def _listens(port: int) -> bool:
    with socket.socket() as tried:
        return tried.connect_ex(("127.0.0.1", port)) == 0
