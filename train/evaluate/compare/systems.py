"""The systems of a comparison: recipes with overrides, and the stores they are trained on.

A new system is one entry in the table of `systems`.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields, replace
from typing import Annotated, Any, Literal

from pydantic import Field, TypeAdapter, ValidationError
from pydantic.dataclasses import dataclass as options_dataclass

from shared.console import shell_command
from shared.conventions import Compensation, Reference
from shared.errors import UserError
from shared.schema import CodecOptions, MethodName
from train.models.flow_predictors import FLOW_CELL
from train.options import STRICT
from train.recipe import ClipShape
from train.recipes import load_recipe

Positive = Annotated[int, Field(ge=1)]


@options_dataclass(frozen=True, config=STRICT)
class CompareOptions:
    """Sizes, budgets and seeds of a comparison; the defaults are those of the table in README."""

    budget_tflop: Annotated[float, Field(gt=0)] = 20.0
    """Training operations of a run at equal FLOPs, 10^12."""
    count: Literal["denoiser", "all"] = "denoiser"
    """What the budget pays for: the denoiser's training alone, or every stage of a run.

    Of every stage, there is no table at equal steps, which are the denoiser's.
    """
    seeds: Positive = 3
    """Seeds 0, 1, ... of the tables of all spaces."""
    codec_seeds: Annotated[int, Field(ge=0)] = 1
    """Seeds of the table within the codec; 0 leaves that table out."""
    clips_a_label: Positive = 2
    """Test clips that each run starts from, for every label."""
    samples: Positive = 1
    """Clips generated from each of them."""
    steps: Positive = 10
    """Sampling steps: DPM-Solver++ without guidance, for every system."""
    batch: Positive = 4
    """Clips in a training step, for every system."""
    autoencoder_steps: Positive = 400
    """Training steps of an autoencoder, each on 16 clips."""
    refiner_steps: Positive = 300
    """Training steps of the refining network."""
    judge_steps: Positive = 600
    """Training steps of the gesture classifier; the subject encoder takes a third more."""
    split: str | None = None
    """Split protocol of the stores; none takes their first."""
    tiny: bool = False
    """Networks of a few thousand parameters: a test that everything works, and nothing else."""


def read_options(given: Mapping[str, Any]) -> CompareOptions:
    """Read options by name; the others keep their defaults.

    Raises:
        UserError: a value is wrong, or two do not go together.
    """
    try:
        options = TypeAdapter(CompareOptions).validate_python(dict(given))
    except ValidationError as error:
        fault = error.errors()[0]
        name = str(fault["loc"][0]).replace("_", "-")
        raise UserError(f"--{name} {fault['input']}: {fault['msg']}") from None
    if options.count == "all" and (steps := {"autoencoder_steps", "refiner_steps"} & given.keys()):
        raise UserError(
            f"--{min(steps).replace('_', '-')}: with --count all they follow from the budget; leave"
            " it out"
        )
    return options


@dataclass(frozen=True)
class Extraction:
    """Options of motion that a system needs its store to have."""

    reference: Reference = "previous"
    motion_cost: float = 0.0
    search_range: int = 16
    compensation: Compensation = "block"
    method: MethodName = "exhaustive"
    vector_unit: int = 1
    block: int | None = None
    """None: that of the comparison's other stores."""

    def matches(self, options: CodecOptions) -> bool:
        """Test whether a store was made so."""
        wanted = {field.name: getattr(self, field.name) for field in fields(self)}
        if self.block is None:
            del wanted["block"]
        # No longer offered, but they may have shaped an older store.
        neutral = {"zero_bias": 0, "cost_from": "zero"}
        same = all(getattr(options, name, value) == value for name, value in neutral.items())
        return same and all(getattr(options, name) == value for name, value in wanted.items())

    def command(self, store: str) -> str:
        """Command that makes such a store from another one, next to it."""
        folder = f"{store.rstrip('/').rpartition('/')[0] or '.'}"
        given = {field.name: getattr(self, field.name) for field in fields(self)}
        flags = [
            part
            for name, value in given.items()
            if value is not None
            for part in (
                f"--{name.replace('_', '-')}",
                value if isinstance(value, str) else f"{value:g}",
            )
        ]
        unusual = [n for n in ("compensation", "method") if given[n] != getattr(PAPER, n)]
        more = "".join(f"-{given[name]}" for name in unusual)
        made = f"{folder}/{self.reference}-cost{self.motion_cost:g}{more}"
        return shell_command("dvdm-preprocess", "reblock", store, *flags, "--out", made)


TableName = Literal["equal_flops", "equal_steps", "codec"]

PAPER = Extraction()
"""The paper's extraction: vectors into the frame before, at no cost."""


