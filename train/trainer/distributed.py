"""Training by several processes: of this machine (`launch`), or of many by torchrun.

Each process (rank) passes its slices of a batch through its own copy of the network, and the
gradients are averaged. When to stop, and how much of a wall-clock budget is used, must not differ:
the ranks agree on it once per step, between CPUs, so that no GPU waits for it. Rank 0 alone writes.
"""

from __future__ import annotations

import gc
import os
import signal
import socket
import subprocess
import sys
import time
import traceback
import warnings
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext
from dataclasses import dataclass
from tempfile import TemporaryFile
from types import FrameType
from typing import IO

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from shared.console import EXIT_BY_SIGNAL, EXIT_USER_ERROR, hush
from shared.cores import usable_cores
from shared.errors import UserError

_POLL_SECONDS = 0.1

_PATIENCE_SECONDS = 10.0
"""Time that the others have to end by themselves once one of them has failed."""


@dataclass(frozen=True)
class World:
    """The processes that train together, as one of them sees it.

    Attributes:
        rank: of this process, from 0.
        size: number of processes.
    """

    rank: int = 0
    size: int = 1

    @property
    def is_main(self) -> bool:
        """True for rank 0, which alone writes and shows progress."""
        return self.rank == 0

    def all_reduce_max(self, *values: float) -> list[float]:
        """The largest of each value over all ranks. All must call it."""
        if self.size == 1:
            return list(values)
        tensor = torch.tensor(values, dtype=torch.float64)
        dist.all_reduce(tensor, dist.ReduceOp.MAX)
        return tensor.tolist()

    def all_reduce_sum(self, tensor: Tensor) -> Tensor:
        """The sum of a tensor over all ranks, on its device. All must call it."""
        if self.size == 1:
            return tensor
        total = tensor.clone()
        dist.all_reduce(total)
        return total

    def exchange(self, tensors: Sequence[Tensor], owners: Sequence[int]) -> list[Tensor]:
        """Give every rank the tensors of all. All must call it.

        Args:
            tensors: of the same shapes and dtype on all ranks.
            owners: rank whose value of each is taken.
        """
        taken = list(tensors)
        if self.size == 1:
            return taken
        for rank in sorted(set(owners)):
            theirs = [index for index, owner in enumerate(owners) if owner == rank]
            joined = torch.cat([tensors[index].flatten() for index in theirs])
            dist.broadcast(joined, src=rank)
            parts = joined.split([tensors[index].numel() for index in theirs])
            for index, part in zip(theirs, parts, strict=True):
                taken[index] = part.view(tensors[index].shape)
        return taken

    def barrier(self) -> None:
        """Wait until every rank has come this far."""
        self.all_reduce_max(0)

    def broadcast_weights(self, network: nn.Module) -> None:
        """Give every rank the weights and buffers of rank 0."""
        if self.size > 1:
            for tensor in network.state_dict().values():
                dist.broadcast(tensor, src=0)

    def wrap(self, module: nn.Module) -> nn.Module:
        """Wrap a module so that its backward pass averages gradients over all ranks.

        Weights must be the same on all ranks (`broadcast_weights`). Buffers are not exchanged:
        those that learn (spectral norms) follow from the weights.
        """
        if self.size == 1:
            return module
        # Said of 1x1 convolutions, whose gradients are copied; no user can do anything about it.
        warnings.filterwarnings("ignore", "Grad strides do not match bucket view strides")
        return DistributedDataParallel(
            module, init_sync=False, forward_sync_buffers=False, gradient_as_bucket_view=True
        )


def world() -> World:
    """The processes that this one has joined; itself alone if there are no others."""
    if dist.is_available() and dist.is_initialized():
        return World(dist.get_rank(), dist.get_world_size())
    return World()


def local_rank() -> int | None:
    """Number of this process on its machine, None if torchrun did not start it."""
    started = int(os.environ.get("WORLD_SIZE", "1")) > 1
    return int(os.environ["LOCAL_RANK"]) if started else None


@contextmanager
def process_group(device: torch.device) -> Iterator[World]:
    """Join the other processes that torchrun started, if it did, for the time of the context.

    All but rank 0 print nothing but errors from then on.
    """
    if local_rank() is None:
        yield World()
        return
    if device.type == "cuda":
        torch.cuda.set_device(device)
    dist.init_process_group("cpu:gloo,cuda:nccl" if device.type == "cuda" else "gloo")
    joined = world()
    if not joined.is_main:
        hush()
    try:
        yield joined
    except BaseException as error:
        _clear_frames(error)
        raise
    finally:
        # Wrapped networks first: one that goes after the group takes the group's threads with it
        # while it holds Python's lock, which such a thread may be waiting for, and neither ends.
        gc.collect()
        dist.destroy_process_group()


