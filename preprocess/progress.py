"""Progress bars with speed and time left, on stderr."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    ProgressColumn,
    Task,
    TextColumn,
    TimeRemainingColumn,
)
from rich.progress import Progress as RichProgress
from rich.text import Text


class _Speed(ProgressColumn):
    def render(self, task: Task) -> Text:
        """Things a second, or what they are until that is known."""
        unit = task.fields["unit"]
        return Text(f"{task.speed:.1f} {unit}/s" if task.speed else unit)


class Progress:
    """Draws bars on a console; a console that is not a terminal shows the last state only."""

    def __init__(self, console: Console) -> None:
        self._console = console

    @contextmanager
    def bar(
        self, title: str, total: int, unit: str, *, done: int = 0
    ) -> Iterator[Callable[[int], None]]:
        """A bar that is advanced by calling what this yields."""
        columns = (
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            _Speed(),
            TimeRemainingColumn(),
        )
        with RichProgress(*columns, console=self._console) as progress:
            task = progress.add_task(title, total=total, completed=done, unit=unit)
            yield lambda count: progress.advance(task, count)