@dataclass(frozen=True)
class System:
    """One row of the tables.

    Attributes:
        title: of the row.
        recipe: name of a file in train/recipes.
        overrides: `path.to.field=value`, applied after those that all systems have in common.
        extraction: options its store must have; None: it takes frames alone, from any store.
        prefers: options of the store it takes among several, if one has them.
        starts_from: the system whose trained denoiser it takes over, to add a network behind it.
        shares: parts of a budget for all stages that `autoencoder` and `refiner` get of it; the
            denoiser gets the rest.
        tables: that it is a row of; "equal_steps" plans a second run a seed.
    """

    title: str
    recipe: str
    overrides: tuple[str, ...]
    extraction: Extraction | None = None
    prefers: Extraction | None = None
    starts_from: str | None = None
    shares: Mapping[str, float] = field(default_factory=dict)
    tables: tuple[TableName, ...] = ("equal_flops", "equal_steps")


# Options of the denoisers on grids and on pixels, and of both with --tiny.
_GRID = {"dim": 64, "mults": (1, 2), "heads": 4, "context": 32, "label_dim": 64}
_PIXELS = {"dim": 24, "mults": (1, 2, 4, 4), "heads": 4, "context": 16, "label_dim": 64}
_TINY = {"heads": 2, "context": 8, "label_dim": 8}
_TINY_GRID = {"dim": 16, "mults": (1, 2), **_TINY}
_TINY_PIXELS = {"dim": 8, "mults": (1, 2, 2), "full_attention": 0, **_TINY}

_TINY_FLOW = {"widths": (8, 8, 16), "dense": {"widths": (8, 8, 16)}, "vector_weight": 0.02}

_TINY_FILLED = {"widths": (8, 8, 16), "store": {"widths": (8, 8, 16)}}

_PLANES = {"dim": 48, "mults": (1, 2), "heads": 4, "attention_levels": 2, "label_dim": 64}
_TINY_PLANES = {
    "patch": 4, "latent_channels": 4, "width": 16, "depth": 1, "heads": 2, "head_dim": 4,
    "expansion": 1, "projection_depth": 1, "projection_heads": 2, "projection_head_dim": 4,
    "projection_hidden": 8, "lines": True,
}  # fmt: skip

# Little is gained by more for autoencoders of blocks and for networks behind a codec.
_BLOCKS = {"autoencoder": 1 / 19}
_HALF = {"autoencoder": 1 / 2}
_FILTERED_BLOCKS = {"autoencoder": 1 / 25, "refiner": 6 / 25}

_WITHIN: tuple[TableName, ...] = ("codec",)
_OURS: tuple[TableName, ...] = ("equal_flops", "codec")
_EVERYWHERE: tuple[TableName, ...] = ("equal_flops", "equal_steps", "codec")


