"""Target spaces by kind: a new system is a file and a line in `SPACES`."""

from __future__ import annotations

from typing import Any

from shared.errors import UserError
from shared.schema import CodecOptions
from train.models.autoencoder import Autoencoder
from train.spaces.base import CompressedSpace, Decoded, Space, Statistics
from train.spaces.codec import CodecSpace
from train.spaces.difference import DifferenceSpace
from train.spaces.flow import FlowSpace
from train.spaces.guided import GuidedSpace
from train.spaces.latent import LatentSpace
from train.spaces.motion import MotionSpace
from train.spaces.planes import PlanesSpace
from train.spaces.rgb import RgbSpace
from train.spaces.vectors import VectorSpace

__all__ = ["SPACES", "CompressedSpace", "Decoded", "Space", "Statistics", "build_space"]

SPACES: dict[str, type[Space]] = {
    "rgb": RgbSpace,
    "latent": LatentSpace,
    "difference": DifferenceSpace,
    "codec": CodecSpace,
    "flow": FlowSpace,
    "vectors": VectorSpace,
    "planes": PlanesSpace,
    "motion": MotionSpace,
    "guided": GuidedSpace,
}


def build_space(
    options: Any,
    store: CodecOptions,
    autoencoder: Autoencoder | None = None,
    statistics: Statistics | None = None,
) -> Space:
    """The space that the options name, for clips of a store.

    Raises:
        UserError: it needs an autoencoder, and there is none.
    """
    space: Any = SPACES[options.kind]
    if space.needs_autoencoder and autoencoder is None:
        raise UserError(f"the space {options.kind!r} needs an autoencoder; the recipe has none")
    return space(store, options, autoencoder, statistics)
