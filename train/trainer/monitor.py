"""What is measured between two lines of the log: means, pace, and whether all is finite.

Sums stay on the device until a line is due, so that no step waits for the one before.
"""

from __future__ import annotations

import json
import math
import os
import platform
import resource
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from shared.report.pictures import gif
from train.trainer.distributed import World

# MERGED: Where a stage's numbers go: TensorBoard, and a plain `metrics.jsonl` for anything else.


class RunLog:
    """Scalars, pictures and videos of one training stage.

    Args:
        folder: for TensorBoard's event files and `metrics.jsonl`; made where missing.
        steps_done: of the run that is resumed: TensorBoard drops what a killed run wrote beyond.
    """

    def __init__(self, folder: Path, steps_done: int = 0) -> None:
        from torch.utils.tensorboard import SummaryWriter  # slow to import

        folder.mkdir(parents=True, exist_ok=True)
        self._writer = SummaryWriter(str(folder), purge_step=steps_done + 1 if steps_done else None)
        self._lines = (folder / "metrics.jsonl").open("a+b")
        _cut_torn_line(self._lines)

    def scalars(self, step: int, values: dict[str, float]) -> None:
        """Record numbers by name at an optimiser step."""
        for name, value in values.items():
            self._writer.add_scalar(name, value, step)
        self._lines.write(json.dumps({"step": step, **values}).encode() + b"\n")
        self._lines.flush()

    def picture(self, step: int, name: str, picture: NDArray[np.uint8]) -> None:
        """Record an RGB picture, shape (H, W, 3)."""
        self._writer.add_image(name, picture, step, dataformats="HWC")

    def video(self, step: int, name: str, clip: NDArray[np.uint8], fps: float = 8) -> None:
        """Record an RGB video, shape (T, 3, H, W), as the animated picture TensorBoard plays."""
        from tensorboard.compat.proto.summary_pb2 import Summary

        height, width = clip.shape[-2:]
        picture = Summary.Image(
            height=height, width=width, colorspace=3, encoded_image_string=gif(clip, fps=fps)
        )
        summary = Summary(value=[Summary.Value(tag=name, image=picture)])
        self._writer._get_file_writer().add_summary(summary, step)

    def close(self) -> None:
        """Flush everything."""
        self._writer.close()
        self._lines.close()


def read_metrics(folder: Path) -> list[dict[str, float]]:
    """All lines of a stage's `metrics.jsonl`; empty where there is none.

    A run that was killed and resumed repeats steps: the last line of a step counts.
    """
    path = folder / "metrics.jsonl"
    lines = path.read_text().splitlines() if path.is_file() else []
    by_step = {record["step"]: record for record in map(json.loads, lines)}
    return [by_step[step] for step in sorted(by_step)]


def _cut_torn_line(file: IO[bytes]) -> None:
    """Drop what a killed run left of its last line."""
    file.seek(0)
    file.truncate(file.read().rfind(b"\n") + 1)


# MERGED: What a number was measured on.


_BFLOAT16 = ("amx_bf16", "avx512_bf16")
"""Of what a CPU has, as `torch.cpu.get_capabilities` calls it."""


def autocast(device: torch.device) -> torch.autocast:
    """bfloat16 for matrix products where the device computes them fast, float32 elsewhere.

    That is on CUDA, and on CPUs with instructions for it (AMX tiles, or AVX-512's dot products);
    others emulate bfloat16, several times slower.
    """
    return torch.autocast(device.type, torch.bfloat16, enabled=computes_bfloat16(device))


def computes_bfloat16(device: torch.device) -> bool:
    """Whether products of bfloat16 matrices are an instruction of the device."""
    if device.type == "cuda":
        return True
    capabilities = torch.cpu.get_capabilities()
    return any(capabilities.get(name, False) for name in _BFLOAT16)


