"""The command line, killed and stopped for real, alone and under torchrun."""

from __future__ import annotations

import random
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from shared.store.store import Store
from tests.train.conftest import TINY, Overrides, train_stages
from train.trainer.checkpoint import checkpoints, load_state
from train.trainer.monitor import read_metrics

pytestmark = pytest.mark.slow

STEPS = 50
LONG: Overrides = {
    "refiner": "null",
    "refiner.width": None,
    "diffusion_training.steps": str(STEPS),
    "diffusion_training.seconds": "null",
    "diffusion_training.batch": "5",
    "diffusion_training.checkpoint_every": "9",
    "diffusion_training.log_every": "3",
    "sampler.steps": "1",
}
Program = tuple[str, ...]
ALONE: Program = ("-m", "train")
TORCHRUN: Program = ("-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2", *ALONE)


def start(
    store: Store, run: Path, changes: Overrides, program: tuple[str, ...], *further: str
) -> subprocess.Popen:
    values = {name: value for name, value in (TINY | LONG | changes).items() if value is not None}
    overrides = [part for name, value in values.items() for part in ("--set", f"{name}={value}")]
    where = ["--store", str(store.path), "--out", str(run), *overrides]
    command = [
        sys.executable,
        *program,
        "diffusion",
        "--recipe",
        "ed_vdm_demo",
        "--device",
        "cpu",
        *where,
        *further,
    ]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def finish(process: subprocess.Popen) -> str:
    out, err = process.communicate()
    assert process.returncode == 0, err
    return out


def wait_for_a_checkpoint(process: subprocess.Popen, folder: Path) -> None:
    while not checkpoints(folder):
        assert process.poll() is None
        time.sleep(0.02)


def train_undisturbed(store: Store, whole: Path, other: Path, changes: Overrides) -> None:
    """All stages of `whole` in this process; those before diffusion are copied to `other`."""
    on = ("--device", "cpu")
    assert train_stages(store.path, whole, LONG, ("vae", "encode"), further=on) == [0, 0]
    shutil.copytree(whole, other)
    assert train_stages(store.path, whole, LONG | changes, ("diffusion",), further=on) == [0]


def metrics_without_times(run: Path) -> list[dict[str, float]]:
    timing = ("seconds", "clips_per_second", "wait", "memory_gib")
    lines = read_metrics(run / "diffusion")
    return [{name: value for name, value in line.items() if name not in timing} for line in lines]


def test_a_killed_training_goes_on_as_if_nothing_had_happened(store: Store, tmp_path: Path) -> None:
    """With Muon, which leaves a part of the weights to AdamW."""
    whole, cut = tmp_path / "whole", tmp_path / "cut"
    changes: Overrides = {"diffusion_training.optimiser": "muon"}
    train_undisturbed(store, whole, cut, changes)
    process = start(store, cut, changes, ALONE)
    wait_for_a_checkpoint(process, cut / "diffusion")
    time.sleep(random.uniform(0, 0.1))
    process.kill()
    process.communicate()
    assert process.returncode == -signal.SIGKILL
    assert load_state(checkpoints(cut / "diffusion")[-1])["step"] < STEPS
    finish(start(store, cut, changes, ALONE))
    assert len(metrics_without_times(whole)) == STEPS // 3 + 1, "the last step has a line"
    assert metrics_without_times(cut) == metrics_without_times(whole)
    last = checkpoints(whole / "diffusion")[-1]
    assert len(list(last.glob("*.safetensors"))) >= 3
    for file in last.glob("*.safetensors"):
        assert file.read_bytes() == (cut / "diffusion" / last.name / file.name).read_bytes()


def test_two_processes_train_and_stop_as_one_does(store: Store, tmp_path: Path) -> None:
    """By our launcher, then, going on, by torchrun; bfloat16 rounds each slice in its own way:
    losses agree to a few per cent."""
    one, two = tmp_path / "one", tmp_path / "two"
    train_undisturbed(store, one, two, {})
    changes: Overrides = {"diffusion_training.accumulate": "2"}
    process = start(store, two, changes, ALONE, "--processes", "2")
    wait_for_a_checkpoint(process, two / "diffusion")
    process.terminate()
    out, err = process.communicate()
    assert process.returncode == 128 + signal.SIGTERM
    assert out.count("stopped; the same command again goes on") == 1, err
    saved = load_state(checkpoints(two / "diffusion")[-1])["step"]
    assert saved < STEPS
    assert finish(start(store, two, changes, TORCHRUN)).count("diffusion: done") == 1
    # Once more, there is nothing to do, and the processes agree on it.
    assert finish(start(store, two, changes, ALONE, "--processes", "2")).count("done, in") == 1
    lines = list(zip(metrics_without_times(one), metrics_without_times(two), strict=True))
    assert [a["step"] for a, _ in lines] == [b["step"] for _, b in lines]
    for a, b in lines:
        assert a["loss"] == pytest.approx(b["loss"], rel=0.1)
