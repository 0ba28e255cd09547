"""ED-VDM's target space: motion vectors and residual latents on the block grid (equation 8).

x_0 has 2 + K channels: vectors divided by the search range, then K latents of the residual
autoencoder; each channel standardised by the mean and deviation of the training split.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from einops import rearrange
from torch import Tensor

from shared.schema import CodecOptions
from train.compensate import decode_clips, predict_from_first
from train.data import ClipBatch
from train.models.autoencoder import ResidualAutoencoder, pad_to_blocks
from train.spaces import Decoded


@dataclass(frozen=True)
class Statistics:
    """Mean and standard deviation of each channel of x_0 over the training split."""

    mean: tuple[float, ...]
    std: tuple[float, ...]

    @classmethod
    def of(cls, raw: Tensor) -> Statistics:
        """Of unscaled x_0, shape (N, C, T-1, h, w); a constant channel gets deviation 1."""
        std, mean = torch.std_mean(raw.double(), dim=(0, 2, 3, 4), correction=0)
        std = torch.where(std > 1e-6, std, torch.ones_like(std))
        return cls(tuple(mean.tolist()), tuple(std.tolist()))


class CodecSpace:
    """See the module's text; implements `train.spaces.Space`.

    Args:
        options: the store's.
        autoencoder: for residuals, trained; its block is the store's.
        statistics: of the training split.
    """

    def __init__(
        self,
        options: CodecOptions,
        autoencoder: ResidualAutoencoder,
        statistics: Statistics,
    ) -> None:
        self.options, self.autoencoder, self.statistics = options, autoencoder, statistics
        self.channels = 2 + autoencoder.latent_channels
        self.shape = (self.channels, options.frames - 1, *options.grid)

    def encode(self, batch: ClipBatch) -> Tensor:
        """See `Space.encode`."""
        return self.standardise(self.assemble(batch.motion, self._latents(batch.residual)))

    def assemble(self, motion: Tensor, latents: Tensor) -> Tensor:
        """Unscaled x_0 from vectors (B, T-1, 2, h, w) and latents (B, T-1, K, h, w)."""
        scaled = motion.float() / max(1, self.options.search_range)
        return rearrange(torch.cat([scaled, latents.float()], dim=2), "b t c h w -> b c t h w")

    def standardise(self, raw: Tensor) -> Tensor:
        """Scale x_0 by the statistics; inverse of `raw`."""
        mean, std = self._statistics(raw.device)
        return (raw - mean) / std

    def raw(self, x0: Tensor) -> Tensor:
        """Undo `standardise`."""
        mean, std = self._statistics(x0.device)
        return x0 * std + mean

    @torch.no_grad()
    def decode(self, x0: Tensor, first_frame: Tensor) -> Decoded:
        """See `Space.decode`; parts: `motion` int8, `residual` int16 and, where every frame is
        predicted from the first, `prediction` uint8."""
        motion, residual = self.motion_and_residual(x0)
        block, reference = self.options.block, self.options.reference
        frames = decode_clips(first_frame, motion, residual, block=block, reference=reference)
        parts = {"motion": motion, "residual": residual}
        if reference == "first":
            parts["prediction"] = predict_from_first(first_frame, motion, block=block)
        return Decoded(frames, parts)

    def motion_and_residual(self, x0: Tensor) -> tuple[Tensor, Tensor]:
        """Whole-pixel vectors int8 (B, T-1, 2, h, w) and residuals int16 (B, T-1, 3, H, W)."""
        raw = rearrange(self.raw(x0.float()), "b c t h w -> b t c h w")
        limit = self.options.search_range
        motion = (raw[:, :, :2] * max(1, limit)).round().clamp(-limit, limit).to(torch.int8)
        size = self.options.size
        grey = self.autoencoder.decode(raw[:, :, 2:].flatten(0, 1))[..., :size, :size] * 255
        residual = grey.round().clamp(-255, 255).to(torch.int16)
        return motion, residual.unflatten(0, motion.shape[:2])

    @torch.no_grad()
    def _latents(self, residual: Tensor) -> Tensor:
        flat = pad_to_blocks(residual.flatten(0, 1).float() / 255, self.options.block)
        return self.autoencoder.encode(flat).unflatten(0, residual.shape[:2])

    def _statistics(self, device: torch.device) -> tuple[Tensor, Tensor]:
        mean, std = (
            torch.tensor(values, device=device).view(-1, 1, 1, 1)
            for values in (self.statistics.mean, self.statistics.std)
        )
        return mean, std
