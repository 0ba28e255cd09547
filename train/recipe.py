"""A recipe: every choice of an experiment in one frozen value; one file each in `recipes/`."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import asdict, fields
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, TypeAdapter, ValidationError
from pydantic.dataclasses import dataclass

from shared.conventions import Compensation, FrameSize, Reference
from shared.errors import UserError
from shared.schema import CodecOptions, MethodName
from train.diffusion.noise import NoiseOptions
from train.diffusion.samplers import SamplerOptions
from train.models import AUTOENCODERS, DENOISERS
from train.models.flow_decoder import FlowDecoderOptions
from train.models.kl_autoencoder import KlAutoencoderOptions
from train.models.refiner import RefinerOptions
from train.models.text_encoder import TextOptions
from train.models.unet3d import UNet3DOptions
from train.options import STRICT, PartError, one_of, read_options, without_deleted_fields
from train.spaces import SPACES
from train.spaces.codec import CodecSpaceOptions
from train.trainer.schedule import TrainingOptions

KINDS: dict[str, Mapping[str, Any]] = {
    "space": SPACES,
    "autoencoder": AUTOENCODERS,
    "denoiser": DENOISERS,
}
"""Fields of a recipe whose `kind` names an entry of a table."""

Probability = Annotated[float, Field(ge=0, le=1)]


@dataclass(frozen=True, config=STRICT)
class VectorSearch:
    """Search of a store's vectors; names and defaults are those of `CodecOptions`."""

    search_range: Annotated[int, Field(ge=0)] = 16
    reference: Reference = "previous"
    motion_cost: Annotated[float, Field(ge=0)] = 0.3
    method: MethodName = "exhaustive"
    compensation: Compensation = "block"
    vector_unit: Literal[1, 2, 4] = 1


@dataclass(frozen=True, config=STRICT)
class ClipShape:
    """Clips that a recipe was designed for; `train cost` counts on clips of this shape."""

    size: Annotated[int | str, BeforeValidator(lambda size: FrameSize.parse(size).option)] = 128
    """Size of the frames as in `preprocess run --size`: 64 for squares, or `256x144`, pixels."""
    block: Annotated[int, Field(ge=1)] = 16
    """Block size of the store, pixels; matters to the space `codec` only."""
    frames: Annotated[int, Field(ge=2)] = 16
    vectors: VectorSearch | None = None
    """None: the recipe does not learn from the store's vectors, and takes any, of any block."""

    @classmethod
    def of(cls, store: CodecOptions) -> ClipShape:
        """Clips as they are in a store."""
        search = VectorSearch(
            **{each.name: getattr(store, each.name) for each in fields(VectorSearch)}
        )
        return cls(store.size.option, store.block, store.frames, search)

    @property
    def extraction(self) -> dict[str, Any]:
        """Options of the store that the recipe was designed for, by their names in the schema.

        Not the number of frames, which the data set decides.
        """
        vectors = {} if self.vectors is None else {"block": self.block, **asdict(self.vectors)}
        return {"size": self.frame_size, **vectors}

    @property
    def frame_size(self) -> FrameSize:
        """Height and width, pixels."""
        return FrameSize.parse(self.size)

    @property
    def extraction_flags(self) -> str:
        """The same as options of `preprocess run`, separated by blanks."""
        return " ".join(f"{_flag(name)} {_text(value)}" for name, value in self.extraction.items())


@dataclass(frozen=True, config=STRICT)
class Recipe:
    """Defaults are the paper's, where it says; the options of each field say more."""

    name: str
    designed_for: ClipShape = ClipShape()
    """A store may have others, as long as the denoiser's levels fit its grid. It only decides which
    store `make` makes and what a warning says: no part of what was trained."""
    space: one_of(SPACES) = CodecSpaceOptions()  # type: ignore[valid-type]
    autoencoder: one_of(AUTOENCODERS) | None = KlAutoencoderOptions()  # type: ignore[valid-type]
    """Autoencoder of residuals (codec) or of frames (latent); none for the other spaces."""
    autoencoder_training: TrainingOptions = TrainingOptions()
    denoiser: one_of(DENOISERS) = UNet3DOptions()  # type: ignore[valid-type]
    text: TextOptions = TextOptions()
    noise: NoiseOptions = NoiseOptions()
    label_dropout: Probability = 0.1
    """Probability of the null label in training."""
    condition_dropout: dict[str, Probability] = Field(default_factory=dict)
    """The same of further conditions of the space, by name."""
    diffusion_training: TrainingOptions = TrainingOptions()
    refiner: RefinerOptions | None = None
    """The refining network after the decoder; an addition of ours."""
    refiner_training: TrainingOptions = TrainingOptions()
    decoder: FlowDecoderOptions | None = None
    """A decoder of whole clips along the flow (MoVideo's); none decodes frame by frame."""
    decoder_training: TrainingOptions = TrainingOptions()
    sampler: SamplerOptions = SamplerOptions()
    guide: Recipe | None = None
    """A recipe whose samples are conditions of this one; trained first, in RUN/guide."""
    split: str | None = None
    """Split protocol of the store; none takes the store's first."""
    seed: Annotated[int, Field(ge=0)] = 0

    def __post_init__(self) -> None:
        space, kind = SPACES[self.space.kind], self.space.kind
        if space.needs_autoencoder != (self.autoencoder is not None):
            wanted = "needs an autoencoder" if self.autoencoder is None else "has no autoencoder"
            raise ValueError(f"the space {kind!r} {wanted}")
        coder = None if self.autoencoder is None else self.autoencoder.kind
        if coder and AUTOENCODERS[coder].codes not in space.coded:
            codes = AUTOENCODERS[coder].codes
            fitting = " or ".join(name for name, other in SPACES.items() if codes in other.coded)
            raise ValueError(f"autoencoder.kind={coder} codes {codes}: space.kind={fitting} only")
        if self.refiner is not None and not space.has_prediction:
            raise ValueError("a refiner follows motion compensation: space.kind=codec only")
        if self.decoder is not None and not space.takes_decoder:
            raise ValueError("a decoder along the flow: space.kind=guided only")
        if self.guide is not None:
            space.check_guide(self.space, self.guide.space)
        for name in ("steps", "next_steps"):
            if (getattr(self.sampler, name) or 0) > self.noise.steps:
                raise ValueError(
                    f"sampler.{name} {getattr(self.sampler, name)}: must be at most"
                    f" {self.noise.steps}, the number of noise steps (noise.steps)"
                )
        for name in ("dynamic_threshold", "clip"):
            if getattr(self.sampler, name) and not space.bounded:
                raise ValueError(
                    f"sampler.{name}: x_0 of the space {kind!r} has no bounds to keep it in;"
                    " leave it out"
                )

    @property
    def dropout(self) -> dict[str, float]:
        """Probability of the null value in training, by condition; guidance makes the same null."""
        return {"label": self.label_dropout, **self.condition_dropout}

    def to_dict(self) -> dict[str, Any]:
        """The recipe as JSON values; `recipe_from_dict` is the inverse."""
        content: dict[str, Any] = json.loads(json.dumps(asdict(self)))
        return content


