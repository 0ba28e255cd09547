"""The costs of recipes as a table to read, in Markdown, and as data."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
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

# MERGED: What a pass of one clip through a denoiser costs: counted from shapes, or measured on a GPU.
#
# Two operations (FLOP) a multiply-accumulate, as torch's FlopCounterMode counts them on tensors that
# have shapes and no contents; memory as autograd saves tensors for the backward pass.


Shape = tuple[int, ...]

GIGA = 1e9
_LABELS, _TEXT_WIDTH = 24, 768
"""NATOPS' labels; the width of CLIP ViT-L/14's text encoder."""
_STATE_BYTES = 4 * 4
"""A parameter's, in float32: weight, gradient, and AdamW's two moments."""


@dataclass(frozen=True)
class DenoiserInput:
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


def cost_of_pass(case: DenoiserInput, device: torch.device) -> PassCost:
    """Of a case; activations measured on a CUDA device, counted for any other."""
    cost = counted(case)
    if device.type != "cuda":
        return cost
    return replace(cost, activation_bytes=_measured_activations(case, device), measured=True)


@cache
def counted(case: DenoiserInput) -> PassCost:
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


def _measured_activations(case: DenoiserInput, device: torch.device) -> int:
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


# MERGED: What a recipe costs: parameters, operations, memory, without computing anything.
#
# Convention: forward and backward pass of one clip, two operations (FLOP) a multiply-accumulate, as
# torch's FlopCounterMode counts them on tensors that have shapes and no contents. Of a clip of 16
# frames 15 are diffused, the first is given. The autoencoder is not part of it: its latents are
# cached; what it costs to encode and decode a clip stands beside.


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
    def times_fewer_than_vdm(self) -> float:
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
    case, denoiser, autoencoder = costed(recipe, device)
    return Cost(
        recipe.name,
        recipe.designed_for.size,
        case.target,
        denoiser,
        autoencoder,
        counted(denoising_case(vdm)[0]).gflop,
    )


def costed(
    recipe: Recipe, device: torch.device, store: CodecOptions | None = None
) -> tuple[DenoiserInput, PassCost, AutoencoderCost | None]:
    """The same of a recipe alone, without VDM beside it: in half the time.

    Args:
        recipe: any.
        device: as of `recipe_cost`.
        store: count on such clips, not on those that the recipe was designed for.

    Raises:
        UserError: the denoiser's levels do not fit the grid.
    """
    if store is not None:
        shape = ClipShape(store.size, store.block, store.frames)
        recipe = replace(recipe, designed_for=shape)
    case, autoencoder = denoising_case(recipe, store)
    coder = None if autoencoder is None else _autoencoder_cost(autoencoder, recipe.designed_for)
    return case, cost_of_pass(case, device), coder


def denoising_case(
    recipe: Recipe, store: CodecOptions | None = None
) -> tuple[DenoiserInput, Autoencoder | None]:
    """The recipe's denoiser and autoencoder on a store's clips, or those it was designed for."""
    clips = recipe.designed_for
    shape = {"size": clips.size, "frames": clips.frames, "block": clips.block}
    store = store or CodecOptions.model_validate(shape)
    autoencoder = None
    if recipe.autoencoder is not None:
        with torch.device("meta"):
            autoencoder = build_autoencoder(recipe.autoencoder, recipe.space, store)
    space = build_space(recipe.space, store, autoencoder)
    texts = recipe.text.encoder is not None
    return DenoiserInput(recipe.denoiser, space.shape, space.cell, texts), autoencoder


def _autoencoder_cost(autoencoder: Autoencoder, clips: ClipShape) -> AutoencoderCost:
    """On one picture, times the frames but the first."""
    block = autoencoder.block
    cells = -(-clips.size // block)
    picture = torch.zeros(1, 3, cells * block, cells * block, device="meta")
    latent = torch.zeros(1, autoencoder.latent_channels, cells, cells, device="meta")

    def context() -> Tensor | None:
        pictures = len(autoencoder.context)
        return picture.repeat(1, pictures, 1, 1) if pictures else None

    def gflop(run: Callable[[], Tensor]) -> float:
        with torch.no_grad(), FlopCounterMode(display=False) as counter:
            run()
        return (clips.frames - 1) * counter.get_total_flops() / GIGA

    return AutoencoderCost(
        parameters(autoencoder),
        gflop(lambda: autoencoder.encode(picture, context())),
        gflop(lambda: autoencoder.decode(latent, context())),
    )


_HEADINGS = (
    "recipe",
    "x0: C, T, h, w",
    "U-Net, M",
    "first frame, M",
    "GFLOP (paper)",
    "below VDM",
    "activations, GB",
    "training, GB (paper)",
    "autoencoder, M",
    "encode, decode GFLOP",
)

_CONVENTION = """\
GFLOP: forward and backward pass of one 16-frame clip, of which 15 are diffused; 2 FLOP a
multiply-accumulate, by torch's FlopCounterMode. Paper: its Table 4.
Activations: {activations}, under bfloat16 autocast.
Training: weights, gradients and AdamW's moments in float32, 16 bytes a parameter, and the
activations of one clip; the average of the weights takes 4 bytes a parameter more.
Autoencoder: all 15 pictures of a clip once; latents are cached, so no other column contains it."""
_COUNTED = "what autograd saves for the backward pass, counted and not measured"
_MEASURED = "the most a GPU's allocator held beside the network, measured"


def cost_table(costs: Sequence[Cost]) -> str:
    """A Markdown table, a row a recipe, and the convention under it."""
    rows = [_HEADINGS, *map(_row, costs)]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = [_line(row, widths) for row in rows]
    rule = [f"{'-' * (width - 1)}{':' if index else '-'}" for index, width in enumerate(widths)]
    measured = any(cost.denoiser.measured for cost in costs)
    convention = _CONVENTION.format(activations=_MEASURED if measured else _COUNTED)
    return "\n".join([lines[0], _line(rule, widths), *lines[1:], "", convention])


def cost_data(costs: Sequence[Cost]) -> list[dict[str, Any]]:
    """As JSON can hold it, the paper's figures beside."""
    rows = []
    for cost in costs:
        paper = PAPER.get(cost.recipe)
        rows.append(
            asdict(cost)
            | {
                "times_fewer_than_vdm": cost.times_fewer_than_vdm,
                "training_bytes": cost.denoiser.training_bytes,
            }
            | {"paper": paper and asdict(paper)}
        )
    return rows


