"""What a number was measured on."""

from __future__ import annotations

import os
import platform
import resource
import sys
from pathlib import Path

import torch

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
