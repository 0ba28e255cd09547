from __future__ import annotations

import io
import time

from rich.console import Console

from shared.console import Progress


def output(seconds: float, patience_seconds: float) -> str:
    """Output of a bar of two units that take `seconds` together."""
    console = Console(file=io.StringIO(), force_terminal=True, width=120)
    with Progress(console).bar("work", 2, "units", patience_seconds=patience_seconds) as bar:
        for _ in range(2):
            time.sleep(seconds / 2)
            bar()
    written = console.file
    assert isinstance(written, io.StringIO)
    return written.getvalue()


def test_a_bar_appears_immediately() -> None:
    assert "2 of 2 units" in output(0, patience_seconds=0)


def test_a_patient_bar_appears_only_for_long_work() -> None:
    assert output(0, patience_seconds=60) == ""
    assert "2 of 2 units" in output(0.2, patience_seconds=0.05)
