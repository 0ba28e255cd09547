"""What a number was measured on."""

from __future__ import annotations

import os
import platform
import resource
import sys
from pathlib import Path

import torch


def autocast(device: torch.device) -> torch.autocast:
    """bfloat16 for matrix products where the device computes them fast, float32 elsewhere.

    That is on CUDA, and on CPUs with AMX tiles; others emulate bfloat16, several times slower.
    """
    fast = device.type == "cuda" or bool(torch.cpu.get_capabilities().get("amx_bf16", False))
    return torch.autocast(device.type, torch.bfloat16, enabled=fast)


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
