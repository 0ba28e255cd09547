"""A training small enough for tests, in this process or in others, which can be killed."""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import socket
import sys
import time
from collections.abc import Callable
from multiprocessing.process import BaseProcess
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import TypeAdapter
from torch import Tensor, nn

from train.data.batches import BatchSlice
from train.trainer.distributed import process_group
from train.trainer.loop import Stage, fit
from train.trainer.schedule import TrainingOptions
from train.trainer.signals import StoppedError

CPU = torch.device("cpu")
CLIPS = 10
"""Size of the data set: batches of 4 or 8 reach over the end of an epoch."""

SEED = 7
EXACT = ("loss", "loss_low", "gradient_norm", "lr")
"""Values of a line of the log that do not depend on times and memory."""

OPTIONS = TrainingOptions(
    steps=20, learning_rate=0.05, warmup=5, decay=True, ema=0.9, checkpoint_every=10, log_every=1,
    weight_decay=0.01,
)  # fmt: skip

processes = multiprocessing.get_context("forkserver")
processes.set_forkserver_preload(  # seconds to import, once for all processes
    ["tests.train.toy", "torch.utils.tensorboard", "torch._dynamo", "safetensors.torch"]
)


def small_network(seed: int, norm: type[nn.Module] = nn.BatchNorm1d) -> nn.Module:
    torch.manual_seed(seed)
    return nn.Sequential(nn.Linear(3, 4), nn.SiLU(), norm(4), nn.Linear(4, 1))


def toy_stage(
    folder: Path,
    *,
    options: TrainingOptions = OPTIONS,
    losses: list[float] | None = None,
    before: Callable[[int], object] = lambda step: None,
    init: int = 0,
    norm: type[nn.Module] = nn.BatchNorm1d,
    config: dict | None = None,
) -> Stage:
    """Learn the sum of three noisy numbers; append to `losses`; call `before` with each step."""
    clips = torch.randn(CLIPS, 3, generator=torch.Generator().manual_seed(0))

    def read(indices: NDArray[np.int64], *, pinned: bool) -> dict[str, Tensor]:
        assert not pinned, "it costs, and a CPU gains nothing"
        return {"x": clips[torch.from_numpy(indices)]}

    def prepare(tensors: dict[str, Tensor], part: BatchSlice) -> Tensor:
        before(part.step)
        return tensors["x"]

    def loss(network: nn.Module, x: Tensor, part: BatchSlice) -> dict[str, Tensor]:
        noise = torch.stack([torch.randn(3, generator=g) for g in part.generators(SEED, CPU)])
        with torch.autocast("cpu", enabled=False):  # sums in another order differ by less
            errors = (network(x + 0.1 * noise)[:, 0] - x.sum(1)).square()
        if losses is not None:
            losses.append(errors.mean().item())
        return {"loss": errors.mean(), "loss_low": errors.detach().where(x[:, 0] < 0, torch.nan)}

    return Stage(
        title="toy", folder=folder, network=small_network(init, norm), clips=np.arange(CLIPS),
        seed=SEED, read=read, prepare=prepare, loss=loss, config=config or {"width": 4},
        options=options, device=CPU,
    )  # fmt: skip


def train(folder: Path, options: TrainingOptions, step_seconds: float = 0) -> None:
    """Train as one of the processes of a group; leaves its weights in FOLDER/weights-RANK.json."""
    torch.set_num_threads(1)
    with process_group(CPU) as world:
        # Rank 0's first weights are everyone's. Batch norms would see each slice alone.
        stage = toy_stage(
            folder,
            options=options,
            before=lambda step: time.sleep(step_seconds),
            init=world.rank,
            norm=nn.LayerNorm,
        )
        averaged = fit(stage)
    weights = [*averaged.parameters(), *stage.network.parameters()]
    content = json.dumps([value.flatten().tolist() for value in weights])
    (folder / f"weights-{world.rank}.json").write_text(content)


def weights(folder: Path, rank: int = 0) -> list[list[float]]:
    return json.loads((folder / f"weights-{rank}.json").read_text())


def free_port() -> int:
    """A port of this machine that nothing listens on."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])


def start(
    folder: Path, options: TrainingOptions, *, ranks: int = 1, step_seconds: float = 0
) -> list[BaseProcess]:
    """Train in processes of their own, one a rank, as torchrun would start them."""
    return start_ranks(ranks, train, folder, options, step_seconds)


def start_ranks(
    ranks: int, function: Callable[..., object], *arguments: object
) -> list[BaseProcess]:
    """Call a function in processes of their own, in which `process_group` joins the others."""
    common = {"WORLD_SIZE": ranks, "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": free_port()}
    started = []
    for rank in range(ranks):
        environment = {k: str(v) for k, v in (common | {"RANK": rank, "LOCAL_RANK": rank}).items()}
        started.append(processes.Process(target=_call_as, args=(environment, function, *arguments)))
        started[-1].start()
    return started


def _call_as(
    environment: dict[str, str], function: Callable[..., object], *arguments: object
) -> None:
    os.environ.update(environment)
    try:
        function(*arguments)
    except StoppedError as stopped:
        sys.exit(128 + stopped.signal)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("folder", type=Path)
    parser.add_argument("options")
    arguments = parser.parse_args()
    options = TypeAdapter(TrainingOptions).validate_json(arguments.options)
    train(arguments.folder, options)


if __name__ == "__main__":
    main()