def _clear_frames(error: BaseException | None) -> None:
    """Let go of what the functions that an error has left still hold."""
    while error is not None:
        traceback.clear_frames(error.__traceback__)
        error = error.__cause__ or error.__context__


def own_device(device: torch.device) -> torch.device:
    """The device of this process if several share a machine: cuda is cuda:LOCAL_RANK.

    Raises:
        UserError: one GPU was named for all of them, or there are fewer GPUs than processes.
    """
    rank = local_rank()
    if rank is None or device.type != "cuda":
        return device
    if device.index is not None:
        raise UserError(f"--device {device}: torchrun gives each process its own; use cuda or auto")
    if rank >= torch.cuda.device_count():
        raise UserError(
            f"torchrun started process {rank + 1} on this machine, which has"
            f" {torch.cuda.device_count()} GPUs: lower --nproc-per-node, or use --device cpu"
        )
    return torch.device("cuda", rank)


def sync_gradients(module: nn.Module, now: bool) -> AbstractContextManager[object]:
    """Exchange gradients in the backward passes of this context if `now`, else only add them up."""
    if now or not isinstance(module, DistributedDataParallel):
        return nullcontext()
    return module.no_sync()


def choose_device(name: str) -> torch.device:
    """The device by name; `auto` takes CUDA where there is one.

    Torch counts the computer's cores, not the container's: its threads are cut to those here.

    Raises:
        UserError: the name is unknown or the device is absent.
    """
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    try:
        device: torch.device | None = torch.device(name)
    except RuntimeError:
        device = None
    if device is None or device.type not in ("cpu", "cuda"):
        raise UserError(f"--device {name}: must be auto, cpu, cuda or cuda:N")
    if device.type == "cuda" and not torch.cuda.is_available():
        raise UserError(f"--device {name}: this machine has no CUDA device; use --device cpu")
    torch.set_num_threads(min(torch.get_num_threads(), usable_cores()))
    return device


def launch(count: int, command: Sequence[str]) -> int:
    """Run a command in several processes that know each other, and wait for all of them.

    On a CPU, processes of one thread each train faster than one process of as many threads, whose
    threads wait for each other in every layer.

    They find each other by the variables that torchrun sets (`train.trainer.distributed`). The
    first one has this process's output; what another writes to its standard error is shown where
    it was the one that failed. SIGTERM is passed on; SIGINT reaches them from the terminal.

    Args:
        count: number of processes.
        command: of each.

    Returns:
        0, or the exit code of the process that failed first.
    """
    threads = str(max(1, usable_cores() // count))
    shared = {
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": str(_free_port()),
        "WORLD_SIZE": str(count),
        "OMP_NUM_THREADS": os.environ.get("OMP_NUM_THREADS", threads),
    }
    processes: list[subprocess.Popen[bytes]] = []

    def pass_on(number: int, frame: FrameType | None) -> None:
        for process in processes:
            if process.poll() is None and number == signal.SIGTERM:
                process.send_signal(number)

    before = {number: signal.signal(number, pass_on) for number in (signal.SIGINT, signal.SIGTERM)}
    with ExitStack() as files:
        silenced = [files.enter_context(TemporaryFile()) for _ in range(count - 1)]
        try:
            for rank in range(count):
                environment = {**os.environ, **shared, "RANK": str(rank), "LOCAL_RANK": str(rank)}
                error = silenced[rank - 1] if rank else None
                processes.append(subprocess.Popen(command, env=environment, stderr=error))
            return _wait(processes, silenced)
        finally:
            for process in processes:
                if process.poll() is None:
                    process.kill()
                    process.wait()
            for number, handler in before.items():
                signal.signal(number, handler)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def _wait(processes: list[subprocess.Popen[bytes]], silenced: Sequence[IO[bytes]]) -> int:
    """Wait until all have ended, or some time after one has failed; show what that one wrote."""
    failed, deadline = None, float("inf")
    while True:
        codes = [process.poll() for process in processes]
        if failed is None and any(codes):
            failed = next(rank for rank, code in enumerate(codes) if code)
            deadline = time.monotonic() + _PATIENCE_SECONDS
        if None not in codes or time.monotonic() >= deadline:
            break
        time.sleep(_POLL_SECONDS)
    if failed is None:
        return 0
    # A user's mistake is found by all, and the first one has said so.
    if failed and processes[0].poll() != EXIT_USER_ERROR:
        file = silenced[failed - 1]
        file.seek(0)
        sys.stderr.write(file.read().decode(errors="backslashreplace"))
    code: int = processes[failed].returncode
    return code if code > 0 else EXIT_BY_SIGNAL - code
