"""A recipe: every choice of an experiment in one frozen value; one file each in `recipes/`."""

from __future__ import annotations

from typing import Annotated, Any, get_type_hints

from pydantic import Field, TypeAdapter, ValidationError
from pydantic.dataclasses import dataclass

from shared.errors import UserError
from train.diffusion.noise import NoiseOptions
from train.diffusion.samplers import SamplerOptions
from train.models.block_autoencoder import BlockAutoencoderOptions
from train.models.contextual import ContextualOptions
from train.models.kl_autoencoder import KlAutoencoderOptions
from train.models.linear_codes import DctOptions, KltOptions, ZeroOptions
from train.models.refiner import RefinerOptions
from train.models.text_encoder import TextOptions
from train.models.unet3d import UNet3DOptions
from train.options import STRICT
from train.spaces import BOUNDED, COMPRESSED, SpaceOptions
from train.spaces.codec import CodecSpaceOptions
from train.trainer.loop import TrainingOptions

AutoencoderOptions = Annotated[
    KlAutoencoderOptions
    | BlockAutoencoderOptions
    | ContextualOptions
    | KltOptions
    | DctOptions
    | ZeroOptions,
    Field(discriminator="kind"),
]


@dataclass(frozen=True, config=STRICT)
class ClipShape:
    """What clips a recipe's choices were made for; `train cost` counts on such clips."""

    size: Annotated[int, Field(ge=1)] = 128
    """Height and width, pixels."""
    block: Annotated[int, Field(ge=1)] = 16
    """Of the store; matters to the space `codec` only."""
    frames: Annotated[int, Field(ge=2)] = 16


@dataclass(frozen=True, config=STRICT)
class Recipe:
    """Defaults are the paper's, where it says; each field's own options say more."""

    name: str
    designed_for: ClipShape = ClipShape()
    """A store may have others, as long as the denoiser's levels fit its grid."""
    space: SpaceOptions = CodecSpaceOptions()
    autoencoder: AutoencoderOptions | None = KlAutoencoderOptions()
    """Of residuals (codec) or of frames (latent); none for the other spaces."""
    autoencoder_training: TrainingOptions = TrainingOptions()
    denoiser: UNet3DOptions = UNet3DOptions()
    text: TextOptions = TextOptions()
    noise: NoiseOptions = NoiseOptions()
    label_dropout: Annotated[float, Field(ge=0, le=1)] = 0.1
    """Probability of the null condition in training."""
    diffusion_training: TrainingOptions = TrainingOptions()
    refiner: RefinerOptions | None = None
    """The refining network behind the decoder; an addition of ours."""
    refiner_training: TrainingOptions = TrainingOptions()
    sampler: SamplerOptions = SamplerOptions()
    split: str | None = None
    """Split protocol of the store; none takes the store's first."""
    seed: Annotated[int, Field(ge=0)] = 0

    def __post_init__(self) -> None:
        if (self.space.kind in COMPRESSED) != (self.autoencoder is not None):
            wanted = "needs an autoencoder" if self.autoencoder is None else "has no autoencoder"
            raise ValueError(f"the space {self.space.kind!r} {wanted}")
        sees_context = self.autoencoder is not None and self.autoencoder.kind == "contextual"
        if sees_context and self.space.kind != "codec":
            raise ValueError(
                "autoencoder.kind=contextual codes residuals given their prediction:"
                " space.kind=codec only"
            )
        if self.refiner is not None and self.space.kind != "codec":
            raise ValueError("a refiner stands behind motion and residual: space.kind=codec only")
        if self.sampler.steps > self.noise.steps:
            raise ValueError(
                f"sampler.steps {self.sampler.steps}: must be at most {self.noise.steps}, the"
                " number of noise steps (noise.steps)"
            )
        if self.sampler.dynamic_threshold is not None and self.space.kind not in BOUNDED:
            raise ValueError(
                f"sampler.dynamic_threshold: x_0 of the space {self.space.kind!r} has no bounds to"
                " keep it in; leave it out"
            )

    def to_dict(self) -> dict[str, Any]:
        """As JSON can hold it; `recipe_from_dict` is the inverse."""
        return TypeAdapter(Recipe).dump_python(self, mode="json")


def recipe_from_dict(content: dict[str, Any]) -> Recipe:
    """Read a recipe from what `Recipe.to_dict` gave; checks names, types and ranges.

    Raises:
        UserError: a field is unknown or has a wrong value.
    """
    try:
        return TypeAdapter(Recipe).validate_python(content)
    except ValidationError as error:
        raise UserError(f"recipe {content.get('name')}: {_first_fault(error)}") from None


def option_defaults(field: str, kind: Any) -> dict[str, Any]:
    """The fields of a recipe's part of some kind, as they are where nothing is said.

    An unknown kind gives no more than itself, for `recipe_from_dict` to refuse.
    """
    part = TypeAdapter(get_type_hints(Recipe, include_extras=True)[field])
    try:
        return part.dump_python(part.validate_python({"kind": kind}), mode="json")
    except ValidationError:
        return {"kind": kind}


def autoencoder_options(content: dict[str, Any]) -> AutoencoderOptions:
    """Read the options of an autoencoder back from JSON."""
    return TypeAdapter(AutoencoderOptions).validate_python(content)


def _first_fault(error: ValidationError) -> str:
    fault = error.errors()[0]
    return f"{'.'.join(map(str, fault['loc']))}: {fault['msg']} (got {fault['input']!r})"
