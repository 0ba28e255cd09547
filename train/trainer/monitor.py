"""The log of a training, the means and rates between two of its lines, and the machine it runs on.

Sums stay on the device until a line is due: no step waits for the one before.
"""

from __future__ import annotations

import json
import math
import os
import platform
import resource
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from train.trainer.distributed import World

_BFLOAT16 = ("amx_bf16", "avx512_bf16")
"""CPU features with native bfloat16 products (names of `torch.cpu.get_capabilities`)."""


class RunLog:
    """Scalars, pictures and videos of a training stage, for TensorBoard and in `metrics.jsonl`.

    Args:
        folder: for TensorBoard's event files and `metrics.jsonl`; made if missing.
        steps_done: step from which a run is resumed: TensorBoard drops what it showed beyond.
    """

    def __init__(self, folder: Path, steps_done: int = 0) -> None:
        from torch.utils.tensorboard import SummaryWriter  # slow to import

        folder.mkdir(parents=True, exist_ok=True)
        threading.excepthook = _quiet_about_full_disks
        self._writer = SummaryWriter(str(folder), purge_step=steps_done + 1 if steps_done else None)
        self._lines = (folder / "metrics.jsonl").open("a+b")
        self._lines.seek(0)
        self._lines.truncate(self._lines.read().rfind(b"\n") + 1)  # a kill may leave half a line

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
        """Record an RGB video, shape (T, 3, H, W), as a GIF, which TensorBoard plays."""
        from tensorboard.compat.proto.summary_pb2 import Summary

        from shared.report.pictures import gif

        height, width = clip.shape[-2:]
        picture = Summary.Image(
            height=height, width=width, colorspace=3, encoded_image_string=gif(clip, fps=fps)
        )
        summary = Summary(value=[Summary.Value(tag=name, image=picture)])
        self._writer._get_file_writer().add_summary(summary, step)

    def close(self) -> None:
        """Flush and close all files."""
        try:
            self._writer.close()
        finally:
            self._lines.close()


def _quiet_about_full_disks(failed: threading.ExceptHookArgs) -> None:
    """Print an exception of a thread, unless TensorBoard raises it again in the main thread."""
    if not isinstance(failed.exc_value, OSError) or "_AsyncWriter" not in repr(type(failed.thread)):
        threading.__excepthook__(failed)


def read_metrics(folder: Path) -> list[dict[str, float]]:
    """Read all lines of a stage's `metrics.jsonl`, in the order of steps; none if it is missing.

    A run that was killed and resumed repeats steps: the last line of a step counts. A line that is
    still being written, or was cut off by a kill, does not.
    """
    path = folder / "metrics.jsonl"
    lines = (
        path.read_text(encoding="utf-8").rpartition("\n")[0].splitlines() if path.is_file() else []
    )
    by_step = {record["step"]: record for record in map(json.loads, lines)}
    return [by_step[step] for step in sorted(by_step)]


