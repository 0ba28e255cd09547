"""An autoencoder whose decoder sees the prediction, as learned video codecs have it. Ours.

The decoder of a codec knows the prediction anyway: where edges lie, which way a limb points. Here a
small network corrects what any plain autoencoder decodes, seeing both (residual coding in context;
compare Li et al. 2021, Deep Contextual Video Compression). It starts at zero: no correction.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from train.models.autoencoder import Autoencoder
from train.models.layers import zero_initialise


class ConditionedAutoencoder(Autoencoder):
    """decode(z, p) = d(z) + net(d(z), p) around a plain autoencoder's d.

    Args:
        plain: encodes, and decodes first.
        width: channels of the correcting network, which works at half the resolution.
    """

    def __init__(self, plain: Autoencoder, width: int = 32) -> None:
        super().__init__()
        self.plain = plain
        self.block, self.latent_channels = plain.block, plain.latent_channels
        self.context = plain.context or ("prediction",)
        self.rounds, self.start_clips = plain.rounds, plain.start_clips
        fold = 4
        self.correction = nn.Sequential(
            nn.Conv2d(6 * fold, width, 3, padding=1),
            *(_Residual(width, dilation) for dilation in (1, 2, 4)),
            nn.SiLU(),
            zero_initialise(nn.Conv2d(width, 3 * fold, 3, padding=1)),
        )

    def encode(self, picture: Tensor, context: Tensor | None = None) -> Tensor:
        """See `Autoencoder.encode`."""
        return self.plain.encode(picture, context)

    def decode(self, latent: Tensor, context: Tensor | None = None) -> Tensor:
        """See `Autoencoder.decode`."""
        assert context is not None, "a conditioned decoder needs the prediction"
        decoded, prediction = self.plain.decode(latent, context), context[:, :3]
        # Residuals / 255 are mostly below 0.1: brought to the order of the prediction.
        seen = torch.cat([8 * decoded, prediction], dim=1)
        folded = F.pixel_unshuffle(seen, 2).contiguous(memory_format=torch.channels_last)
        return decoded + F.pixel_shuffle(self.correction(folded), 2) / 8

    def loss(
        self,
        picture: Tensor,
        context: Tensor | None = None,
        generators: list[torch.Generator] | None = None,
    ) -> dict[str, Tensor]:
        """The plain autoencoder's, and the corrected residual's: absolute and weighted squared."""
        losses = self.plain.loss(picture, context, generators)
        error = self.decode(self.encode(picture, context), context) - picture
        corrected = error.abs().mean() + 4 * error.square().mean()
        return {**losses, "loss": losses["loss"] + corrected, "corrected": corrected.detach()}

    def start_from(self, picture: Tensor, context: Tensor | None = None) -> None:
        """See `Autoencoder.start_from`."""
        self.plain.start_from(picture, context)


class _Residual(nn.Module):
    def __init__(self, width: int, dilation: int) -> None:
        super().__init__()
        self.body = nn.Sequential(
            nn.SiLU(),
            nn.Conv2d(width, width, 3, padding=dilation, dilation=dilation),
            nn.SiLU(),
            nn.Conv2d(width, width, 3, padding=1),
        )

    def forward(self, x: Tensor) -> Tensor:
        return x + self.body(x)
