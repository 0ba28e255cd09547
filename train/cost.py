"""What a recipe costs: parameters, operations, memory, without computing anything.

Convention: forward and backward pass of one clip, two operations (FLOP) a multiply-accumulate, as
torch's FlopCounterMode counts them on tensors that have shapes and no contents. Of a clip of 16
frames 15 are diffused, the first is given. The autoencoder is not part of it: its latents are
cached; what it costs to encode and decode a clip stands beside.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

from shared.schema import CodecOptions
from train.models.autoencoder import Autoencoder
from train.passes import GIGA, Case, PassCost, cost_of_pass, counted, parameters
from train.recipe import ClipShape, Recipe
from train.recipes import load_recipe
from train.spaces import build_space
from train.stages.autoencoder import build_autoencoder


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
) -> tuple[Case, PassCost, AutoencoderCost | None]:
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
) -> tuple[Case, Autoencoder | None]:
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
    return Case(recipe.denoiser, space.shape, space.cell, texts), autoencoder


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
