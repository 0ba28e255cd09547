"""Networks by kind: a new one is a file and a line in a table here."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from shared.schema import CodecOptions
from train.models.autoencoder import Autoencoder
from train.models.block_autoencoder import BlockAutoencoder
from train.models.contextual import ContextualAutoencoder
from train.models.denoiser import Denoiser, DenoiserInput
from train.models.flow_autoencoder import FlowAutoencoder
from train.models.kl_autoencoder import KlAutoencoder
from train.models.linear_codes import DctAutoencoder, KltAutoencoder, ZeroAutoencoder
from train.models.planes_autoencoder import PlanesAutoencoder
from train.models.planes_unet import PlanesUNet
from train.models.unet3d import UNet3D

DENOISERS: dict[str, type[Denoiser]] = {"unet3d": UNet3D, "planes_unet": PlanesUNet}

AUTOENCODERS: dict[str, type[Autoencoder]] = {
    "kl": KlAutoencoder,
    "block": BlockAutoencoder,
    "contextual": ContextualAutoencoder,
    "flow": FlowAutoencoder,
    "planes": PlanesAutoencoder,
    "klt": KltAutoencoder,
    "dct": DctAutoencoder,
    "zero": ZeroAutoencoder,
}


def build_denoiser(
    options: Any, shapes: DenoiserInput, labels: int, texts: Tensor | None = None
) -> Denoiser:
    """An untrained denoiser.

    Args:
        options: of a kind in `DENOISERS`.
        shapes: of the target and the conditions, as the space states them.
        labels: number of label texts.
        texts: their embeddings by a text encoder, shape (labels, D); without them an embedding of
            each label is learned.

    Raises:
        UserError: the network does not fit the target's grid.
    """
    return DENOISERS[options.kind](options, shapes, labels, texts)


def build_autoencoder(options: Any, cell: int, store: CodecOptions) -> Autoencoder:
    """An untrained autoencoder.

    Args:
        options: of a kind in `AUTOENCODERS`.
        cell: pixels that a latent covers, in each direction.
        store: options of the store whose clips it sees.
    """
    return AUTOENCODERS[options.kind](options, cell, store)
