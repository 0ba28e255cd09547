"""The code that codes nothing: what vectors alone restore."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field
from pydantic.dataclasses import dataclass

from train.models.linear import LinearAutoencoder
from train.options import STRICT


@dataclass(frozen=True, config=STRICT)
class ZeroOptions:
    """Options of `ZeroAutoencoder`."""

    kind: Literal["zero"] = "zero"
    latent_channels: Annotated[int, Field(ge=1)] = 16
    """Zeros in a latent: of other codes' size, so that they differ in nothing else."""


class ZeroAutoencoder(LinearAutoencoder):
    """Every residual becomes zero."""

    def __init__(self, options: ZeroOptions, block: int) -> None:
        super().__init__(options.latent_channels, block)
