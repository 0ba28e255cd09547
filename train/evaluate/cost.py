"""Cost of recipes: parameters, operations and memory, without computing anything.

Forward and backward pass of one clip, two operations (FLOP) a multiply-accumulate, as torch's
FlopCounterMode counts them on tensors that have shapes and no contents; memory as autograd saves
tensors for the backward pass, or as a GPU's allocator says. Of a clip of 16 frames 15 are diffused,
the first is given. The autoencoder is counted apart: its latents are cached.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from functools import cache
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from shared.console import Progress, console
from shared.conventions import grid_shape, motion_channels
from shared.report.pages import table
from shared.schema import CodecOptions
from train.data.batches import BatchSlice
from train.data.clips import ClipBatch, on_device
from train.models import build_autoencoder, build_denoiser
from train.models.autoencoder import Autoencoder
from train.models.denoiser import Denoiser, DenoiserInput
from train.models.flow_decoder import FlowDecoder
from train.models.layers import parameter_count
from train.models.refiner import Refiner
from train.recipe import ClipShape, Recipe
from train.recipes import load_recipe
from train.spaces import SPACES, build_space
from train.stages.refiner import WINDOW
from train.trainer.distributed import choose_device

GIGA = 1e9

DEFAULT_RECIPES = "vdm_128,ldm_128,lfdm_128,d_vdm_128,ed_vdm_128"
"""Systems of the paper's Table 4, at 128x128."""

_LABELS, _TEXT_WIDTH = 24, 768
"""Labels of NATOPS; width of CLIP ViT-L/14's text encoder."""

_STATE_BYTES = 4 * 4
"""Bytes of a parameter in training, float32: weight, gradient, and AdamW's two moments."""

Shape = tuple[int, ...]


@dataclass(frozen=True)
class PaperCost:
    """A row of the paper's Table 4: to train on one clip of 16x128x128x3, says its caption.

    LFDM's figure is that of its 40 frames: of 16 its public network would need 251 GFLOP.
    """

    gflop: float
    gigabytes: float


PAPER = {
    "vdm_128": PaperCost(8814, 11.56),
    "lfdm_128": PaperCost(627, 6.69),
    "d_vdm_128": PaperCost(8611, 11.49),
    "ed_vdm_128": PaperCost(78, 3.47),
}


@dataclass(frozen=True)
class DenoiserPass:
    """A denoiser, and the shapes of a pass through it.

    Attributes:
        options: of the denoiser.
        shapes: of x_0 and of the conditions.
        texts: labels are text embeddings, not indices.
        conditions_gflop: of making the conditions, in each training step and once a video.
    """

    options: Any
    shapes: DenoiserInput
    texts: bool
    conditions_gflop: float = 0.0

    def network(self) -> Denoiser:
        """Build the denoiser, untrained, on the default device."""
        texts = torch.zeros(_LABELS, _TEXT_WIDTH) if self.texts else None
        return build_denoiser(self.options, self.shapes, _LABELS, texts)

    def loss(self, network: Denoiser, device: torch.device | None = None) -> Tensor:
        """Run the forward pass of one clip of zeros, to a scalar."""
        noisy, t, conditions = self.shapes.zeros()
        given = {name: value.to(device) for name, value in conditions.items()}
        return network(noisy.to(device), t.to(device), given).float().square().mean()


@dataclass(frozen=True)
class PassCost:
    """Cost of one clip through a denoiser, and that of its guide, forward and backward.

    Attributes:
        parameters: of the denoiser.
        of_which: parameters of parts of it that are counted apart, by name.
        forward_gflop, gflop: of the forward pass, and of both.
        activation_bytes: held for the backward pass.
        measured: whether a GPU's allocator said so; otherwise the tensors that autograd saves were
            counted.
    """

    parameters: int
    of_which: dict[str, int]
    forward_gflop: float
    gflop: float
    activation_bytes: int
    measured: bool

    @property
    def training_bytes(self) -> int:
        """Bytes with weights, gradients and AdamW's moments in float32, without their average."""
        return _STATE_BYTES * self.parameters + self.activation_bytes

    def with_guide(self, guide: PassCost) -> PassCost:
        """Sum over a pass of each denoiser; of activations the most, as they train in turn."""
        return PassCost(
            self.parameters + guide.parameters,
            {**self.of_which, "guide": guide.parameters},
            self.forward_gflop + guide.forward_gflop,
            self.gflop + guide.gflop,
            max(self.activation_bytes, guide.activation_bytes),
            self.measured,
        )


