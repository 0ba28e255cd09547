"""What a recipe costs: parameters, operations, memory, without computing anything.

Convention: forward and backward pass of one clip, two operations (FLOP) a multiply-accumulate, as
torch's FlopCounterMode counts them on tensors that have shapes and no contents. Of a clip of 16
frames 15 are diffused, the first is given. The autoencoder is not part of it: its latents are
cached; what it costs to encode and decode a clip stands beside.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import cache
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from shared.schema import CodecOptions
from train.models.autoencoder import Autoencoder
from train.models.unet3d import UNet3D, UNet3DOptions
from train.recipe import ClipShape, Recipe
from train.recipes import load_recipe
from train.spaces import build_space
from train.stages.autoencoder import build_autoencoder

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
class PaperCost:
    """A row of the paper's Table 4: to train on one clip of 16x128x128x3."""

    gflop: float
    gigabytes: float


PAPER = {
    "vdm_128": PaperCost(8814, 11.56),
    "d_vdm_128": PaperCost(8611, 11.49),
    "ed_vdm_128": PaperCost(78, 3.47),
}


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


@dataclass(frozen=True)
class AutoencoderCost:
    """Of the frames but the first of one clip through an autoencoder."""

    parameters: int
    encode_gflop: float
    decode_gflop: float


@dataclass(frozen=True)
class Cost:
    """What a recipe costs, and VDM on clips of the same shape."""

    recipe: str
    size: int
    target: tuple[int, int, int, int]
    denoiser: PassCost
    autoencoder: AutoencoderCost | None
    vdm_gflop: float

    @property
    def below_vdm(self) -> float:
        """How many times less than VDM's its operations are."""
        return self.vdm_gflop / self.denoiser.gflop


def recipe_cost(recipe: Recipe, device: torch.device) -> Cost:
    """Cost of a recipe on the clips it was designed for.

    Args:
        recipe: any.
        device: memory is measured on a CUDA device, counted for any other.

    Raises:
        UserError: the denoiser's levels do not fit the grid.
    """
    vdm = replace(load_recipe("vdm_128", []), designed_for=recipe.designed_for)
    case, _ = denoising_case(recipe)
    denoiser, autoencoder = counted_cost(recipe)
    if device.type == "cuda":
        measured = _measured_activations(case, device)
        denoiser = replace(denoiser, activation_bytes=measured, measured=True)
    return Cost(
        recipe.name,
        recipe.designed_for.size,
        case.target,
        denoiser,
        autoencoder,
        _counted(denoising_case(vdm)[0]).gflop,
    )


def counted_cost(recipe: Recipe) -> tuple[PassCost, AutoencoderCost | None]:
    """Of the denoiser and the autoencoder by counting alone, on any machine the same.

    Raises:
        UserError: the denoiser's levels do not fit the grid.
    """
    case, autoencoder = denoising_case(recipe)
    clips = recipe.designed_for
    return _counted(case), None if autoencoder is None else _autoencoder_cost(autoencoder, clips)


def denoising_case(recipe: Recipe) -> tuple[Case, Autoencoder | None]:
    """The recipe's denoiser and autoencoder on the clips it was designed for."""
    clips = recipe.designed_for
    shape = {"size": clips.size, "frames": clips.frames, "block": clips.block}
    store = CodecOptions.model_validate(shape)
    autoencoder = None
    if recipe.autoencoder is not None:
        with torch.device("meta"):
            autoencoder = build_autoencoder(recipe.autoencoder, recipe.space, store)
    space = build_space(recipe.space, store, autoencoder)
    texts = recipe.text.encoder is not None
    return Case(recipe.denoiser, space.shape, space.cell, texts), autoencoder


@cache
def _counted(case: Case) -> PassCost:
    """Everything by counting; under bfloat16 autocast, as on a GPU."""
    from torch._subclasses.fake_tensor import FakeTensorMode  # slow to import: seconds

    counter = FlopCounterMode(display=False, custom_mapping=FUSED_ATTENTION)
    shapes_only = FakeTensorMode()
    shapes_only.cache_enabled = False  # no operation comes often enough to be worth its key
    with shapes_only:
        network, inputs = case.network(), case.inputs()
        with counter:
            with torch.autocast("cpu", torch.bfloat16), _saved_bytes(network) as saved:
                loss = network(*inputs).float().square().mean()
            forward = counter.get_total_flops()
            loss.backward()
        first_frame = _parameters(network.first_frame)
        return PassCost(
            _parameters(network) - first_frame,
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


def _autoencoder_cost(autoencoder: Autoencoder, clips: ClipShape) -> AutoencoderCost:
    """On one picture, times the frames but the first."""
    block = autoencoder.block
    cells = -(-clips.size // block)
    picture = torch.zeros(1, 3, cells * block, cells * block, device="meta")
    latent = torch.zeros(1, autoencoder.latent_channels, cells, cells, device="meta")
    prediction = picture if autoencoder.conditioned else None

    def gflop(run: Callable[[], Tensor]) -> float:
        with torch.no_grad(), FlopCounterMode(display=False) as counter:
            run()
        return (clips.frames - 1) * counter.get_total_flops() / GIGA

    return AutoencoderCost(
        _parameters(autoencoder),
        gflop(lambda: autoencoder.encode(picture)),
        gflop(lambda: autoencoder.decode(latent, prediction)),
    )


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
def _saved_bytes(network: nn.Module) -> Iterator[dict[int, int]]:
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


def _parameters(network: nn.Module) -> int:
    return sum(parameter.numel() for parameter in network.parameters())