def peak_memory(device: torch.device) -> int:
    """Most bytes so far: of tensors on a GPU, else of this process."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    unit = 1 if sys.platform == "darwin" else 1024
    return unit * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


def processor() -> str:
    """GPU name where there is one, else the CPU's model, and the number of cores."""
    if torch.cuda.is_available():
        return torch.cuda.get_device_name()
    return f"{_cpu_model()}, {os.cpu_count()} cores, no GPU"


def _cpu_model() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:  # not Linux
        return platform.processor() or platform.machine()
    models = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return models[0] if models else platform.machine()


class Means:
    """Means over rows, by name, since they were last taken."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._sums: dict[str, Tensor] = {}

    def add(self, values: dict[str, Tensor], rows: int) -> None:
        """Count values: a scalar is the mean of `rows` rows, a vector holds one a row or NaN."""
        for name, value in values.items():
            each = value.detach().double().expand(rows) if value.ndim == 0 else value.double()
            new = torch.stack([each.nansum(), (~each.isnan()).sum()])
            self._sums[name] = self._sums[name] + new if name in self._sums else new

    def state(self) -> dict[str, list[float]]:
        """[sum, count] by name over all ranks, for a checkpoint. All ranks must call it."""
        if not self._sums:
            return {}
        sums = self._world.all_reduce_sum(torch.stack(list(self._sums.values())))
        return dict(zip(self._sums, sums.tolist(), strict=True))

    def restore(self, state: dict[str, list[float]], device: torch.device) -> None:
        """Go on from `state`: on one rank, since it holds the sums of all."""
        if self._world.is_main:
            pairs = torch.tensor(list(state.values()), dtype=torch.float64, device=device)
            self._sums = dict(zip(state, pairs, strict=True))

    def take(self) -> dict[str, float]:
        """The means of all ranks; names that no row had are left out. All ranks must call it."""
        state = self.state()
        self._sums = {name: torch.zeros_like(pair) for name, pair in self._sums.items()}
        return {name: total / count for name, (total, count) in state.items() if count}


class Throughput:
    """Clips a second and the share of the time spent waiting for data, since last taken.

    Pauses (checkpoints, previews) do not count.
    """

    def __init__(self, world: World) -> None:
        self._world = world
        self._start()

    @contextmanager
    def waiting(self) -> Iterator[None]:
        """Count the time in this context as waiting for data."""
        started = time.perf_counter()
        yield
        self._waited += time.perf_counter() - started

    @contextmanager
    def paused(self) -> Iterator[None]:
        """Leave out the time in this context."""
        started = time.perf_counter()
        yield
        self._started += time.perf_counter() - started

    def count(self, clips: int) -> None:
        """Count the clips of a step, those of all ranks."""
        self._clips += clips

    def take(self) -> dict[str, float]:
        """`clips_per_second`, and `wait`: the largest share of any rank. All must call it."""
        seconds = max(time.perf_counter() - self._started, 1e-9)
        (wait,) = self._world.all_reduce_max(self._waited / seconds)
        rate = self._clips / seconds
        self._start()
        return {"clips_per_second": rate, "wait": wait}

    def _start(self) -> None:
        self._started, self._waited, self._clips = time.perf_counter(), 0.0, 0


class NonFiniteMonitor:
    """Remembers the first step that had a number which is not finite, on any rank."""

    def __init__(self, world: World, device: torch.device) -> None:
        self._world = world
        self._first = torch.full((), math.inf, device=device)

    def watch(self, step: int, *values: Tensor) -> None:
        """Look at scalars of step `step`, without waiting for the device."""
        finite = torch.stack([value.detach().isfinite() for value in values]).all()
        self._first = self._first.minimum(torch.where(finite, math.inf, float(step)))

    def first(self) -> int | None:
        """The first bad step, None where all was finite. All ranks must call it."""
        (latest,) = self._world.all_reduce_max(-float(self._first))
        return None if latest == -math.inf else int(-latest)
