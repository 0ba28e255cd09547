"""What a person sees in the terminal: progress with rate and time left, and plain errors."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import (
    BarColumn,
    Progress,
    ProgressColumn,
    Task,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.text import Text

from shared.errors import UserError

EXIT_OK, EXIT_FAILURE, EXIT_USER_ERROR = 0, 1, 2

console = Console(highlight=False)
"""For results, on standard output."""

errors = Console(stderr=True, highlight=False)
"""For progress and errors, on standard error."""


class Bar:
    """A progress bar in use."""

    def __init__(self, progress: Progress, task: Task) -> None:
        self._progress, self._task = progress, task

    def advance(self, count: int = 1) -> None:
        """Count `count` more units as done."""
        self._progress.advance(self._task.id, count)

    def update(self, completed: int, note: str = "") -> None:
        """Set how many units are done, and a note behind the bar."""
        self._progress.update(self._task.id, completed=completed, note=note)


class _Rate(ProgressColumn):
    """Units a second so far."""

    def render(self, task: Task) -> Text:
        if task.fields.get("note"):
            return Text(task.fields["note"])
        return Text(f"{task.speed or 0:,.1f} {task.fields['unit']}/s")


@contextmanager
def progress_bar(title: str, *, total: int, unit: str) -> Iterator[Bar]:
    """A bar with rate and time left on standard error.

    Where standard error is no terminal, one line is printed at the end instead.
    """
    progress = Progress(
        TextColumn("{task.description}"),
        BarColumn(bar_width=30),
        TextColumn("{task.percentage:>3.0f}%"),
        _Rate(),
        TimeElapsedColumn(),
        TextColumn("left"),
        TimeRemainingColumn(),
        console=errors,
        refresh_per_second=4,
    )
    with progress:
        task = progress.add_task(title, total=total, unit=unit, note="")
        yield Bar(progress, progress.tasks[task])


def run_command(command: Callable[[], object]) -> int:
    """Run a command line and turn its outcome into an exit code.

    Returns:
        0 done; 2 the user's mistake, told in one message; an exception of ours passes through
        as a traceback (exit code 1).
    """
    try:
        command()
    except UserError as error:
        errors.print(f"[bold red]error:[/] {_escape(str(error))}", soft_wrap=True)
        return EXIT_USER_ERROR
    except KeyboardInterrupt:
        errors.print("interrupted; the same command again goes on from the last checkpoint")
        return EXIT_FAILURE
    except BrokenPipeError:
        sys.stderr.close()
        return EXIT_FAILURE
    return EXIT_OK


def _escape(text: str) -> str:
    return text.replace("[", r"\[")
