"""A lock on a store that ends with the process that holds it, however that process ends."""

from __future__ import annotations

import errno
import json
import os
import shlex
import socket
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout

from shared.errors import StoreError
from shared.store.paths import Location

_NO_LOCKS = (errno.ENOLCK, errno.ENOTSUP, errno.ENOSYS, errno.EINVAL)
"""Errors of file systems without locks."""

_PATIENCE_SECONDS = 0.2
"""Time in which a holder that is just ending may remove its file."""


@contextmanager
def hold(store: Location) -> Iterator[bool]:
    """Hold a store, which need not exist yet, against other runs.

    The lock is the operating system's, on a file next to the store that names the holder.

    Yields:
        Whether the store is held: S3 and some file systems have no locks.

    Raises:
        StoreError: another run holds it.
        OSError: the folder cannot be written to.
    """
    if not isinstance(store, Path):
        yield False
        return
    path = store.absolute().with_name(f".{store.absolute().name}.lock")
    path.parent.mkdir(parents=True, exist_ok=True)
    # filelock retries on a file that its holder removed before it was locked here.
    lock = FileLock(path, timeout=_PATIENCE_SECONDS, on_acquired=_write_holder)
    try:
        lock.acquire()
    except Timeout:
        raise StoreError(
            f"another run is at work on {store}: {_read_holder(path)}.\n"
            "Wait for it or end it, or choose another --out."
        ) from None
    except OSError as error:
        if error.errno not in _NO_LOCKS:
            raise
    try:
        yield lock.is_locked
    finally:
        # Before the release: afterwards the file may be another run's.
        path.unlink(missing_ok=True)
        lock.release()


def _write_holder(descriptor: int) -> None:
    holder = {
        "process": os.getpid(),
        "host": socket.gethostname(),
        "since": time.strftime("%Y-%m-%d %H:%M:%S"),
        "command": shlex.join(sys.argv),
    }
    os.ftruncate(descriptor, 0)
    os.write(descriptor, json.dumps(holder).encode())


def _read_holder(path: Path) -> str:
    try:
        holder = json.loads(path.read_bytes())
        who = f"process {holder['process']} on {holder['host']}, since {holder['since']}"
        return f"{who} ({holder['command']})"
    except (OSError, ValueError, KeyError, TypeError):
        return "its process has just started"
