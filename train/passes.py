"""What a pass of one clip through a denoiser costs: counted from shapes, or measured on a GPU.

Two operations (FLOP) a multiply-accumulate, as torch's FlopCounterMode counts them on tensors that
have shapes and no contents; memory as autograd saves tensors for the backward pass.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import cache
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from train.models.unet3d import UNet3D, UNet3DOptions

Shape = tuple[int, ...]

GIGA = 1e9
_LABELS, _TEXT_WIDTH = 24, 768
"""NATOPS' labels; the width of CLIP ViT-L/14's text encoder."""
_STATE_BYTES = 4 * 4
"""A parameter's, in float32: weight, gradient, and AdamW's two moments."""


@dataclass(frozen=True)
class Case:
    """A denoiser and what it is to denoise: shape of x_0, pixels of a cell, texts or indices."""

    options: UNet3DOptions
    target: tuple[int, int, int, int]
    cell: int
    texts: bool

    def network(self) -> UNet3D:
        """Untrained, on the default device."""
        channels, time, height, width = self.target
        texts = torch.zeros(_LABELS, _TEXT_WIDTH) if self.texts else None
        return UNet3D(self.options, channels, self.cell, _LABELS, (time, height, width), texts)

    def inputs(self) -> list[Tensor]:
        """Arguments of a pass of one clip, on the default device."""
        index = torch.zeros(1, dtype=torch.long)
        sides = [side * self.cell for side in self.target[2:]]
        return [torch.zeros(1, *self.target), index, index, torch.zeros(1, 3, *sides)]


@dataclass(frozen=True)
class PassCost:
    """Of one clip through a denoiser, forward and backward.

    Attributes:
        unet_parameters, first_frame_parameters: of the U-Net without, and of, its first-frame
            encoder.
        forward_gflop, gflop: of the forward pass, and of both.
        activation_bytes: held for the backward pass.
        measured: whether a GPU's allocator said so; else the tensors that autograd saves were
            counted.
    """

    unet_parameters: int
    first_frame_parameters: int
    forward_gflop: float
    gflop: float
    activation_bytes: int
    measured: bool

    @property
    def training_bytes(self) -> int:
        """With weights, gradients and AdamW's moments in float32, without their average."""
        parameters = self.unet_parameters + self.first_frame_parameters
        return _STATE_BYTES * parameters + self.activation_bytes


def cost_of_pass(case: Case, device: torch.device) -> PassCost:
    """Of a case; activations measured on a CUDA device, counted for any other."""
    cost = counted(case)
    if device.type != "cuda":
        return cost
    return replace(cost, activation_bytes=_measured_activations(case, device), measured=True)


@cache
def counted(case: Case) -> PassCost:
    """Everything by counting; under bfloat16 autocast, as on a GPU."""
    from torch._subclasses.fake_tensor import FakeTensorMode  # slow to import: seconds

    counter = FlopCounterMode(display=False, custom_mapping=FUSED_ATTENTION)
    shapes_only = FakeTensorMode()
    shapes_only.cache_enabled = False  # no operation comes often enough to be worth its key
    with shapes_only:
        network, inputs = case.network(), case.inputs()
        with counter:
            with torch.autocast("cpu", torch.bfloat16), saved_bytes(network) as saved:
                loss = network(*inputs).float().square().mean()
            forward = counter.get_total_flops()
            loss.backward()
        first_frame = parameters(network.first_frame)
        return PassCost(
            parameters(network) - first_frame,
            first_frame,
            forward / GIGA,
            counter.get_total_flops() / GIGA,
            sum(saved.values()),
            measured=False,
        )


def _measured_activations(case: Case, device: torch.device) -> int:
    """Most bytes a CUDA device allocates in a forward and backward pass, beside the network.

    The gradients, which appear while activations go, count where they coincide with the peak.
    """
    network = case.network().to(device)
    inputs = [tensor.to(device) for tensor in case.inputs()]
    before = torch.cuda.memory_allocated(device)
    torch.cuda.reset_peak_memory_stats(device)
    with torch.autocast("cuda", torch.bfloat16):
        loss = network(*inputs).float().square().mean()
    loss.backward()
    return torch.cuda.max_memory_allocated(device) - before


def _attention_flop(query: Shape, key: Shape, value: Shape, *_: Any, **__: Any) -> int:
    """Logits and weighted values: 2 L^2 D each for every head, as if written out."""
    return 4 * math.prod(query) * key[-2]


def _attention_backward_flop(gradient: Shape, *shapes: Any, **_: Any) -> int:
    """Twice the forward pass; that the kernel computes the logits again is not counted."""
    return 2 * _attention_flop(*shapes)


FUSED_ATTENTION = {
    torch.ops.aten._scaled_dot_product_flash_attention_for_cpu: _attention_flop,
    torch.ops.aten._scaled_dot_product_flash_attention_for_cpu_backward: _attention_backward_flop,
}
"""Kernels that torch's counter does not know."""


@contextmanager
def saved_bytes(network: nn.Module) -> Iterator[dict[int, int]]:
    """Bytes of each storage that autograd saves for the backward pass, but for the weights."""
    weights = {parameter.untyped_storage()._cdata for parameter in network.parameters()}
    saved: dict[int, int] = {}

    def pack(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        if storage._cdata not in weights:
            saved[storage._cdata] = storage.nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        yield saved


def parameters(network: nn.Module) -> int:
    """Numbers that a network learns."""
    return sum(parameter.numel() for parameter in network.parameters())
