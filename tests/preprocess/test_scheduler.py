"""`--scheduler`: a real Dask scheduler and its workers on loopback."""

from __future__ import annotations

import socket
import threading
import warnings
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import pytest

import preprocess.executor
from preprocess.executor import ExecutorOptions, run_tasks
from shared.errors import UserError
from tests.clusters import SECONDS, Cluster, running_cluster, wait_until
from tests.stores import contents

Cli = Callable[..., tuple[int, str, str]]
OPTIONS = ("--size", 32, "--frames", 4, "--block", 8, "--search-range", 5)


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    with running_cluster(tmp_path_factory.mktemp("dask"), 2) as found:
        yield found


@pytest.fixture
def small_shards(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("preprocess.planning.plan.MAX_SHARD_CLIPS", 1)


@pytest.mark.slow
@pytest.mark.usefixtures("small_shards")
def test_run_and_reblock_with_a_worker_killed_meanwhile(
    cluster: Cluster, folder: Path, tmp_path: Path, cli: Cli
) -> None:
    here, there = tmp_path / "here", tmp_path / "there"
    common = ("run", "folder", "--root", folder, *OPTIONS)
    assert cli(*common, "--out", here, "--workers", 1)[0] == 0

    def kill_a_worker() -> None:
        markers = there / "partitions"
        wait_until(lambda: len(list(markers.glob("*.json"))) >= 4, "four partitions")
        cluster.start_worker()
        cluster.kill_worker()

    killer = threading.Thread(target=kill_a_worker)
    killer.start()
    code, _, err = cli(*common, "--out", there, "--scheduler", cluster.address)
    killer.join()
    assert code == 0, err
    assert contents(there) == contents(here)

    again = {place: tmp_path / f"{place.name}-4" for place in (here, there)}
    finer = ("--block", 4)
    assert cli("reblock", here, *finer, "--out", again[here], "--workers", 1)[0] == 0
    code, _, err = cli(
        "reblock", there, *finer, "--out", again[there], "--scheduler", cluster.address
    )
    assert code == 0, err
    assert contents(again[there]) == contents(again[here])


def _double(number: int) -> int:
    return 2 * number


def test_few_tasks_are_submitted_at_a_time(
    cluster: Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(preprocess.executor, "TASKS_AHEAD", 3)
    done: list[int] = []
    found = run_tasks(_double, range(40), ExecutorOptions(scheduler=cluster.address), done.append)
    assert found == [2 * number for number in range(40)]
    assert sorted(done) == found


def test_what_a_task_raises_comes_back(cluster: Cluster) -> None:
    with pytest.raises(TypeError):
        run_tasks(_double, [None, None], ExecutorOptions(scheduler=cluster.address))  # type: ignore[list-item]


def test_two_extractions_at_a_time_do_not_meet() -> None:
    """Dask serves its state at port 8787, and warns of one that is taken."""
    with socket.socket() as other, warnings.catch_warnings():
        with suppress(OSError):  # taken already
            other.bind(("", 8787))
            other.listen()
        warnings.simplefilter("error")
        assert run_tasks(_double, range(4), ExecutorOptions(workers=2)) == [0, 2, 4, 6]


def test_no_scheduler_is_a_clear_error(
    folder: Path, tmp_path: Path, cli: Cli, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(preprocess.executor, "CONNECT_SECONDS", 1)
    command = ("run", "folder", "--root", folder, "--out", tmp_path / "store", *OPTIONS)
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        port = silent.getsockname()[1]
        for address in ("tcp://127.0.0.1:1", f"tcp://127.0.0.1:{port}", "gopher://a:1"):
            code, _, err = cli(*command, "--scheduler", address)
            assert code == 2, err
            assert f"--scheduler {address}: no Dask scheduler answers" in err
            assert "Traceback" not in err


@pytest.mark.slow
def test_workers_that_are_of_no_use(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """None at all; one that does not have the package; one that does not see the videos."""
    from distributed import Client

    monkeypatch.setattr(preprocess.executor, "CONNECT_SECONDS", 1)
    with running_cluster(tmp_path, 0) as cluster:
        executor = ExecutorOptions(scheduler=cluster.address)
        with pytest.raises(UserError, match="has no workers; start some with: dask worker"):
            run_tasks(_double, [1, 2], executor)
        monkeypatch.setattr(preprocess.executor, "CONNECT_SECONDS", 30)
        cluster.start_worker()
        with Client(cluster.address) as client:
            client.wait_for_workers(1, timeout=SECONDS)
            client.run(exec, "import sys; sys.modules['preprocess'] = None")
            with pytest.raises(UserError, match=r"cannot import this package .*install"):
                run_tasks(_double, [1, 2], executor)
            client.run(exec, "import sys; del sys.modules['preprocess']")
        place = tmp_path / "only on another machine"
        with pytest.raises(UserError, match=r"does not see .*only on another machine"):
            run_tasks(_double, [1, 2], executor, places=[place])
