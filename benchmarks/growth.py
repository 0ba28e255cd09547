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
    """CPU seconds of processes, and the peak memory of the largest one, MB."""

    cpu: float
    memory: float


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
            fewer, before = FEWEST, _cpu(run(base, FEWEST))
            for count in map(int, given.clips.split(",")):
                driver, *others = run(base, count)
                cpu = _cpu([driver, *others])
                each = (cpu - before) / (count - fewer)
                workers = f"{max(worker.memory for worker in others[1:]):.0f}" if others else ""
                row = f"{count:,}", f"{1000 * each:.2f}", f"{1 / each:.0f}", f"{driver.memory:.0f}"
                table.add_row(title, *row, workers)
                fewer, before = count, cpu
    Console(width=120).print(table)


def alone(base: Path, count: int) -> list[Used]:
    """Extract so many clips in one process."""
    return [_extraction(base, count, "--workers", "1")]


def by_cluster(base: Path, count: int) -> list[Used]:
    """Extract so many clips by a cluster of its own; the driver, the scheduler and the workers."""
    file = base / f"scheduler-{count}.json"
    dask = [sys.executable, "-m", "dask"]
    named = ["--scheduler-file", str(file)]
    worker = [*dask, "worker", *named, "--nthreads", "1", "--no-nanny", "--no-dashboard"]
    scheduler = [*dask, "scheduler", "--port", "0", "--no-show", *named]
    cluster = [subprocess.Popen(part, **_QUIET) for part in (scheduler, *[worker] * WORKERS)]
    try:
        while not file.exists():
            if cluster[0].poll() is not None:
                raise SystemExit(f"{' '.join(scheduler)} ended with {cluster[0].returncode}")
            time.sleep(0.1)
        address = json.loads(file.read_bytes())["address"]
        driver = _extraction(base, count, "--scheduler", address)
    finally:
        for process in cluster:
            process.kill()  # a worker that is asked to end may wait for a scheduler that has
    return [driver, *map(_used, cluster)]


def _cpu(processes: list[Used]) -> float:
    return sum(process.cpu for process in processes)


_QUIET = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}


def _extraction(base: Path, count: int, *how: str) -> Used:
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
    process = subprocess.Popen([*run, "--out", f"{out}/store", *options, *how], **_QUIET)
    used = _used(process)
    if process.returncode:
        raise SystemExit(f"{' '.join(run)} ended with {process.returncode}")
    return used


def _used(process: subprocess.Popen[bytes]) -> Used:
    """Wait for a process; what it and its children used."""
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    return Used(usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 1024)


if __name__ == "__main__":
    main()
