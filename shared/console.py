"""What a person sees in the terminal: progress with rate and time left, and plain errors."""

from __future__ import annotations

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

EXIT_OK, EXIT_USER_ERROR, EXIT_INTERRUPTED = 0, 2, 130

console = Console(highlight=False, soft_wrap=True)
"""For results, on standard output."""

errors = Console(stderr=True, highlight=False, soft_wrap=True)
"""For progress and errors, on standard error."""


class Bar:
    """A progress bar in use; calling it counts units as done."""

    def __init__(self, progress: RichProgress, task: TaskID) -> None:
        self._progress, self._task = progress, task

    def __call__(self, count: float = 1) -> None:
        """Count `count` more units as done."""
        self._progress.advance(self._task, count)

    def update(self, completed: int, note: str) -> None:
        """Set how many units are done, and what stands where the rate would."""
        self._progress.update(self._task, completed=completed, note=note)


class Progress:
    """Draws bars on a console; one that is not a terminal shows the last state only."""

    def __init__(self, console: Console = errors) -> None:
        self._console = console

    @contextmanager
    def bar(self, title: str, total: float, unit: str, *, done: float = 0) -> Iterator[Bar]:
        """A bar with its rate and the time that is left."""
        columns = (
            TextColumn("{task.description}"),
            BarColumn(bar_width=24),
            TaskProgressColumn(),
            _Rate(),
            TimeElapsedColumn(),
            TimeRemainingColumn(),
        )
        with RichProgress(*columns, console=self._console) as progress:
            task = progress.add_task(title, total=total, unit=unit, note="")
            progress.update(task, completed=done)
            yield Bar(progress, task)


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
