"""Terminal output: progress bars with rate and time left, errors as one message, byte counts."""

from __future__ import annotations

import io
import os
import re
import shlex
import signal
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from rich.console import Console
from rich.progress import (
    BarColumn,
    ProgressColumn,
    Task,
    TaskID,
    TaskProgressColumn,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.progress import Progress as RichProgress
from rich.text import Text

from shared.errors import UserError, place_error

EXIT_OK, EXIT_USER_ERROR, EXIT_BY_SIGNAL = 0, 2, 128
"""A process that a signal stopped exits with 128 and the signal's number."""

EXIT_INTERRUPTED = EXIT_BY_SIGNAL + signal.SIGINT

_OWN = ("preprocess", "shared", "train")

_CONTROL = re.compile("[\0-\x08\x0b-\x1f\x7f-\x9f]")
"""Characters that a terminal would obey; line breaks and tabs are none of them."""


def escaped(text: str) -> str:
    """Escape control characters, which names of files may hold, as `\\x1b`."""
    return _CONTROL.sub(lambda found: f"\\x{ord(found[0]):02x}", text)


def shell_command(*parts: object) -> str:
    """A command that can be pasted into a shell, whatever its parts hold.

    Parts that no terminal shows as they are, such as line breaks, become bash's `$'...'`.
    """
    return " ".join(map(_quoted, map(str, parts)))


def _quoted(text: str) -> str:
    encoding = sys.stdout.encoding or "utf-8"
    if text.isprintable() and text.encode(encoding, "ignore").decode(encoding) == text:
        return shlex.quote(text)
    plain = (chr(byte) if 32 <= byte < 127 else f"\\x{byte:02x}" for byte in os.fsencode(text))
    return "$'" + "".join(f"\\{c}" if c in "\\'" else c for c in plain) + "'"


class PlainConsole(Console):
    """A console that takes no text for markup or for commands to the terminal."""

    def __init__(self, **options: Any) -> None:
        super().__init__(markup=False, emoji=False, highlight=False, **options)

    def print(self, *objects: Any, **options: Any) -> None:
        """Print objects, control characters in texts escaped."""
        super().print(*(escaped(o) if isinstance(o, str) else o for o in objects), **options)


console = PlainConsole(soft_wrap=True)
"""For results, on standard output."""

errors = PlainConsole(stderr=True, soft_wrap=True)
"""For progress and errors, on standard error."""

_nowhere = Console(quiet=True)


class Bar:
    """A running progress bar; calling it counts units as done. It is hidden until `shown_from`."""

    def __init__(self, progress: RichProgress, task: TaskID, shown_from: float) -> None:
        self._progress, self._task, self._shown_from = progress, task, shown_from

    def __call__(self, count: float = 1) -> None:
        """Count `count` more units as done."""
        self._progress.advance(self._task, count)
        self._show()

    def update(self, completed: int, note: str) -> None:
        """Set the number of units done, and a note in place of the rate."""
        self._progress.update(self._task, completed=completed, note=note)
        self._show()

    def _show(self) -> None:
        if time.monotonic() >= self._shown_from and not self._progress.live.is_started:
            self._progress.start()


class Progress:
    """Progress bars on a console; a console that is no terminal shows the last state only.

    Attributes:
        shown: False hides every bar of this process; see `hush`.
    """

    shown = True

    def __init__(self, console: Console = errors) -> None:
        self._console = console

    @contextmanager
    def bar(
        self, title: str, total: float, unit: str, *, done: float = 0, patience_seconds: float = 0
    ) -> Iterator[Bar]:
        """Show a bar with its rate and the time left.

        It appears only if work is left after `patience_seconds`.
        """
        columns = (
            TextColumn("{task.description}", markup=False),
            BarColumn(bar_width=24),
            TaskProgressColumn(),
            _Rate(),
            TimeElapsedColumn(),
            TimeRemainingColumn(),
        )
        progress = RichProgress(*columns, console=self._console if self.shown else _nowhere)
        task = progress.add_task(title, total=total, unit=unit, note="")
        progress.update(task, completed=done)
        if not patience_seconds:
            progress.start()
        try:
            yield Bar(progress, task, time.monotonic() + patience_seconds)
        finally:
            if progress.live.is_started:
                progress.stop()


def hush() -> None:
    """Hide results and progress of this process, because another shows them; errors stay."""
    console.quiet = True
    Progress.shown = False


class _Rate(ProgressColumn):
    def render(self, task: Task) -> Text:
        """The note if any, else units done and units a second."""
        if task.fields["note"]:
            return Text(task.fields["note"])
        unit, speed = task.fields["unit"], task.finished_speed or task.speed
        done = f"{task.completed:,.0f} of {task.total:,.0f} {unit}"
        return Text(f"{done}  {speed:,.1f}/s" if speed else done)


def run_command(command: Callable[[], object], extra: str) -> int:
    """Run a command and return its exit code.

    Args:
        command: to call.
        extra: of this package, that installs what it needs.

    Returns:
        0 after success; 2 after a `UserError`, an error of a disk or path, or an import of what is
        not installed, with a message printed. Other exceptions pass.
    """
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")  # what the terminal cannot show
    try:
        command()
    except UserError as error:
        return _show(error)
    except ModuleNotFoundError as error:
        if not error.name or error.name.partition(".")[0] in _OWN:
            raise
        return _show(UserError(f"dvdm-{extra} needs {error.name}: pip install 'dvdm[{extra}]'"))
    except OSError as error:
        message = place_error(error)
        if message is None:
            raise
        return _show(message)
    return EXIT_OK


def _show(error: UserError) -> int:
    errors.print(f"Error: {error}", markup=False)
    return EXIT_USER_ERROR


def byte_count(count: float) -> str:
    """A number of bytes in decimal units."""
    for unit in ("B", "kB", "MB", "GB"):
        if count < 1000:
            return f"{count:.0f} B" if unit == "B" else f"{count:.1f} {unit}"
        count /= 1000
    return f"{count:.1f} TB"
