"""SIGTERM and SIGINT ask a training to stop: between two steps, when everything is saved."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType, TracebackType
from typing import Any, Self

from shared.console import EXIT_BY_SIGNAL, console

_SIGNALS = (signal.SIGINT, signal.SIGTERM)


class StoppedError(KeyboardInterrupt):
    """A training was stopped by a signal, and saved; the same command goes on with it.

    Attributes:
        signal: its number.
    """

    def __init__(self, number: int) -> None:
        super().__init__(number)
        self.signal = number


class StopSignals:
    """Notes the first signal that asks to stop; a second one acts as if there were none of this.

    Attributes:
        received: its number, 0 for none.
    """

    received = 0

    def __enter__(self) -> Self:
        self._before: dict[int, Any] = {}
        if threading.current_thread() is threading.main_thread():  # others may set no handler
            self._before = {number: signal.signal(number, self._note) for number in _SIGNALS}
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._restore()

    def _note(self, number: int, frame: FrameType | None) -> None:
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
