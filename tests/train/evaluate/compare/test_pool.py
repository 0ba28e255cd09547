from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from shared.errors import UserError
from tests.train.evaluate.compare import tasks
from train.evaluate.compare.work import Pool, Task

PARENT = """
import sys
from pathlib import Path
from tests.train.compare import tasks
from train.compare.pool import Pool, Task
if __name__ == "__main__":
    with Pool(1) as pool:
        pool.run([Task("waiting", tasks.wait_for_long, Path(sys.argv[1]))], "title")
"""


def test_tasks_wait_for_those_they_build_on_and_have_one_thread(tmp_path: Path) -> None:
    files = {name: tmp_path / name for name in ("second", "first")}
    second = Task("second", tasks.note, files["second"], after="first")
    with Pool(2) as pool:
        pool.run([second, Task("first", tasks.note, files["first"])], "title")
    times = {name: file.read_text().split() for name, file in files.items()}
    assert float(times["first"][0]) < float(times["second"][0])
    assert [threads for _, threads in times.values()] == ["1", "1"]


def test_a_refused_task_ends_everything_as_its_own_mistake(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(UserError, match="bad could not be done"), Pool(1) as pool:
        pool.run([Task("bad", tasks.refuse, tmp_path / "x")], "title")
    assert "x is refused" in capfd.readouterr().err


def test_tasks_end_with_the_process_that_began_them(tmp_path: Path) -> None:
    script, file = tmp_path / "parent.py", tmp_path / "pid"
    script.write_text(PARENT)
    parent = subprocess.Popen([sys.executable, str(script), str(file)])
    while not file.exists() or not file.read_text():
        time.sleep(0.1)
    child = int(file.read_text())
    parent.send_signal(signal.SIGKILL)
    parent.wait()
    deadline = time.monotonic() + 30
    while _alive(child) and time.monotonic() < deadline:
        time.sleep(0.1)
    assert not _alive(child)


def _alive(process: int) -> bool:
    try:
        os.kill(process, 0)
        state = Path(f"/proc/{process}/stat").read_text().rsplit(")", 1)[1].split()[0]
    except (ProcessLookupError, FileNotFoundError):
        return False
    return state != "Z"
