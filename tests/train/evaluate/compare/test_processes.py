from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from shared.errors import UserError
from tests.train.evaluate.compare import tasks
from train.evaluate.compare.processes import Job, run_jobs

PARENT = """
import signal
import sys
from pathlib import Path
from tests.train.evaluate.compare import tasks
from train.evaluate.compare.processes import Job, run_jobs
if __name__ == "__main__":
    # Whoever runs the tests in the background may have told them to ignore it.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    run_jobs([Job("waiting", tasks.wait, Path(sys.argv[1]))], 1)
"""


def test_jobs_wait_for_those_they_build_on_and_have_one_thread(tmp_path: Path) -> None:
    files = {name: tmp_path / name for name in ("second", "first")}
    before = os.environ.get("OMP_NUM_THREADS")
    second = Job("second", tasks.note, files["second"], frozenset({"first", "not among them"}))
    run_jobs([second, Job("first", tasks.note, files["first"])], 2)
    times = {name: file.read_text().split() for name, file in files.items()}
    assert float(times["first"][0]) < float(times["second"][0])
    assert [threads for _, threads in times.values()] == ["1", "1"]
    assert os.environ.get("OMP_NUM_THREADS") == before


def test_a_refused_job_ends_all_others_which_are_stopped(tmp_path: Path) -> None:
    jobs = [Job("long", tasks.wait, tmp_path / "long"), Job("bad", tasks.refuse, tmp_path / "long")]
    with pytest.raises(UserError, match=r"bad: .*long is refused"):
        run_jobs(jobs, 2)
    assert (tmp_path / "long.stopped").exists()


def test_a_process_that_dies_is_named(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError, match="bad: its process died"):
        run_jobs([Job("bad", tasks.die, tmp_path)], 1)


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGINT])
def test_processes_end_with_the_one_that_began_them(tmp_path: Path, number: int) -> None:
    script, file = tmp_path / "parent.py", tmp_path / "pid"
    script.write_text(PARENT)
    project = Path(__file__).parents[4]
    environment = {**os.environ, "PYTHONPATH": str(project)}
    parent = subprocess.Popen([sys.executable, str(script), str(file)], env=environment)
    _until(lambda: _content(file) != "" or parent.poll() is not None)
    assert parent.poll() is None
    parent.send_signal(number)
    parent.wait()
    _until(lambda: not _alive(int(_content(file))))
    # What it was doing could still save.
    assert file.with_suffix(".stopped").exists()


def _content(path: Path) -> str:
    return path.read_text() if path.exists() else ""


def _until(condition: Callable[[], bool], seconds: float = 300) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.1)


def _alive(process: int) -> bool:
    try:
        os.kill(process, 0)
        state = Path(f"/proc/{process}/stat").read_text().rsplit(")", 1)[1].split()[0]
    except (ProcessLookupError, FileNotFoundError):
        return False
    return state != "Z"
