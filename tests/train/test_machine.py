from __future__ import annotations

import pytest
import torch

from train.machine import autocast, computes_bfloat16, peak_memory, processor

CPU = torch.device("cpu")


@pytest.mark.parametrize(
    ("capabilities", "fast"),
    [
        ({"amx_bf16": True, "avx512_bf16": True}, True),
        ({"amx_bf16": False, "avx512_bf16": True}, True),
        ({"amx_bf16": False, "avx512_bf16": False, "avx512_f": True}, False),
        ({"neon": True}, False),
    ],
)
def test_products_are_bfloat16_where_a_cpu_has_instructions_for_them(
    monkeypatch: pytest.MonkeyPatch, capabilities: dict[str, bool], fast: bool
) -> None:
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: capabilities)
    assert computes_bfloat16(CPU) is fast
    with autocast(CPU):
        product = torch.ones(2, 2) @ torch.ones(2, 2)
    assert product.dtype == (torch.bfloat16 if fast else torch.float32)


def test_a_gpu_computes_bfloat16() -> None:
    assert computes_bfloat16(torch.device("cuda"))


def test_the_most_memory_so_far_never_falls() -> None:
    before = peak_memory(CPU)
    held = torch.ones(2**26)  # 256 MiB, touched
    more = peak_memory(CPU)
    assert more >= before
    assert more >= held.nbytes
    del held
    assert peak_memory(CPU) >= more


def test_the_processor_has_a_name() -> None:
    assert "cores" in processor() or torch.cuda.is_available()
