"""Systems whose stages go through several processes learn what they learn in one."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from shared.store.store import Store
from tests.train.conftest import STAGES, TINY, TINY_FLOW, TINY_PLANES
from tests.train.toy import free_port, processes
from train.recipes import load_recipe
from train.run import RunFolder
from train.stages.run_stage import train_stage
from train.trainer.checkpoint import checkpoints
from train.trainer.distributed import process_group
from train.trainer.monitor import read_metrics

SYSTEMS = {"lfdm_demo": TINY_FLOW, "pvdm_demo": TINY_PLANES}
SLOW = {f"{stage}_training.learning_rate": "1e-3" for stage in ("autoencoder", "diffusion")}
"""The first steps alone: Adam's enlarge the last digits of gradients near zero."""

CPU = torch.device("cpu")


def train(store: Path, folder: Path) -> None:
    """All stages of all systems in float32, in this process or as one of a group."""
    with process_group(CPU) as world, pytest.MonkeyPatch.context() as patch:
        # bfloat16 rounds what Adam's first steps enlarge.
        patch.setattr("train.trainer.monitor.computes_bfloat16", lambda device: False)
        for name, changes in SYSTEMS.items():
            given = TINY | changes | SLOW
            recipe = load_recipe(name, [f"{k}={v}" for k, v in given.items() if v is not None])
            run = RunFolder(folder / name)
            run.root.mkdir(parents=True, exist_ok=True)
            for stage in STAGES:
                train_stage(stage, recipe, Store(store), run, CPU, world)


def train_as(environment: dict[str, str], store: Path, folder: Path) -> None:
    """`train` as the process that the environment says."""
    os.environ.update(environment)
    torch.set_num_threads(1)
    train(store, folder)


@pytest.mark.slow
def test_two_processes_learn_what_one_learns(store: Store, tmp_path: Path) -> None:
    one, two = tmp_path / "one", tmp_path / "two"
    train(store.path, one)
    shared = {"WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(free_port())}
    ranks = [
        processes.Process(
            target=train_as,
            args=(shared | {"RANK": str(rank), "LOCAL_RANK": str(rank)}, store.path, two),
        )
        for rank in range(2)
    ]
    for process in ranks:
        process.start()
    for process in ranks:
        process.join()
        assert process.exitcode == 0
    compared = 0
    for name in SYSTEMS:
        runs = (RunFolder(folder / name).trained_stages.values() for folder in (one, two))
        for folders in zip(*runs, strict=True):
            if not folders[0].exists():
                continue
            compared += 1
            ours, theirs = ([line["loss"] for line in read_metrics(folder)] for folder in folders)
            assert theirs == pytest.approx(ours, rel=1e-3)
            weights = [load_file(checkpoints(folder)[-1] / "ema.safetensors") for folder in folders]
            for part, tensor in weights[0].items():
                difference = (tensor.float() - weights[1][part].float()).abs().max()
                assert difference < 2e-3, (name, part)
    assert compared == 4
