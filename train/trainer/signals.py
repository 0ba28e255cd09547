"""Stop a training on SIGTERM or SIGINT: between two steps, after everything is saved."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any, Self

from shared.console import EXIT_BY_SIGNAL, console

_SIGNALS = (signal.SIGINT, signal.SIGTERM)


class StoppedError(KeyboardInterrupt):
    """A training was stopped by a signal, and saved; the same command continues it.

    Attributes:
        signal: its number.
    """

    def __init__(self, number: int) -> None:
        super().__init__(number)
        self.signal = number


class StopSignals:
    """Context that records the first signal to stop; a second one has its usual effect.

    Attributes:
        received: number of the signal, 0 for none.
    """

    received = 0

    def __enter__(self) -> Self:
        self._before: dict[int, Any] = {}
        if threading.current_thread() is threading.main_thread():  # others may set no handler
            self._before = {number: signal.signal(number, self._record) for number in _SIGNALS}
        return self

    def __exit__(self, *error: object) -> None:
        self._restore()

    def _record(self, number: int, frame: FrameType | None) -> None:
        self.received = number
        self._restore()

    def _restore(self) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)


@contextmanager
def stoppable() -> Iterator[None]:
    """Turn an interruption into a message and the exit code of its signal."""
    try:
        yield
    except KeyboardInterrupt as stopped:
        console.print("stopped; the same command again goes on from the last checkpoint")
        number = stopped.signal if isinstance(stopped, StoppedError) else signal.SIGINT
        raise SystemExit(EXIT_BY_SIGNAL + number) from None
