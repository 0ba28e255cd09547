"""The systems that are compared: recipes of one network size, that differ in the target space."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

from shared.schema import CodecOptions
from train.budget import TrainingOptions
from train.compare.options import CompareOptions
from train.models.block_autoencoder import BlockAutoencoderOptions
from train.models.refiner import RefinerOptions
from train.models.unet3d import UNet3DOptions
from train.noise import NoiseOptions
from train.recipe import ClipShape, Recipe
from train.samplers import SamplerOptions
from train.spaces.codec import CodecSpaceOptions
from train.spaces.difference import DifferenceSpaceOptions
from train.spaces.latent import LatentSpaceOptions
from train.spaces.rgb import RgbSpaceOptions

Reference = Literal["previous", "first", "either"]

SPLIT = "unseen-subject"

CODEC = "codec"
SPACES = {
    "rgb": "rgb (VDM)",
    "latent": "latent (LDM)",
    "difference": "difference (D-VDM)",
    CODEC: "codec (ED-VDM)",
}
"""Titles of the table of spaces, by the names of its systems."""

OURS = ("codec-first", "codec-filter")
"""Rows within the codec that also stand, as ours, below the table of spaces at equal FLOPs."""


@dataclass(frozen=True)
class StoreChoice:
    """An extraction of the same clips: what vectors point into, and what their length costs."""

    reference: Reference = "previous"
    motion_cost: float = 0.0
    search_range: int = 16

    @property
    def name(self) -> str:
        """Its folder among the comparison's stores."""
        return f"{self.reference}-cost{self.motion_cost:g}"

    def command(self, base: str, target: str) -> str:
        """What makes it from another store of the clips."""
        return (
            f"python -m preprocess reblock {base} --reference {self.reference} --motion-cost"
            f" {self.motion_cost:g} --search-range {self.search_range} --out {target}"
        )

    def fits(self, options: CodecOptions) -> bool:
        """Whether a store was made so, in whole pixels, by the exhaustive search."""
        return (
            options.reference == self.reference
            and options.motion_cost == self.motion_cost
            and options.search_range == self.search_range
            and (options.zero_bias, options.vector_unit) == (0, 1)
            and (options.method, options.cost_from) == ("exhaustive", "zero")
        )


PAPERS = StoreChoice()
"""The paper's: the frame before, no cost of vectors. All but the codec only take frames from it."""

_REGULAR = StoreChoice(motion_cost=5)
_FIRST = StoreChoice("first", 5, 24)
_EITHER = StoreChoice("either", 5, 24)


@dataclass(frozen=True)
class System:
    """One row: a title, a recipe and the store that it learns from.

    Attributes:
        name: for files.
        base: the system whose diffusion model is taken as it is, where only a network behind it is
            added.
    """

    name: str
    title: str
    recipe: Recipe
    store: StoreChoice = PAPERS
    base: str | None = None


def spaces(options: CompareOptions, clips: CodecOptions) -> list[System]:
    """The four spaces, without anything that not all of them can have."""
    recipes = _recipes(options, clips)
    return [System(name, title, recipes[name]) for name, title in SPACES.items()]


def codecs(options: CompareOptions, clips: CodecOptions) -> list[System]:
    """Within the codec: vector cost, reference, closed loop, and the refining network."""
    open_loop = _recipes(options, clips)["codec"]
    closed = replace(open_loop, space=CodecSpaceOptions(closed_loop=True))
    refiner = RefinerOptions(width=8 if options.tiny else 32)
    filtered = replace(open_loop, refiner=refiner)
    return [
        System("codec-cost0.3", "codec, cost 0.3", open_loop, StoreChoice(motion_cost=0.3)),
        System("codec-cost5", "codec, cost 5", open_loop, _REGULAR),
        System("codec-closed", "codec, cost 5, closed loop", closed, _REGULAR),
        System("codec-either", "codec, per block, cost 5", open_loop, _EITHER),
        System("codec-first", "codec, first frame, cost 5 (ours)", open_loop, _FIRST),
        System(
            "codec-filter",
            "codec, first frame, cost 5, filter (ours)",
            filtered,
            _FIRST,
            base="codec-first",
        ),
    ]


def _recipes(options: CompareOptions, clips: CodecOptions) -> dict[str, Recipe]:
    """By space: one objective, optimiser, batch and sampler, about as many parameters."""
    fast = TrainingOptions(
        optimiser="muon", learning_rate=1e-3, beta2=0.99, warmup=10, decay=True, ema=0.995,
        batch=options.batch, checkpoint_every=250, keep=1, preview=False,
    )  # fmt: skip
    autoencoder = BlockAutoencoderOptions(latent_channels=8, hidden=16 if options.tiny else 256)
    grid = Recipe(
        name="codec",
        designed_for=ClipShape(size=clips.size, block=clips.block, frames=clips.frames),
        space=CodecSpaceOptions(),
        autoencoder=autoencoder,
        autoencoder_training=replace(
            fast, optimiser="adamw", steps=options.autoencoder_steps, batch=16
        ),
        denoiser=_grid_network(options.tiny),
        noise=NoiseOptions(schedule="cosine", prediction="v"),
        diffusion_training=fast,
        refiner_training=replace(fast, steps=options.refiner_steps, ema=0.99),
        sampler=SamplerOptions(name="dpm++", steps=options.steps, guidance=1.0),
        split=SPLIT,
    )
    pixels = replace(
        grid,
        name="rgb",
        space=RgbSpaceOptions(),
        autoencoder=None,
        denoiser=_pixel_network(options.tiny),
        # Clip by clip: the same gradient, and a third faster on a CPU.
        diffusion_training=replace(fast, accumulate=options.batch, checkpoint_every=20),
    )
    return {
        "rgb": pixels,
        "latent": replace(grid, name="latent", space=LatentSpaceOptions(factor=clips.block)),
        "difference": replace(pixels, name="difference", space=DifferenceSpaceOptions()),
        "codec": grid,
    }


def _grid_network(tiny: bool) -> UNet3DOptions:
    """For grids of 8x8 cells and the like."""
    if tiny:
        return UNet3DOptions(dim=16, mults=(1, 2), blocks=1, heads=2, context=8, label_dim=8)
    return UNet3DOptions(dim=64, mults=(1, 2), blocks=1, heads=4, context=32, label_dim=64)


def _pixel_network(tiny: bool) -> UNet3DOptions:
    """For 64x64 pixels and the like: narrower where it is fine, with more levels."""
    if tiny:
        linear = UNet3DOptions(dim=8, mults=(1, 2, 2), blocks=1, heads=2, full_attention=0)
        return replace(linear, context=8, label_dim=8)
    return UNet3DOptions(dim=24, mults=(1, 2, 4, 4), blocks=1, heads=4, context=16, label_dim=64)
