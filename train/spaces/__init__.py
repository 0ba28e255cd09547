"""Target spaces by name: a file each, and a line in each of the two tables here."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from shared.errors import UserError
from shared.schema import CodecOptions
from train.models.autoencoder import Autoencoder
from train.spaces.base import CompressedSpace, Decoded, Space, Statistics
from train.spaces.codec import CodecSpace, CodecSpaceOptions
from train.spaces.difference import DifferenceSpace, DifferenceSpaceOptions
from train.spaces.latent import LatentSpace, LatentSpaceOptions
from train.spaces.rgb import RgbSpace, RgbSpaceOptions

__all__ = [
    "BOUNDED",
    "COMPRESSED",
    "CompressedSpace",
    "Decoded",
    "Space",
    "SpaceOptions",
    "Statistics",
]

SpaceOptions = Annotated[
    RgbSpaceOptions | LatentSpaceOptions | DifferenceSpaceOptions | CodecSpaceOptions,
    Field(discriminator="kind"),
]

_PLAIN = {"rgb": RgbSpace, "difference": DifferenceSpace}
COMPRESSED = {"latent": LatentSpace, "codec": CodecSpace}
"""Spaces that need an autoencoder."""

_ALL: tuple[type[Space], ...] = (RgbSpace, DifferenceSpace, LatentSpace, CodecSpace)
BOUNDED = frozenset(space.kind for space in _ALL if space.bounded)
"""Spaces whose x_0 a sampler can keep in its range, see `Space.bounded`."""


def build_space(
    options: SpaceOptions,
    store: CodecOptions,
    autoencoder: Autoencoder | None = None,
    statistics: Statistics | None = None,
) -> Space:
    """The space that the options name, for clips of a store.

    Raises:
        UserError: it needs an autoencoder, and there is none.
    """
    if options.kind in _PLAIN:
        return _PLAIN[options.kind](store, options, statistics)
    if autoencoder is None:
        raise UserError(f"the space {options.kind!r} needs an autoencoder; the recipe has none")
    return COMPRESSED[options.kind](store, options, autoencoder, statistics)


def autoencoder_factor(options: SpaceOptions, store: CodecOptions) -> int:
    """Pixels that a latent of the space's autoencoder covers, in each direction."""
    return options.factor if options.kind == "latent" else store.block
