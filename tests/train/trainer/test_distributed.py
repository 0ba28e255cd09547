"""Training by several processes gives what one process gives."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
import weakref
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from pydantic import TypeAdapter

from shared.errors import UserError
from tests.train.toy import EXACT, OPTIONS, start, start_ranks, train, weights
from train.trainer import distributed
from train.trainer.checkpoint import checkpoints, load_state
from train.trainer.distributed import World, choose_device, own_device, process_group, world
from train.trainer.monitor import read_metrics
from train.trainer.schedule import TrainingOptions


def assert_close(one: Path, other: Path) -> None:
    for a, b in zip(read_metrics(one), read_metrics(other), strict=True):
        assert {k: a[k] for k in EXACT} == pytest.approx({k: b[k] for k in EXACT}, rel=1e-4)
    for a, b in zip(weights(one), weights(other), strict=True):
        assert a == pytest.approx(b, abs=1e-4)


@pytest.mark.slow
def test_two_processes_learn_what_one_learns(tmp_path: Path) -> None:
    """Started by torchrun; each takes 1 and 2 of the 6 clips of a step, in two passes."""
    one, two = tmp_path / "one", tmp_path / "two"
    options = replace(OPTIONS, batch=6, log_every=3)
    train(one, options)
    in_passes = TypeAdapter(TrainingOptions).dump_json(replace(options, accumulate=2)).decode()
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--standalone"]
    program = ["--nproc-per-node", "2", "-m", "tests.train.toy", str(two), in_passes]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    done = subprocess.run([*torchrun, *program], env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert weights(two, 0) == weights(two, 1)
    assert_close(one, two)
    assert done.stderr.count("100%") == 1  # one bar, not one a process


@pytest.mark.slow
def test_a_signal_to_one_process_stops_and_saves_all(tmp_path: Path) -> None:
    one, two = tmp_path / "one", tmp_path / "two"
    options = replace(OPTIONS, log_every=3, checkpoint_every=1000)
    train(one, options)
    processes = start(two, options, ranks=2, step_seconds=0.05)
    while not read_metrics(two):
        assert all(process.is_alive() for process in processes)
        time.sleep(0.01)
    os.kill(processes[1].pid, signal.SIGTERM)  # type: ignore[arg-type]
    for process in processes:
        process.join()
        assert process.exitcode == 128 + signal.SIGTERM
    (saved,) = checkpoints(two)
    assert 3 <= load_state(saved)["step"] < 20
    for process in start(two, options, ranks=2):
        process.join()
        assert process.exitcode == 0
    assert weights(two, 0) == weights(two, 1)
    assert_close(one, two)


def test_a_wall_clock_budget_ends_all_ranks_at_the_same_step(tmp_path: Path) -> None:
    options = replace(OPTIONS, steps=10**6, seconds=0.5, optimiser="muon")
    for process in start(tmp_path, options, ranks=2):
        process.join()
        assert process.exitcode == 0
    assert weights(tmp_path, 0) == weights(tmp_path, 1)


def leave_by_an_error(how: str) -> None:
    """Exit with 0 if no wrapped network outlives the group."""
    wrapped = []

    def train_and_fail(joined: World) -> None:
        network = joined.wrap(torch.nn.Linear(1, 1))
        network(torch.ones(1, 1)).sum().backward()
        wrapped.append(weakref.ref(network))
        raise UserError("first")

    def train_and_stop(joined: World) -> None:
        try:
            train_and_fail(joined)
        except UserError:
            raise KeyboardInterrupt from None

    try:
        with process_group(torch.device("cpu")) as joined:
            (train_and_fail if how == "error" else train_and_stop)(joined)
    except (UserError, KeyboardInterrupt):
        sys.exit(0 if wrapped[0]() is None else 1)


@pytest.mark.parametrize("how", ["error", "stop"])
def test_no_wrapped_network_outlives_its_group(how: str) -> None:
    """One that does may never end: its destructor waits for a thread that waits for Python."""
    for process in start_ranks(2, leave_by_an_error, how):
        process.join()
        assert process.exitcode == 0


def test_a_single_process_needs_no_group() -> None:
    alone = World()
    assert alone.is_main
    assert alone.all_reduce_max(3, -4) == [3, -4]
    assert alone.all_reduce_sum(torch.ones(2)).tolist() == [1, 1]
    alone.barrier()
    module = torch.nn.Linear(1, 1)
    assert alone.wrap(module) is module
    with process_group(torch.device("cpu")) as joined:
        assert joined == world() == alone


def test_each_process_has_its_own_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    gpu = torch.device("cuda")
    assert own_device(torch.device("cuda:1")) == torch.device("cuda:1")
    for name, value in (("WORLD_SIZE", "4"), ("LOCAL_RANK", "1")):
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    assert own_device(gpu) == torch.device("cuda:1")
    assert own_device(torch.device("cpu")) == torch.device("cpu")
    with pytest.raises(UserError, match="torchrun gives each process its own"):
        own_device(torch.device("cuda:0"))
    monkeypatch.setenv("LOCAL_RANK", "2")
    with pytest.raises(UserError, match="which has 2 GPUs: lower --nproc-per-node"):
        own_device(gpu)


@pytest.mark.parametrize(("cores", "expected"), [(1, 1), (3, 3), (64, 4)])
def test_no_more_threads_than_the_container_has_cores(
    monkeypatch: pytest.MonkeyPatch, cores: int, expected: int
) -> None:
    monkeypatch.setattr(distributed, "usable_cores", lambda: cores)
    before = torch.get_num_threads()
    torch.set_num_threads(4)
    try:
        choose_device("cpu")
        assert torch.get_num_threads() == expected
    finally:
        torch.set_num_threads(before)
