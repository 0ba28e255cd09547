"""One run at a time on a store: a lock that dies with the process that holds it."""

from __future__ import annotations

import errno
import json
import os
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from shared.errors import StoreError
from shared.store.paths import Location

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]

_HELD = (errno.EWOULDBLOCK, errno.EACCES)
_NO_LOCKS = (errno.ENOLCK, errno.ENOTSUP, errno.ENOSYS, errno.EINVAL)


@contextmanager
def hold(store: Location) -> Iterator[bool]:
    """Hold a store, whether it exists yet or not, against other runs.

    The lock file lies beside the store and names the process, for people to read; what counts is
    the operating system's lock on it, which ends with the process however that ends.

    Yields:
        Whether it is held; not so where the file system, or S3, has no locks.

    Raises:
        StoreError: another run holds it.
        OSError: the folder cannot be written to.
    """
    if not isinstance(store, Path):
        yield False
        return
    path = store.absolute().with_name(f".{store.absolute().name}.lock")
    path.parent.mkdir(parents=True, exist_ok=True)
    descriptor, held = _open_locked(path, store)
    try:
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, json.dumps(_ourselves()).encode(), 0)
        yield held
    finally:
        # While it is still locked: afterwards the name may be another run's.
        path.unlink(missing_ok=True)
        os.close(descriptor)


def _open_locked(path: Path, store: Path) -> tuple[int, bool]:
    while True:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
        try:
            held = _lock(descriptor)
        except BlockingIOError:
            holder = _holder(descriptor)
            os.close(descriptor)
            raise StoreError(
                f"another run is making {store}: {holder}.\n"
                "Wait for it or end it, or choose another --out."
            ) from None
        except OSError:
            os.close(descriptor)
            raise
        if _is_at(path, descriptor):
            return descriptor, held
        os.close(descriptor)  # its holder removed it just now


def _lock(descriptor: int) -> bool:
    if fcntl is None:
        return False
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        if error.errno in _HELD:
            raise BlockingIOError from None
        if error.errno in _NO_LOCKS:
            return False
        raise
    return True


def _is_at(path: Path, descriptor: int) -> bool:
    try:
        return os.path.samestat(path.stat(), os.fstat(descriptor))
    except FileNotFoundError:
        return False


def _ourselves() -> dict[str, object]:
    since = time.strftime("%Y-%m-%d %H:%M:%S")
    return {"process": os.getpid(), "host": socket.gethostname(), "since": since}


def _holder(descriptor: int) -> str:
    try:
        held = json.loads(os.pread(descriptor, 4096, 0))
        return f"process {held['process']} on {held['host']}, since {held['since']}"
    except (ValueError, KeyError, TypeError):
        return "its process is just beginning"
