"""The codes to compare, by name: one line each, all of one latent size."""

from __future__ import annotations

from collections.abc import Callable

from shared.errors import UserError
from train.models.block_autoencoder import BlockAutoencoderOptions
from train.models.contextual import ContextualOptions
from train.models.kl_autoencoder import KlAutoencoderOptions
from train.models.linear_codes import DctOptions, KltOptions, ZeroOptions
from train.recipe import AutoencoderOptions

CODES: dict[str, Callable[[int], AutoencoderOptions]] = {
    "zero": lambda channels: ZeroOptions(latent_channels=channels),
    "dct": lambda channels: DctOptions(latent_channels=channels),
    "klt": lambda channels: KltOptions(latent_channels=channels),
    "block": lambda channels: BlockAutoencoderOptions(latent_channels=channels),
    "kl": lambda channels: KlAutoencoderOptions(latent_channels=channels),
    "contextual": lambda channels: ContextualOptions(latent_channels=channels),
}
"""Options by the kind they have in recipes, for a number of latent channels."""

DEFAULT = "zero,dct,klt,contextual"


def codes_named(names: str, latent_channels: int) -> dict[str, AutoencoderOptions]:
    """Options of the codes in a list with commas, in its order.

    Raises:
        UserError: one of them is unknown.
    """
    wanted = [name.strip() for name in names.split(",")]
    for name in wanted:
        if name not in CODES:
            raise UserError(f"unknown code {name!r}; known: {', '.join(CODES)}")
    return {name: CODES[name](latent_channels) for name in wanted}
