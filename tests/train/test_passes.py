"""What a pass costs, against formulas and real passes."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from train.models.unet3d import UNet3D, UNet3DOptions
from train.passes import Case, counted, saved_bytes

OPTIONS = UNet3DOptions(dim=16, mults=(1, 2), blocks=1, heads=2, head_dim=8, context=8, label_dim=8)
CASE = Case(OPTIONS, (5, 3, 4, 4), 4, texts=False)


def test_shapes_alone_count_what_a_real_pass_does() -> None:
    network = UNet3D(OPTIONS, 5, 4, 24, (3, 4, 4))
    with FlopCounterMode(display=False) as counter:
        network(*CASE.inputs()).square().mean().backward()
    found = counted(CASE)
    assert found.gflop == pytest.approx(counter.get_total_flops() / 1e9, rel=1e-6)
    whole = found.unet_parameters + found.first_frame_parameters
    assert whole == sum(parameter.numel() for parameter in network.parameters())


def test_fused_attention_counts_as_if_it_were_written_out() -> None:
    grid = Case(OPTIONS, (5, 2, 32, 32), 1, texts=False)
    network = UNet3D(OPTIONS, 5, 1, 24, (2, 32, 32))
    with FlopCounterMode(display=False) as counter, sdpa_kernel(SDPBackend.MATH):
        network(*grid.inputs()).square().mean().backward()
    assert counted(grid).gflop == pytest.approx(counter.get_total_flops() / 1e9, rel=1e-6)


def test_saved_bytes_are_each_storage_once_without_weights() -> None:
    layer = nn.Linear(8, 4)
    x = torch.zeros(16, 8, requires_grad=True)
    with saved_bytes(layer) as saved:
        (layer(x).exp() * x[:, :4]).sum()
    # x, saved by the layer and the product; the exponential, saved by itself and the product.
    assert sorted(saved.values()) == [16 * 4 * 4, 16 * 8 * 4]


def test_checkpointing_trades_operations_for_memory() -> None:
    less = counted(replace(CASE, options=replace(OPTIONS, gradient_checkpointing=True)))
    whole = counted(CASE)
    assert less.activation_bytes < whole.activation_bytes
    assert 1.2 * whole.gflop < less.gflop < 1.4 * whole.gflop