class RunningMeans:
    """Means over rows and ranks, by name, since they were last popped."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._sums: dict[str, Tensor] = {}  # float64 (sum, count), shape (2,)

    def add(self, values: dict[str, Tensor], rows: int) -> None:
        """Add the values of `rows` rows.

        Args:
            values: by name; a scalar is the rows' mean, a vector (rows,) holds each row's value,
                NaN for rows that do not count.
            rows: number of rows.
        """
        for name, value in values.items():
            each = value.detach().double().expand(rows) if value.ndim == 0 else value.double()
            new = torch.stack([each.nansum(), (~each.isnan()).sum()])  # (2,)
            self._sums[name] = self._sums[name] + new if name in self._sums else new

    def state(self) -> dict[str, list[float]]:
        """[sum, count] by name over all ranks, for a checkpoint. All ranks must call it."""
        if not self._sums:
            return {}
        sums = self._world.all_reduce_sum(torch.stack(list(self._sums.values())))
        return dict(zip(self._sums, sums.tolist(), strict=True))

    def restore(self, state: dict[str, list[float]], device: torch.device) -> None:
        """Continue from `state`, which holds the sums of all ranks: rank 0 has them, others zeros.

        All have the same names, so that ranks that take no further step still add up alike.
        """
        pairs = torch.tensor(list(state.values()), dtype=torch.float64, device=device)
        held = pairs if self._world.is_main else torch.zeros_like(pairs)
        self._sums = dict(zip(state, held, strict=True))

    def pop(self) -> dict[str, float]:
        """Return the means without names that no row had, and reset. All ranks must call it."""
        state = self.state()
        self._sums = {name: torch.zeros_like(pair) for name, pair in self._sums.items()}
        return {name: total / count for name, (total, count) in state.items() if count}


class Throughput:
    """Clips per second, and the fraction of time spent waiting for data, since last popped.

    Args:
        world: the processes that train together.
        clock: seconds.
    """

    def __init__(self, world: World, clock: Callable[[], float] = time.monotonic) -> None:
        self._world, self._clock = world, clock
        self._reset()

    @contextmanager
    def waiting(self) -> Iterator[None]:
        """Count the time in this context as waiting for data."""
        started = self._clock()
        yield
        self._waited += self._clock() - started

    @contextmanager
    def paused(self) -> Iterator[None]:
        """Do not count the time in this context, such as that of a checkpoint."""
        started = self._clock()
        yield
        self._started += self._clock() - started

    def count(self, clips: int) -> None:
        """Count the clips of a step, over all ranks."""
        self._clips += clips

    def pop(self) -> dict[str, float]:
        """Return `clips_per_second` and `wait`, 0 to 1, the largest of any rank, and reset.

        All ranks must call it.
        """
        seconds = max(self._clock() - self._started, 1e-9)
        (wait,) = self._world.all_reduce_max(self._waited / seconds)
        rate = self._clips / seconds
        self._reset()
        return {"clips_per_second": rate, "wait": wait}

    def _reset(self) -> None:
        self._started, self._waited, self._clips = self._clock(), 0.0, 0


class NonFiniteMonitor:
    """The first step with a number that is not finite, on any rank."""

    def __init__(self, world: World, device: torch.device) -> None:
        self._world = world
        self._first = torch.full((), math.inf, device=device)

    def watch(self, step: int, *values: Tensor) -> None:
        """Examine scalars of step `step`, without waiting for the device."""
        finite = torch.stack([value.detach().isfinite() for value in values]).all()
        self._first = self._first.minimum(torch.where(finite, math.inf, float(step)))

    def first_step(self) -> int | None:
        """The first bad step, None if all were finite. All ranks must call it."""
        (negated,) = self._world.all_reduce_max(-float(self._first))
        return None if negated == -math.inf else int(-negated)


def autocast(device: torch.device) -> torch.autocast:
    """Autocast to bfloat16 on devices that compute it fast; do nothing on others.

    These are CUDA, and CPUs with instructions for it (AMX tiles, or AVX-512's dot products); others
    emulate bfloat16, several times slower than float32.
    """
    return torch.autocast(device.type, torch.bfloat16, enabled=computes_bfloat16(device))


def computes_bfloat16(device: torch.device) -> bool:
    """Tell if the device has an instruction for products of bfloat16 matrices."""
    if device.type == "cuda":
        return True
    capabilities = torch.cpu.get_capabilities()
    return any(capabilities.get(name, False) for name in _BFLOAT16)


def peak_memory(device: torch.device) -> int:
    """Peak memory in bytes: of tensors on a GPU, else of this process."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    unit = 1 if sys.platform == "darwin" else 1024
    return unit * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


def processor() -> str:
    """Name of the GPU if there is one, else the CPU's model and number of cores."""
    if torch.cuda.is_available():
        return torch.cuda.get_device_name()
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        models = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    except OSError:  # not Linux
        models = [platform.processor()]
    return f"{''.join(models[:1]) or platform.machine()}, {os.cpu_count()} cores, no GPU"
