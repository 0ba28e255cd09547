"""SIGKILL at random moments: the same command finishes the store, byte for byte."""

from __future__ import annotations

import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from shared.store.store import Store
from tests.conftest import call_preprocess

OPTIONS = ("--size", 32, "--frames", 4, "--stride", 1, "--block", 8, "--search-range", 8)
LONGEST_SECONDS = 600
"""For a run that hangs; a busy machine may take minutes for what takes seconds."""


def start(data: Path, store: Path, workers: int) -> subprocess.Popen[bytes]:
    command = ["run", "gestures", "--root", data, "--out", store, *OPTIONS, "--workers", workers]
    return subprocess.Popen(
        [sys.executable, "-m", "preprocess", *map(str, command)],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
    )


def finish(data: Path, store: Path, workers: int) -> None:
    process = start(data, store, workers)
    _, err = process.communicate(timeout=LONGEST_SECONDS)
    assert process.returncode == 0, err.decode()


def contents(store: Path) -> dict[str, bytes]:
    files = sorted(path for path in store.rglob("*") if path.is_file())
    return {path.relative_to(store).as_posix(): path.read_bytes() for path in files}


def markers(store: Path) -> dict[str, int]:
    return {path.name: path.stat().st_mtime_ns for path in store.glob("partitions/[0-9]*")}


def wait_for_lock(process: subprocess.Popen[bytes], store: Path) -> None:
    while process.poll() is None and not (store.parent / f".{store.name}.lock").exists():
        time.sleep(0.01)


def wait_for_a_partition(store: Path, done: int, seconds: float) -> None:
    """At most so long: a fast machine makes all nine while a slow one makes the first."""
    end = time.monotonic() + seconds
    while time.monotonic() < end and len(markers(store)) <= done:
        time.sleep(0.01)


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """48 rendered videos, which give nine partitions."""
    root = tmp_path_factory.mktemp("gestures")
    arguments = ("--root", root, "--subjects", 2, "--size", 32, "--workers", 1)
    assert call_preprocess("render", *arguments) == 0
    return root


@pytest.fixture(scope="module")
def undisturbed(data: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    store = tmp_path_factory.mktemp("undisturbed") / "store"
    command = ("run", "gestures", "--root", data, "--out", store, *OPTIONS, "--workers", 1)
    assert call_preprocess(*command) == 0
    assert Store(store).attributes.partitions == 9
    return contents(store)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("workers", "kills", "longest_s"),
    [
        (1, 4, 0.6),
        (2, 4, 4.0),
    ],
)
def test_the_driver_is_killed(
    workers: int,
    kills: int,
    longest_s: float,
    data: Path,
    undisturbed: dict[str, bytes],
    tmp_path: Path,
) -> None:
    """No worker outlives it, what was done stays untouched, and the rest is made later."""
    moments = random.Random(workers)
    store = tmp_path / "store"
    done: dict[str, int] = {}
    killed = 0
    for _ in range(kills):
        process = start(data, store, workers)
        wait_for_lock(process, store)
        wait_for_a_partition(store, len(done), moments.uniform(0, longest_s))
        if process.poll() is not None:
            break
        children = psutil.Process(process.pid).children(recursive=True)
        process.kill()
        killed += process.wait() == -signal.SIGKILL
        assert not psutil.wait_procs(children, timeout=15)[1], "workers outlived their driver"
        assert done.items() <= markers(store).items()
        done = markers(store)
    assert killed
    finish(data, store, workers)
    assert done.items() <= markers(store).items()
    assert contents(store) == undisturbed
    assert [path.name for path in tmp_path.iterdir()] == ["store"]


def kill_a_worker(driver: subprocess.Popen[bytes], choice: random.Random) -> bool:
    try:
        children = psutil.Process(driver.pid).children(recursive=True)
        workers = [child for child in children if "spawn_main" in " ".join(child.cmdline())]
    except psutil.Error:
        return False
    for worker in workers and [choice.choice(workers)]:
        worker.send_signal(signal.SIGKILL)
    return bool(workers)


@pytest.mark.slow
def test_a_worker_is_killed_at_work(
    data: Path, undisturbed: dict[str, bytes], tmp_path: Path
) -> None:
    """The run goes on without it, and ends well."""
    store = tmp_path / "store"
    process = start(data, store, 2)
    while process.poll() is None and not markers(store):
        time.sleep(0.01)
    assert kill_a_worker(process, random.Random(0))
    _, err = process.communicate(timeout=LONGEST_SECONDS)
    assert process.returncode == 0, err.decode()
    assert contents(store) == undisturbed


@pytest.mark.slow
def test_workers_are_killed_again_and_again(
    data: Path, undisturbed: dict[str, bytes], tmp_path: Path
) -> None:
    """Even while they start; where that ends the run, the same command goes on."""
    moments, store = random.Random(3), tmp_path / "store"
    killed = 0
    while killed < 3:
        process = start(data, store, 2)
        wait_for_lock(process, store)
        while process.poll() is None and killed < 3:
            time.sleep(moments.uniform(0.1, 1.5))
            killed += kill_a_worker(process, moments)
        done = markers(store)
        process.communicate(timeout=LONGEST_SECONDS)
        assert done.items() <= markers(store).items()
        if process.returncode == 0:
            break
    finish(data, store, 2)
    assert killed
    assert contents(store) == undisturbed
