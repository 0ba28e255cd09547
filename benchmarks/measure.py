"""CPU seconds of this process or of others, and a table of figures."""

from __future__ import annotations

import json
import os
import platform
import resource
import subprocess
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from rich.console import Console
from rich.table import Table


@dataclass(frozen=True)
class Figure:
    """One figure, ours against a peer's. A larger `ratio` is better, unless `at_most`."""

    name: str
    ours: float
    peer: float
    unit: str
    ratio: float
    target: float
    at_most: bool = False

    @property
    def reached(self) -> bool:
        return self.ratio <= self.target if self.at_most else self.ratio >= self.target


def cpu_seconds(function: Callable[[], object]) -> float:
    """CPU seconds of a function, in this process alone."""
    start = time.process_time()
    function()
    return time.process_time() - start


def child_cpu_seconds(command: Sequence[str], stdin: bytes | None = None) -> float:
    """User and system time of a command and of its children, seconds."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run(command, input=stdin, check=True, stdout=subprocess.DEVNULL)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime - before.ru_utime + after.ru_stime - before.ru_stime


def least_in_turn(rounds: int, *measures: Callable[[], float]) -> list[float]:
    """Least value of each measure over rounds that take all of them in turn.

    Other work on a machine only adds time, and comes and goes: so the least, and in turn.
    """
    rows = [[measure() for measure in measures] for _ in range(rounds)]
    return [min(column) for column in zip(*rows, strict=True)]


def machine() -> str:
    """Processor and number of cores."""
    name = platform.processor() or platform.machine()
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        lines = dict(line.split(":", 1) for line in cpuinfo.read_text().splitlines() if ":" in line)
        named = {key.strip(): value.strip() for key, value in lines.items()}
        name = named.get("model name", name)
        widest = [f for f in ("avx512bw", "avx2") if f in named.get("flags", "").split()]
        name += f", {widest[0]}" if widest else ""
    return f"{name}, {os.cpu_count()} cores"


def show(figures: Sequence[Figure]) -> None:
    table = Table(title=machine(), title_justify="left")
    for column in ("figure", "ours", "peer", "ratio", "target", ""):
        table.add_column(column, justify="left" if column == "figure" else "right")
    for figure in figures:
        sign = "≤" if figure.at_most else "≥"
        table.add_row(
            figure.name,
            f"{figure.ours:.4g} {figure.unit}",
            f"{figure.peer:.4g} {figure.unit}",
            f"{figure.ratio:.3g}",
            f"{sign} {figure.target:g}",
            "" if figure.reached else "missed",
        )
    Console(width=120).print(table)


def write(figures: Sequence[Figure], path: Path) -> None:
    rows = [{**asdict(figure), "reached": figure.reached} for figure in figures]
    text = json.dumps({"machine": machine(), "figures": rows}, indent=1, ensure_ascii=False)
    path.write_text(text + "\n")