@dataclass(frozen=True)
class AutoencoderCost:
    """Cost of a clip's frames through an autoencoder, and through a decoder along the flow."""

    parameters: int
    encode_gflop: float
    decode_gflop: float


@dataclass(frozen=True)
class Cost:
    """Cost of a recipe, and of VDM on clips of the same shape."""

    recipe: str
    size: int | str
    target: tuple[int, ...]
    denoiser: PassCost
    autoencoder: AutoencoderCost | None
    vdm_gflop: float

    @property
    def times_fewer_than_vdm(self) -> float:
        """Operations of VDM over those of the recipe."""
        return self.vdm_gflop / self.denoiser.gflop


def show_costs(names: str | None, overrides: list[str], as_json: bool, device: str) -> None:
    """Run the command `cost`: print a table, or JSON.

    Args:
        names: of recipes, with commas between them; None: the systems of the paper's Table 4.
        overrides: of all recipes, path.to.field=value.
        as_json: instead of a table.
        device: auto, cpu, cuda or cuda:N; memory is measured on CUDA, counted on CPUs.
    """
    recipes = [
        load_recipe(name.strip(), overrides) for name in (names or DEFAULT_RECIPES).split(",")
    ]
    where, costs = choose_device(device), []
    with Progress().bar("counting", len(recipes), "recipes") as bar:
        for recipe in recipes:
            costs.append(recipe_cost(recipe, where))
            bar()
    if as_json:
        console.print_json(json.dumps(cost_data(costs)))
    else:
        console.print(cost_table(costs), markup=False)


def recipe_cost(recipe: Recipe, device: torch.device) -> Cost:
    """Cost of a recipe on the clips it was designed for.

    Args:
        recipe: any.
        device: memory is measured on a CUDA device, counted for any other.

    Raises:
        UserError: the denoiser's levels do not fit the grid.
    """
    vdm = replace(load_recipe("vdm_128", []), designed_for=recipe.designed_for)
    given, denoiser, autoencoder = run_cost(recipe, device)
    vdm_gflop = count_pass(denoiser_pass(vdm)[0]).gflop
    size = recipe.designed_for.size
    return Cost(recipe.name, size, given.shapes.x0, denoiser, autoencoder, vdm_gflop)


def run_cost(
    recipe: Recipe, device: torch.device, store: CodecOptions | None = None
) -> tuple[DenoiserPass, PassCost, AutoencoderCost | None]:
    """Cost of a recipe with its guide, without VDM's next to it: in half the time.

    Args:
        recipe: any.
        device: see `recipe_cost`.
        store: count on such clips, not on those that the recipe was designed for.

    Raises:
        UserError: the denoiser's levels do not fit the grid.
    """
    if store is not None:
        recipe = replace(recipe, designed_for=ClipShape.of(store))
    given, autoencoder = denoiser_pass(recipe, store)
    cost = count_pass(given)
    if device.type == "cuda":
        cost = replace(cost, activation_bytes=_measure_activations(given, device), measured=True)
    if recipe.guide is not None:
        cost = cost.with_guide(run_cost(recipe.guide, device, store)[1])
    of_autoencoder = None if autoencoder is None else _autoencoder_cost(autoencoder, recipe)
    if of_autoencoder is not None and recipe.decoder is not None:
        parameters, forward = decoder_cost(recipe, given.shapes)
        of_autoencoder = replace(
            of_autoencoder,
            parameters=of_autoencoder.parameters + parameters,
            decode_gflop=of_autoencoder.decode_gflop + forward,
        )
    return given, cost, of_autoencoder