def _row(cost: Cost) -> tuple[str, ...]:
    denoiser, coder, paper = cost.denoiser, cost.autoencoder, PAPER.get(cost.recipe)
    return (
        cost.recipe,
        ", ".join(map(str, cost.target)),
        f"{denoiser.unet_parameters / 1e6:.1f}",
        f"{denoiser.first_frame_parameters / 1e6:.2f}",
        f"{denoiser.gflop:,.1f}" + (f" ({paper.gflop:,})" if paper else ""),
        f"{cost.times_fewer_than_vdm:.1f}x",
        f"{denoiser.activation_bytes / GIGA:.2f}",
        f"{denoiser.training_bytes / GIGA:.2f}" + (f" ({paper.gigabytes})" if paper else ""),
        f"{coder.parameters / 1e6:.1f}" if coder else "",
        f"{_few(coder.encode_gflop)}, {_few(coder.decode_gflop)}" if coder else "",
    )


def _few(number: float) -> str:
    """With one decimal where that matters."""
    return f"{number:,.1f}" if number < 100 else f"{number:,.0f}"


def _line(cells: Sequence[str], widths: Sequence[int]) -> str:
    first, *rest = (
        cell.rjust(width) if index else cell.ljust(width)
        for index, (cell, width) in enumerate(zip(cells, widths, strict=True))
    )
    return "| " + " | ".join([first, *rest]) + " |"
