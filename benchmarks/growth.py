"""CPU time and memory of extraction as a data set grows: python -m benchmarks.growth --help.

Tiny rendered files, linked as often as clips are wanted: one clip each, so that what counts is the
work that comes with every file and every clip. On one process, and on a Dask cluster of four
workers on this machine. CPU time is that of the clips that the data set before had not: it stays
the same where work grows no faster than the data, and starting does not count.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console
from rich.table import Table

from benchmarks.measure import machine
from preprocess.datasets.gestures.dataset import render_dataset
from preprocess.datasets.gestures.render import RenderOptions

FRAMES, SIZE = 8, 32
FEWEST = 24
WORKERS = 4


@dataclass(frozen=True)
class Used:
    """CPU seconds of all processes, and peak memory of the driver and of the largest worker, MB."""

    cpu: float
    driver: float
    worker: float | None = None


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--clips", default="1000,10000,100000", help="numbers, by commas")
    parser.add_argument("--alone", action="store_true", help="leave the cluster out")
    given = parser.parse_args()
    table = Table(title=machine(), title_justify="left")
    columns = "clips", "CPU ms a further clip", "clips a CPU s", "driver MB", "worker MB"
    for column in ("run by", *columns):
        table.add_column(column, justify="left" if column == "run by" else "right")
    with tempfile.TemporaryDirectory() as folder:
        base = Path(folder)
        options = RenderOptions(size=SIZE, frames=FRAMES, subjects=1, repetitions=1)
        render_dataset(base / "rendered", options)
        for title, run in (("one process", alone), (f"{WORKERS} workers of Dask", by_cluster)):
            if given.alone and run is by_cluster:
                continue
            fewer, before = FEWEST, run(base, FEWEST)
            for count in map(int, given.clips.split(",")):
                used = run(base, count)
                each = (used.cpu - before.cpu) / (count - fewer)
                worker = "" if used.worker is None else f"{used.worker:.0f}"
                row = f"{count:,}", f"{1000 * each:.2f}", f"{1 / each:.0f}", f"{used.driver:.0f}"
                table.add_row(title, *row, worker)
                fewer, before = count, used
    Console(width=120).print(table)


def alone(base: Path, count: int) -> Used:
    """Extract so many clips in one process."""
    return _used(subprocess.Popen(_command(base, count, "--workers", "1"), **_QUIET))


def by_cluster(base: Path, count: int) -> Used:
    """Extract so many clips by workers of one thread each, started for it."""
    file = base / f"scheduler-{count}.json"
    dask = [sys.executable, "-m", "dask"]
    named = ["--scheduler-file", str(file)]
    scheduler = subprocess.Popen([*dask, "scheduler", "--port", "0", "--no-show", *named], **_QUIET)
    worker = [*dask, "worker", *named, "--nthreads", "1", "--no-nanny", "--no-dashboard"]
    workers = [subprocess.Popen(worker, **_QUIET) for _ in range(WORKERS)]
    while not file.exists():
        time.sleep(0.1)
    address = json.loads(file.read_bytes())["address"]
    driver = _used(subprocess.Popen(_command(base, count, "--scheduler", address), **_QUIET))
    for process in (*workers, scheduler):
        process.kill()  # a worker that is asked to end may wait for a scheduler that has
    others = [_used(process, expected=None) for process in (*workers, scheduler)]
    return Used(
        driver.cpu + sum(other.cpu for other in others),
        driver.driver,
        max(other.driver for other in others[:-1]),
    )


_QUIET = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}


def _command(base: Path, count: int, *how: str) -> list[str]:
    """Extract `count` links to the rendered files, made where they are not there yet."""
    root = base / f"videos-{count}"
    if not root.exists():
        rendered = sorted((base / "rendered").rglob("*.mp4"))
        for number in range(count):
            source = rendered[number % len(rendered)]
            link = root / source.parent.name / f"{number:06d}.mp4"
            link.parent.mkdir(parents=True, exist_ok=True)
            os.link(source, link)
    out = tempfile.mkdtemp(dir=base)
    options = ["--size", str(SIZE), "--frames", str(FRAMES), "--block", "8"]
    run = [sys.executable, "-m", "preprocess", "run", "folder", "--root", str(root)]
    return [*run, "--out", f"{out}/store", *options, *how]


def _used(process: subprocess.Popen[bytes], expected: int | None = 0) -> Used:
    """Wait for a process; what it and its children used."""
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if expected is not None and process.returncode != expected:
        raise SystemExit(f"{' '.join(map(str, process.args))} ended with {process.returncode}")
    return Used(usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 1024)


if __name__ == "__main__":
    main()