def denoiser_pass(
    recipe: Recipe, store: CodecOptions | None = None
) -> tuple[DenoiserPass, Autoencoder | None]:
    """Make the denoiser pass of a recipe, and its autoencoder without contents.

    Args:
        recipe: any.
        store: of the clips; None: those that the recipe was designed for.
    """
    store = store or stored_as(recipe.designed_for)
    autoencoder = None
    if recipe.autoencoder is not None:
        with torch.device("meta"):
            cell = SPACES[recipe.space.kind].latent_cell(recipe.space, store)
            autoencoder = build_autoencoder(recipe.autoencoder, cell, store)
    space = build_space(recipe.space, store, autoencoder)
    with FlopCounterMode(display=False) as counter:
        shapes = space.denoiser_input
    texts, conditions = recipe.text.encoder is not None, counter.get_total_flops() / GIGA
    return DenoiserPass(recipe.denoiser, shapes, texts, conditions), autoencoder


def stored_as(clips: ClipShape) -> CodecOptions:
    """Options of a store that a recipe was designed for, or that has clips of this shape."""
    shape = {"frames": clips.frames, "block": clips.block}
    return CodecOptions.model_validate(shape | clips.extraction)


@cache
def count_pass(given: DenoiserPass) -> PassCost:
    """Count a pass of one clip, forward and backward, under bfloat16 autocast as on a GPU."""
    from torch._subclasses.fake_tensor import FakeTensorMode  # slow to import: seconds

    counter = FlopCounterMode(display=False, custom_mapping=FUSED_ATTENTION)
    shapes_only = FakeTensorMode()
    shapes_only.cache_enabled = False  # no operation comes often enough to be worth its key
    with shapes_only:
        network = given.network()
        with counter:
            with torch.autocast("cpu", torch.bfloat16), saved_bytes(network) as saved:
                loss = given.loss(network)
            forward = counter.get_total_flops()
            loss.backward()
        return PassCost(
            parameter_count(network),
            network.parameter_groups(),
            forward / GIGA,
            counter.get_total_flops() / GIGA,
            sum(saved.values()),
            measured=False,
        )


def _measure_activations(given: DenoiserPass, device: torch.device) -> int:
    """Peak bytes that a CUDA device allocates in a pass, without the network's own.

    The gradients, which appear while activations go, count where they coincide with the peak.
    """
    network = given.network().to(device)
    before = torch.cuda.memory_allocated(device)
    torch.cuda.reset_peak_memory_stats(device)
    with torch.autocast("cuda", torch.bfloat16):
        loss = given.loss(network, device)
    loss.backward()
    return torch.cuda.max_memory_allocated(device) - before


