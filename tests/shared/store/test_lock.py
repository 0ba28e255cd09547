from __future__ import annotations

import errno
import fcntl
import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from shared.errors import StoreError
from shared.store.lock import hold
from shared.store.paths import location

Cli = Callable[..., tuple[int, str, str]]
OPTIONS = ("--size", 32, "--frames", 4, "--block", 8, "--workers", 1)

HOLDER = """
import sys
from pathlib import Path
from shared.store.lock import hold
with hold(Path(sys.argv[1])):
    print("held", flush=True)
    sys.stdin.read()
"""

COUNTER = """
import sys
from pathlib import Path
from shared.errors import StoreError
from shared.store.lock import hold
folder, done = Path(sys.argv[1]), 0
while done < 30:
    try:
        with hold(folder / "store"):
            count = int((folder / "count").read_text()) if (folder / "count").exists() else 0
            (folder / "count").write_text(str(count + 1))
            done += 1
    except StoreError:
        pass
"""


def holder(store: Path) -> subprocess.Popen[bytes]:
    """A process that holds a store until it is killed, or this one has ended."""
    command = [sys.executable, "-c", HOLDER, str(store)]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert process.stdout is not None
    assert process.stdout.readline() == b"held\n"
    return process


def test_a_second_run_is_refused_until_the_first_is_dead(
    folder: Path, tmp_path: Path, cli: Cli
) -> None:
    store = tmp_path / "stores" / "store"
    process = holder(store)
    try:
        code, _, err = cli("run", "folder", "--root", folder, "--out", store, *OPTIONS)
        assert code == 2
        assert f"another run is at work on {store}: process {process.pid} on " in err
        assert f"(-c {store})" in err
        assert not store.exists()
    finally:
        process.send_signal(signal.SIGKILL)
        process.communicate()
    assert [path.name for path in store.parent.iterdir()] == [".store.lock"]
    assert cli("run", "folder", "--root", folder, "--out", store, *OPTIONS)[0] == 0
    assert [path.name for path in store.parent.iterdir()] == ["store"]


def test_a_finished_store_needs_no_lock(folder: Path, tmp_path: Path, cli: Cli) -> None:
    store = tmp_path / "store"
    command = ("run", "folder", "--root", folder, "--out", store, *OPTIONS)
    assert cli(*command)[0] == 0
    process = holder(store)
    try:
        assert cli(*command)[0] == 0
    finally:
        process.kill()
        process.communicate()


def test_the_lock_names_its_holder_and_goes_with_it(tmp_path: Path) -> None:
    with hold(tmp_path / "store") as held:
        assert held
        text = (tmp_path / ".store.lock").read_text()
        assert json.loads(text)["process"] == os.getpid()
        with pytest.raises(StoreError, match=str(os.getpid())), hold(tmp_path / "store"):
            pass
    assert list(tmp_path.iterdir()) == []


def test_a_lock_file_replaced_meanwhile_does_not_count(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its former holder may remove it between opening and locking."""
    real, removed = fcntl.flock, []

    def flock(descriptor: int, how: int) -> None:
        if not removed:
            removed.append((tmp_path / ".store.lock").unlink())
        real(descriptor, how)

    monkeypatch.setattr(fcntl, "flock", flock)
    with hold(tmp_path / "store"), pytest.raises(StoreError), hold(tmp_path / "store"):
        pass


def test_a_store_in_s3_has_no_lock() -> None:
    with hold(location("s3://bucket/store")) as held:
        assert not held


def test_two_processes_that_want_one_store_take_turns(tmp_path: Path) -> None:
    """Each counts up a number as often as it gets the lock; none is lost."""
    processes = [subprocess.Popen([sys.executable, "-c", COUNTER, str(tmp_path)]) for _ in range(2)]
    assert [process.wait() for process in processes] == [0, 0]
    assert (tmp_path / "count").read_text() == "60"
    assert [path.name for path in tmp_path.iterdir()] == ["count"]


@pytest.mark.parametrize("number", [errno.ENOLCK, errno.ENOTSUP, errno.ENOSYS])
def test_a_file_system_without_locks_is_named(
    number: int, folder: Path, tmp_path: Path, cli: Cli, monkeypatch: pytest.MonkeyPatch
) -> None:
    def flock(descriptor: int, how: int) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(fcntl, "flock", flock)
    store = tmp_path / "store"
    code, _, err = cli("run", "folder", "--root", folder, "--out", store, *OPTIONS)
    assert code == 0, err
    assert "no locks here" in err
