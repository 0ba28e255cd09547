"""What tests have done by `train.evaluate.compare.work`: a process imports it by name."""

from __future__ import annotations

import os
import time
from pathlib import Path

from shared.errors import UserError


def note(path: Path) -> None:
    """Write when it was done, and how many threads a library would take."""
    path.write_text(f"{time.monotonic()} {os.environ.get('OMP_NUM_THREADS')}")


def refuse(path: Path) -> None:
    raise UserError(f"{path} is refused")


def wait_for_long(path: Path) -> None:
    """Say who is waiting, then wait."""
    path.write_text(str(os.getpid()))
    time.sleep(600)
