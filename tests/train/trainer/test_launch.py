"""Processes that train together, started for real; what they run is a few lines here."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from shared.cores import usable_cores
from train.trainer import distributed as module
from train.trainer.distributed import launch


def script(text: str) -> list[str]:
    return [sys.executable, "-c", f"import os, sys, time\nrank = int(os.environ['RANK'])\n{text}"]


def test_each_process_knows_its_number_and_where_the_others_are(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    write = "import json; json.dump(dict(os.environ), open(sys.argv[1] + str(rank), 'w'))"
    assert launch(2, [*script(write), str(tmp_path / "rank")]) == 0
    found = [json.loads((tmp_path / f"rank{n}").read_text()) for n in (0, 1)]
    assert [each["LOCAL_RANK"] for each in found] == ["0", "1"]
    assert {each["WORLD_SIZE"] for each in found} == {"2"}
    assert {each["OMP_NUM_THREADS"] for each in found} == {str(max(1, usable_cores() // 2))}
    [address] = {(each["MASTER_ADDR"], each["MASTER_PORT"]) for each in found}
    assert address[0] == "127.0.0.1" and int(address[1]) > 0


def test_a_mistake_that_all_find_is_shown_once(capfd: pytest.CaptureFixture[str]) -> None:
    assert launch(3, script("print('no store', file=sys.stderr); sys.exit(2)")) == 2
    assert capfd.readouterr().err.count("no store") == 1


def test_others_do_not_wait_for_one_that_failed(
    capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """It names its reason, although it is not the first process."""
    monkeypatch.setattr(module, "_PATIENCE_SECONDS", 0.2)
    start = time.monotonic()
    text = "if rank == 1: sys.exit('out of memory')\ntime.sleep(60)"
    assert launch(2, script(text)) == 1
    assert time.monotonic() - start < 30
    assert "out of memory" in capfd.readouterr().err


def test_a_killed_process_ends_all(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_PATIENCE_SECONDS", 0.2)
    text = "if rank == 1: os.kill(os.getpid(), 9)\ntime.sleep(60)"
    assert launch(2, script(text)) == 128 + signal.SIGKILL


def test_sigterm_reaches_every_process(tmp_path: Path) -> None:
    text = (
        "import signal\n"
        "def stop(*_):\n    open(sys.argv[1] + str(rank), 'w').close(); sys.exit(143)\n"
        "signal.signal(signal.SIGTERM, stop)\n"
        "open(sys.argv[1] + 'ready' + str(rank), 'w').close()\n"
        "time.sleep(60)"
    )
    command = [*script(text), str(tmp_path / "at")]
    parent = (
        f"from train.trainer.distributed import launch; raise SystemExit(launch(2, {command!r}))"
    )
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[3])}
    process = subprocess.Popen([sys.executable, "-c", parent], env=environment)
    until = time.monotonic() + 60
    while len(list(tmp_path.glob("atready*"))) < 2 and time.monotonic() < until:
        time.sleep(0.05)
    process.terminate()
    assert process.wait(30) == 143
    assert {path.name for path in tmp_path.glob("at?")} == {"at0", "at1"}