def recipe_from_dict(content: dict[str, Any]) -> Recipe:
    """Read a recipe from what `Recipe.to_dict` gave; checks names, types and ranges.

    Raises:
        UserError: a field is unknown or has a wrong value.
    """
    try:
        return TypeAdapter(Recipe).validate_python(without_deleted_fields(content))
    except ValidationError as error:
        raise UserError(f"recipe {content.get('name')}: {_first_fault(error)}") from None


def option_defaults(field: str, kind: Any) -> dict[str, Any]:
    """Default fields of a recipe's part of some kind.

    An unknown kind gives no more than itself, for `recipe_from_dict` to refuse.
    """
    table = KINDS.get(field, {})
    return asdict(read_options(table, {"kind": kind})) if kind in table else {"kind": kind}


def _first_fault(error: ValidationError) -> str:
    fault = error.errors()[0]
    path = list(fault["loc"])
    inner = fault.get("ctx", {}).get("error")
    while isinstance(inner, PartError):
        fault = inner.fault.errors()[0]
        path += fault["loc"]
        inner = fault.get("ctx", {}).get("error")
    message = fault["msg"].removeprefix("Value error, ")
    if not path:  # two fields that do not go together
        return message
    return f"{'.'.join(map(str, path))}: {message} (got {fault['input']!r})"


_EXPECT: dict[str, Callable[[Any, Any], str]] = {
    "size": lambda has, wants: f"{has.pixels / wants.pixels:.2g} times the pixels in every step",
    "block": lambda has, wants: (
        "motion finer than a block is left to the residual, whose small code blurs it"
        if has > wants
        else f"{(wants / has) ** 2:.2g} times the blocks in every step"
    ),
    "search_range": lambda has, wants: (
        f"motion of more than {has} pixels is left to the residual"
        if has < wants
        else "longer vectors, which are harder to generate"
    ),
    "reference": lambda has, wants: {
        "previous": "a mistake in one generated frame is carried on into all later ones",
        "first": "what frame 0 does not show is left to the residual",
        "either": "a block whose generated reference is wrong is taken from another frame",
    }[has],
    "motion_cost": lambda has, wants: (
        "less regular vectors: small models generate them in wrong places, and pictures break up"
        if has < wants
        else "fewer vectors: the residual paints more of the change"
    ),
    "method": lambda has, wants: {
        "exhaustive": "vectors of each block alone: noise where the picture is flat",
        "h264": "vectors that another encoder chose",
        "variational": "smooth fields, which hard blocks show badly",
    }[has],
    "compensation": lambda has, wants: {
        "block": "blocks with edges, which cannot turn or stretch",
        "overlapped": "neighbouring vectors' predictions are blended",
        "interpolated": "neighbouring vectors tear the picture where they differ much",
    }[has],
    "vector_unit": lambda has, wants: (
        f"motion is rounded to {'1' if has == 1 else f'1/{has}'} pixel"
        if has < wants
        else "finer vectors: more values to generate for the same motion"
    ),
}
"""What to expect of a store with another option than the recipe's; docs/experiments, 3 and 7."""


def store_warning(recipe: Recipe, store: CodecOptions) -> str | None:
    """Say how a store differs from the one that a recipe was designed for, and what to expect.

    Args:
        recipe: to be trained.
        store: options of the store to train it on.

    Returns:
        A line for each difference, then the options of the other store; None without a difference.
    """
    lines = [
        f"  {_flag(name)} {_text(has)}, not {_text(wants)}: {_EXPECT[name](has, wants)}"
        for name, wants in recipe.designed_for.extraction.items()
        if (has := getattr(store, name)) != wants
    ]
    if not lines:
        return None
    flags = recipe.designed_for.extraction_flags
    return "\n".join([*lines, f"It was designed for: dvdm-preprocess run DATASET {flags}"])


def _flag(option: str) -> str:
    return f"--{option.replace('_', '-')}"


def _text(value: Any) -> str:
    if isinstance(value, FrameSize):
        return str(value.option)
    return f"{value:g}" if isinstance(value, float) else str(value)
