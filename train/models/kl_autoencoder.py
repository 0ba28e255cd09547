"""The paper's residual autoencoder: a KL autoencoder (Rombach et al. 2022) on residuals.

Downsampling equals the block size; L1 and a slight KL term, weight 1e-6 (the paper,
"Implementation Details"). The network is diffusers' AutoencoderKL.
"""

from __future__ import annotations

from typing import Any, Literal

import torch
from pydantic.dataclasses import dataclass
from torch import Tensor

from shared.schema import CodecOptions
from train.models.autoencoder import Autoencoder
from train.options import STRICT


@dataclass(frozen=True, config=STRICT)
class KlAutoencoderOptions:
    """Options of `KlAutoencoder`."""

    kind: Literal["kl"] = "kl"
    latent_channels: int = 16
    channels: tuple[int, ...] = (128, 128, 256, 256, 512)
    """Widths from fine to coarse; as many as are needed are taken from the coarse end."""
    layers_per_block: int = 2
    kl_weight: float = 1e-6


class KlAutoencoder(Autoencoder):
    """AutoencoderKL with as many levels as halvings in the block size, plus one."""

    options_type = KlAutoencoderOptions

    def __init__(self, options: KlAutoencoderOptions, block: int, store: CodecOptions) -> None:
        from diffusers import AutoencoderKL  # slow to import: seconds

        super().__init__()
        self.block, self.latent_channels = block, options.latent_channels
        self.kl_weight = options.kl_weight
        widths = _widths(options.channels, levels=block.bit_length())
        self.network = AutoencoderKL(
            in_channels=3,
            out_channels=3,
            down_block_types=("DownEncoderBlock2D",) * len(widths),
            up_block_types=("UpDecoderBlock2D",) * len(widths),
            block_out_channels=widths,
            layers_per_block=options.layers_per_block,
            latent_channels=options.latent_channels,
            norm_num_groups=min(32, *widths),
        )

    def encode(self, picture: Tensor, context: Tensor | None = None) -> Tensor:
        """Mean of the posterior."""
        return self.network.encode(picture).latent_dist.mode()

    def decode(self, latent: Tensor, context: Tensor | None = None) -> Tensor:
        """Pictures of latents."""
        return self.network.decode(latent).sample

    def compile(self, *args: Any, **options: Any) -> None:
        """Compile both halves: training calls them, not the whole."""
        self.network.encoder.compile(*args, **options)
        self.network.decoder.compile(*args, **options)

    def loss(
        self,
        picture: Tensor,
        context: Tensor | None = None,
        generators: list[torch.Generator] | None = None,
    ) -> dict[str, Tensor]:
        """L1 + kl_weight x KL, both as means over the picture's values."""
        posterior = self.network.encode(picture).latent_dist
        l1 = (self.decode(posterior.sample(generators)) - picture).abs().mean()
        kl = posterior.kl().sum() / picture.numel()
        return {"loss": l1 + self.kl_weight * kl, "l1": l1.detach(), "kl": kl.detach()}


def _widths(channels: tuple[int, ...], levels: int) -> tuple[int, ...]:
    if levels <= len(channels):
        return channels[-levels:]
    return (channels[0],) * (levels - len(channels)) + channels
