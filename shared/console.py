"""What a person sees in the terminal: progress with rate and time left, and plain errors."""

from __future__ import annotations

import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

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

from shared.errors import UserError

EXIT_OK, EXIT_USER_ERROR, EXIT_BY_SIGNAL = 0, 2, 128
"""A process that a signal stopped exits with 128 and the signal's number."""

EXIT_INTERRUPTED = EXIT_BY_SIGNAL + signal.SIGINT

console = Console(highlight=False, soft_wrap=True)
"""For results, on standard output."""

errors = Console(stderr=True, highlight=False, soft_wrap=True)
"""For progress and errors, on standard error."""

_nowhere = Console(quiet=True)


class Bar:
    """A progress bar in use; calling it counts units as done. It shows from `shown_from` on."""

    def __init__(self, progress: RichProgress, task: TaskID, shown_from: float) -> None:
        self._progress, self._task, self._shown_from = progress, task, shown_from

    def __call__(self, count: float = 1) -> None:
        """Count `count` more units as done."""
        self._progress.advance(self._task, count)
        self._show()

    def update(self, completed: int, note: str) -> None:
        """Set how many units are done, and what stands where the rate would."""
        self._progress.update(self._task, completed=completed, note=note)
        self._show()

    def _show(self) -> None:
        if time.monotonic() >= self._shown_from and not self._progress.live.is_started:
            self._progress.start()


class Progress:
    """Draws bars on a console; one that is not a terminal shows the last state only.

    Attributes:
        shown: whether anything is drawn; see `hush`.
    """

    shown = True

    def __init__(self, console: Console = errors) -> None:
        self._console = console

    @contextmanager
    def bar(
        self, title: str, total: float, unit: str, *, done: float = 0, patience_seconds: float = 0
    ) -> Iterator[Bar]:
        """A bar with its rate and the time that is left.

        With patience it shows only if there is still something to do after so many seconds.
        """
        columns = (
            TextColumn("{task.description}"),
            BarColumn(bar_width=24),
            TaskProgressColumn(),
            _Rate(),
            TimeElapsedColumn(),
            TimeRemainingColumn(),
        )
        where = self._console if self.shown else _nowhere
        progress = RichProgress(*columns, console=where)
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
    """Show neither results nor progress in this process, since another shows them; errors still."""
    console.quiet = True
    Progress.shown = False


class _Rate(ProgressColumn):
    def render(self, task: Task) -> Text:
        """The note where there is one, else units done and units a second."""
        if task.fields["note"]:
            return Text(task.fields["note"])
        unit, speed = task.fields["unit"], task.finished_speed or task.speed
        done = f"{task.completed:,.0f} of {task.total:,.0f} {unit}"
        return Text(f"{done}  {speed:,.1f}/s" if speed else done)


def run_command(command: Callable[[], object]) -> int:
    """Run a command line and turn its outcome into an exit code.

    Returns:
        0 done; 2 the user's mistake, told in one message. Any other exception passes through.
    """
    try:
        command()
    except UserError as error:
        errors.print(f"Error: {error}", markup=False)
        return EXIT_USER_ERROR
    return EXIT_OK
