"""A recipe: every choice of an experiment in one frozen value; one file each in `recipes/`."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field, TypeAdapter, ValidationError
from pydantic.dataclasses import dataclass

from shared.errors import UserError
from train.loop import TrainingOptions
from train.models.block_autoencoder import BlockAutoencoderOptions
from train.models.refiner import RefinerOptions
from train.models.residual_vae import ResidualVaeOptions
from train.models.unet3d import UNet3DOptions
from train.noise import NoiseOptions
from train.options import STRICT
from train.samplers import SamplerOptions

AutoencoderOptions = Annotated[
    ResidualVaeOptions | BlockAutoencoderOptions, Field(discriminator="kind")
]


@dataclass(frozen=True, config=STRICT)
class Recipe:
    """Defaults are the paper's, where it says; each field's own options say more."""

    name: str
    space: Literal["codec"] = "codec"
    autoencoder: AutoencoderOptions = ResidualVaeOptions()
    autoencoder_training: TrainingOptions = TrainingOptions()
    denoiser: UNet3DOptions = UNet3DOptions()
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
        if self.sampler.steps > self.noise.steps:
            raise ValueError(
                f"sampler.steps is {self.sampler.steps}, noise.steps only {self.noise.steps}"
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


def autoencoder_options(content: dict[str, Any]) -> AutoencoderOptions:
    """Read the options of an autoencoder back from JSON."""
    return TypeAdapter(AutoencoderOptions).validate_python(content)


def _first_fault(error: ValidationError) -> str:
    fault = error.errors()[0]
    return f"{'.'.join(map(str, fault['loc']))}: {fault['msg']} (got {fault['input']!r})"