def _attention_flop(query: Shape, key: Shape, value: Shape, *_: Any, **__: Any) -> int:
    """Logits and weighted values: 2 L² D each for every head, as if written out."""
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
    """Record the bytes of each storage that autograd saves, except the network's weights."""
    weights = {parameter.untyped_storage()._cdata for parameter in network.parameters()}
    saved: dict[int, int] = {}

    def pack(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        if storage._cdata not in weights:
            saved[storage._cdata] = storage.nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        yield saved


def _autoencoder_cost(autoencoder: Autoencoder, recipe: Recipe) -> AutoencoderCost:
    """Cost of the autoencoder's passes of one clip."""
    clips = recipe.designed_for
    with torch.device("meta"):
        encoded, decoded, passes = autoencoder.example_pass(clips.frame_size, clips.frames)

    def gflop(run: Callable[[], Tensor]) -> float:
        with torch.no_grad(), FlopCounterMode(display=False) as counter:
            run()
        return passes * counter.get_total_flops() / GIGA

    return AutoencoderCost(
        autoencoder.coding_parameters,
        gflop(lambda: autoencoder.encode(*encoded)),
        gflop(lambda: autoencoder.decode(*decoded)),
    )


def autoencoder_training_gflop(recipe: Recipe) -> float:
    """Forward and backward pass of the autoencoder's loss on one clip's examples, GFLOP.

    Counted on a batch of noise of the clips that the recipe was designed for, in which no block is
    left out as zero; 0 without an autoencoder. What is fitted in closed form before the first step
    is not included.
    """
    if recipe.autoencoder is None:
        return 0.0
    clips = recipe.autoencoder_training.batch
    _, loss = autoencoder_pass(recipe, clips, torch.device("cpu"))
    with FlopCounterMode(display=False, custom_mapping=FUSED_ATTENTION) as counter:
        loss().backward()
    return counter.get_total_flops() / GIGA / clips


def autoencoder_pass(
    recipe: Recipe, clips: int, device: torch.device
) -> tuple[Autoencoder, Callable[[], Tensor]]:
    """A recipe's untrained autoencoder, and its loss in a training step on clips of noise.

    Args:
        recipe: with an autoencoder.
        clips: in the batch.
        device: for the network and the clips.
    """
    store = stored_as(recipe.designed_for)
    cell = SPACES[recipe.space.kind].latent_cell(recipe.space, store)
    network = build_autoencoder(recipe.autoencoder, cell, store).to(device)
    space = build_space(recipe.space, store, network)
    part = BatchSlice(0, 0, clips, clips)
    generators = part.generators(recipe.seed, device)
    noise = ClipBatch(**on_device(vars(_noise(store, clips)), device))
    examples = space.examples(noise, generators)
    return network, lambda: space.loss(network, examples, part, generators)["loss"]


def _noise(store: CodecOptions, clips: int) -> ClipBatch:
    """Clips without motion whose residuals are noise."""
    later, generator = store.frames - 1, torch.Generator().manual_seed(0)
    residual = torch.randint(1, 100, (clips, later, 3, *store.size), generator=generator)
    motion = torch.zeros(clips, later, motion_channels(store.reference), *store.grid)
    return ClipBatch(
        torch.zeros(clips, 3, *store.size, dtype=torch.uint8),
        motion.to(torch.int8),
        residual.to(torch.int16),
        torch.zeros(clips, dtype=torch.long),
    )


def refiner_gflop(recipe: Recipe) -> tuple[float, float]:
    """Refining a clip, and a training pass on its window, forward and backward, GFLOP; else 0.

    The critic, where there is one, is not included.
    """
    if recipe.refiner is None:
        return 0.0, 0.0
    with torch.device("meta"):
        refiner, clip = Refiner(recipe.refiner), recipe.designed_for
        frames = torch.zeros(1, clip.frames - 1, 3, *clip.frame_size)
        with FlopCounterMode(display=False) as of_clip, torch.no_grad():
            refiner(frames, frames, frames[:, 0], frames[:, 0])
        window = frames[:, :WINDOW]
        with FlopCounterMode(display=False) as of_window:
            torch.stack(refiner(window, window, window[:, 0], window[:, 0])).sum().backward()
    return of_clip.get_total_flops() / GIGA, of_window.get_total_flops() / GIGA


def decoder_cost(recipe: Recipe, shapes: DenoiserInput) -> tuple[int, float]:
    """Parameters of the decoder along the flow, and GFLOP of decoding x_0 of a clip; else 0."""
    if recipe.decoder is None:
        return 0, 0.0
    size = stored_as(recipe.designed_for).size
    channels, frames, rows, columns = shapes.x0
    motion_cell = recipe.space.cell
    with torch.device("meta"), torch.no_grad(), FlopCounterMode(display=False) as counter:
        decoder = FlowDecoder(replace(recipe.decoder, adversarial_weight=0), channels, shapes.cell)
        latents = torch.zeros(1, frames, channels, rows, columns)
        pictures = torch.zeros(1, frames, 3, rows * shapes.cell, columns * shapes.cell)
        flows = torch.zeros(1, frames, 2, *grid_shape(*size, motion_cell))
        decoder(latents, pictures, flows, motion_cell, 0)
    return parameter_count(decoder), counter.get_total_flops() / GIGA


_HEADINGS = (
    "recipe",
    "x0: C, T, h, w",
    "denoiser, M",
    "of which, M",
    "GFLOP (paper)",
    "below VDM",
    "activations, GB",
    "training, GB (paper)",
    "autoencoder, M",
    "encode, decode GFLOP",
)

_CONVENTION = """\
GFLOP: forward and backward pass of one clip, 16 frames of which 15 are diffused, or as x0 says; 2
FLOP a multiply-accumulate, by torch's FlopCounterMode. Paper: its Table 4, whose figure for LFDM is
that of 40 frames: compare with --set designed_for.frames=16.
Activations: {activations}, under bfloat16 autocast.
Training: weights, gradients and AdamW's moments in float32, 16 bytes a parameter, and the
activations of one clip; the average of the weights takes 4 bytes a parameter more.
Autoencoder: all diffused pictures of a clip once; latents are cached, so no other column has it."""
_COUNTED = "what autograd saves for the backward pass, counted and not measured"
_MEASURED = "the most that a GPU's allocator held besides the network, measured"


_PVDM = """\
PVDM's Table 5, its authors' figures for 256x256 on a 24 GB RTX 3090 Ti: largest training batch 2
(L), 7 (S), 0 (VDM); seconds for 16 and 128 frames 20.4 and 166 (L, 200 steps a clip), 7.88 and 31.3
(S, 100 and 20 steps), 113 and more than the memory holds (VDM, 100 steps)."""


def cost_table(costs: Sequence[Cost]) -> str:
    """Format costs as a Markdown table, one row a recipe, with the convention under it."""
    measured = any(cost.denoiser.measured for cost in costs)
    convention = _CONVENTION.format(activations=_MEASURED if measured else _COUNTED)
    align = "l" + "r" * (len(_HEADINGS) - 1)
    rows = table(map(_row, costs), _HEADINGS, kind="markdown", align=align)
    further = f"\n{_PVDM}" if any(cost.recipe.startswith("pvdm") for cost in costs) else ""
    return f"{rows}\n\n{convention}{further}"


def cost_data(costs: Sequence[Cost]) -> list[dict[str, Any]]:
    """Format costs for JSON, with the paper's figures."""
    rows = []
    for cost in costs:
        paper = PAPER.get(cost.recipe)
        rows.append(
            asdict(cost)
            | {
                "times_fewer_than_vdm": cost.times_fewer_than_vdm,
                "training_bytes": cost.denoiser.training_bytes,
                "paper": paper and asdict(paper),
            }
        )
    return rows


def _row(cost: Cost) -> tuple[str, ...]:
    denoiser, autoencoder, paper = cost.denoiser, cost.autoencoder, PAPER.get(cost.recipe)

    def gflop(number: float) -> str:
        return f"{number:,.1f}" if number < 100 else f"{number:,.0f}"

    return (
        cost.recipe,
        ", ".join(map(str, cost.target)),
        f"{denoiser.parameters / 1e6:.1f}",
        ", ".join(
            f"{name.replace('_', ' ')} {count / 1e6:.2f}"
            for name, count in denoiser.of_which.items()
        ),
        f"{denoiser.gflop:,.1f}" + (f" ({paper.gflop:,})" if paper else ""),
        f"{cost.times_fewer_than_vdm:.1f}x",
        f"{denoiser.activation_bytes / GIGA:.2f}",
        f"{denoiser.training_bytes / GIGA:.2f}" + (f" ({paper.gigabytes})" if paper else ""),
        f"{autoencoder.parameters / 1e6:.1f}" if autoencoder else "",
        f"{gflop(autoencoder.encode_gflop)}, {gflop(autoencoder.decode_gflop)}"
        if autoencoder
        else "",
    )
