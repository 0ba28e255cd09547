"""Functions that tests run in other processes, which import them by name."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path

from shared.errors import UserError


def note(path: Path) -> None:
    """Write when it was done, and how many threads a library would take."""
    path.write_text(f"{time.monotonic()} {os.environ.get('OMP_NUM_THREADS')}")


def refuse(path: Path) -> None:
    """Refuse a file once it is there."""
    while not path.exists() or not path.read_text():
        time.sleep(0.1)
    raise UserError(f"{path} is refused")


def die(path: Path) -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def wait(path: Path) -> None:
    """Write the process's number, wait for long, and say so when stopped."""
    path.write_text(str(os.getpid()))
    try:
        time.sleep(600)
    finally:
        path.with_suffix(".stopped").touch()