def systems(options: CompareOptions, block: int) -> dict[str, System]:
    """Make the table of all systems, in the order of the rows.

    They have one objective, optimiser, batch and sampler, and about as many parameters.

    Args:
        options: of the comparison.
        block: block size of the stores, pixels.
    """
    tiny = options.tiny
    grid = (
        _part("denoiser", kind="unet3d", blocks=1, **(_TINY_GRID if tiny else _GRID)),
        _part("autoencoder", kind="block", latent_channels=8, hidden=16 if tiny else 256),
    )
    # Folded to the blocks' grid, and at the rate of its own recipe.
    fold = max(1, block // FLOW_CELL)
    folded = _part(
        "denoiser", kind="unet3d", blocks=1, fold=fold, **(_TINY_GRID if tiny else _GRID)
    )
    rate = "autoencoder_training.learning_rate=0.002"
    flow = (
        folded, *([_part("autoencoder", kind="flow", **_TINY_FLOW)] if tiny else []), rate
    )  # fmt: skip
    filled = (
        folded,
        *([_part("autoencoder", kind="flow", predictor="store", **_TINY_FILLED)] if tiny else []),
        rate,
    )
    wide = _PLANES | ({"dim": 16, "label_dim": 8} if tiny else {})
    planes = (
        _part("denoiser", kind="planes_unet", blocks=1, **wide),
        *([_part("autoencoder", kind="planes", **_TINY_PLANES)] if tiny else []),
    )
    of_grid = {"patch": block, **(_TINY_GRID if tiny else _GRID)}
    layout = 0 if tiny else 16
    movideo = (
        *grid,
        f"space.factor={block}",
        "decoder=null",
        _part("denoiser", kind="unet3d", blocks=1, **of_grid),
        _part("guide.denoiser", kind="unet3d", blocks=1, fold=fold, layout=layout, **of_grid),
    )
    pixels = (
        _part("denoiser", kind="unet3d", blocks=1, **(_TINY_PIXELS if tiny else _PIXELS)),
        # Clip by clip: the same gradient, and a third faster on a CPU.
        f"diffusion_training.accumulate={options.batch}",
        "diffusion_training.checkpoint_every=20",
    )

    def codec(
        title: str, extraction: Extraction, *own: str, tables: tuple[TableName, ...] = _WITHIN,
        starts_from: str | None = None,
    ) -> System:  # fmt: skip
        settings = (*grid, "space.kind=codec", *own)
        shares = _FILTERED_BLOCKS if starts_from else _BLOCKS
        return System(
            title, "ed_vdm_demo", settings, extraction, starts_from=starts_from, tables=tables,
            shares=shares,
        )  # fmt: skip

    regular, first = Extraction(motion_cost=5), Extraction("first", 5, 24)
    smooth, smoother = map(_designed_for, ("ed_vdm_vectors_demo", "ed_vdm_filled_demo"))
    refiner = _part("refiner", width=8 if tiny else 32)

    def vectors(title: str, *own: str, starts_from: str | None = None) -> System:
        return System(
            title, "ed_vdm_vectors_demo", (folded, *own), smooth, starts_from=starts_from,
            tables=_OURS, shares={"refiner": 1 / 4} if starts_from else {},
        )  # fmt: skip

    return {
        "rgb": System("rgb (VDM)", "vdm_demo", pixels),
        "latent": System(
            "latent (LDM)", "ldm_demo", (*grid, f"space.factor={block}"), shares=_BLOCKS
        ),
        "flow": System("flow (LFDM)", "lfdm_demo", flow, prefers=first, shares=_HALF),
        "planes": System("planes (PVDM)", "pvdm_demo", planes, shares={"autoencoder": 4 / 9}),
        "guided": System(
            "guided (MoVideo: two networks, estimated flow)", "movideo_demo", movideo,
            shares={"autoencoder": 1 / 16},
        ),
        "difference": System("difference (D-VDM)", "d_vdm_demo", pixels),
        "codec": codec("codec (ED-VDM)", PAPER, tables=_EVERYWHERE),
        "codec-cost0.3": codec("codec, cost 0.3", Extraction(motion_cost=0.3)),
        "codec-cost5": codec("codec, cost 5", regular),
        "codec-closed": codec("codec, cost 5, closed loop", regular, "space.closed_loop=true"),
        "codec-either": codec("codec, per block, cost 5", Extraction("either", 5, 24)),
        "codec-first": codec("codec, first frame, cost 5 (ours)", first, tables=_OURS),
        "codec-filter": codec(
            "codec, first frame, cost 5, filter (ours)", first, refiner, tables=_OURS,
            starts_from="codec-first",
        ),
        "vectors": vectors("smooth vectors alone (ours)"),
        "vectors-filter": vectors(
            "smooth vectors, filter (ours)", refiner, starts_from="vectors"
        ),
        "filled": System(
            "smooth vectors, occlusion, filled in (ours)", "ed_vdm_filled_demo", filled, smoother,
            tables=_OURS, shares=_HALF,
        ),
    }  # fmt: skip


def _designed_for(recipe: str) -> Extraction:
    """The extraction that a recipe states."""
    designed = load_recipe(recipe, []).designed_for
    assert designed.vectors is not None
    return Extraction(**vars(designed.vectors), block=designed.block)


def select(table: Mapping[str, System], names: Sequence[str]) -> dict[str, System]:
    """Choose systems by name, with those they start from; no names choose all.

    Raises:
        UserError: a name is unknown.
    """
    if unknown := [name for name in names if name not in table]:
        raise UserError(
            f"--systems {','.join(names)}: no system {unknown[0]!r}; there are: {', '.join(table)}"
        )
    wanted = {*names, *(table[name].starts_from for name in names)}
    return {name: system for name, system in table.items() if not names or name in wanted}


def overrides(
    system: System, options: CompareOptions, clips: CodecOptions, split: str
) -> tuple[str, ...]:
    """Changes of a system's runs to its recipe, apart from seed and steps."""
    training = {
        "steps": 1, "optimiser": "muon", "learning_rate": 1e-3, "beta2": 0.99, "warmup": 10,
        "decay": True, "ema": 0.995, "batch": options.batch, "accumulate": 1,
        "checkpoint_every": 250, "keep": 1, "preview": False,
    }  # fmt: skip
    autoencoder = {"optimiser": "adamw", "steps": options.autoencoder_steps, "batch": 16}
    refiner = {"steps": options.refiner_steps, "ema": 0.99}
    shape = ClipShape.of(clips)
    if system.extraction is None:  # learns from frames
        shape = replace(shape, vectors=None)
    common = [
        _part("designed_for", **asdict(shape)),
        _part("noise", schedule="cosine", prediction="v"),
        _part("sampler", name="dpm++", steps=options.steps, guidance=1.0),
        _part("autoencoder_training", **training | autoencoder),
        _part("diffusion_training", **training),
        _part("refiner_training", **training | refiner),
        "refiner=null",
        "text.encoder=null",
        "label_dropout=0.1",
        f"split={json.dumps(split)}",
    ]
    if load_recipe(system.recipe, []).guide is not None:
        common += [f"guide.{change}" for change in common]
    return (*common, *system.overrides)


def _part(path: str, **values: Any) -> str:
    """Override of all fields of a part; those that are not named get their defaults."""
    return f"{path}={json.dumps(values)}"
