"""MoVideo's flow-augmented video decoder (Liang et al., ECCV 2024, section 3.4).

At each stage of the decoder the key frame's features are aligned to every frame along the flow, by
deformable convolution, and refine that frame's own (equations 14 to 17); temporal convolutions
follow spatial ones. Without flow it is the paper's 3D decoder, without temporal convolutions, too,
its 2D one.

Ours: the published decoder inflates a pretrained one, whose widths are not stated; here the stages
add a correction, zero at the start, to what the autoencoder of single frames decodes.

Shapes: B clips, T frames, N = B T, C channels, h x w cells of a stage.
"""

from __future__ import annotations

from itertools import pairwise
from typing import Annotated

import torch
import torch.nn.functional as F
from einops import rearrange
from pydantic import Field
from pydantic.dataclasses import dataclass
from torch import Tensor, nn

from train.models.critic import ClipCritic, adversarial_losses
from train.models.layers import doubled, full_precision, two_convolutions, zero_initialise
from train.models.perceptual import Lpips
from train.models.warp import pixel_grid, resize_field, warp
from train.options import STRICT

_TAPS = 9
_REACH_CELLS = 10.0
"""Most that an offset adds to the flow, as in BasicVSR++ (Chan et al. 2022), which is cited."""

Width = Annotated[int, Field(ge=8, multiple_of=8)]


@dataclass(frozen=True, config=STRICT)
class FlowDecoderOptions:
    """Options of `FlowDecoder`."""

    widths: Annotated[tuple[Width, ...], Field(min_length=1)] = (64, 32, 24)
    """Channels of each stage; every stage after the first has twice the grid of the one before, and
    the last one's cells are unfolded to pixels."""
    temporal: bool = True
    """Temporal convolutions; false: frames are decoded one by one but for the flow."""
    flow: bool = True
    """Align the key frame's features along the flow."""
    perceptual: str | None = None
    """File of torchvision's VGG16 weights, for LPIPS of every frame; none leaves that loss out."""
    perceptual_weight: Annotated[float, Field(ge=0)] = 1.0
    adversarial_weight: Annotated[float, Field(ge=0)] = 0.0
    """Weight of two critics, of frames and of clips; 0 trains without."""
    critic_width: Annotated[int, Field(ge=8, multiple_of=8)] = 32


class FlowDecoder(nn.Module):
    """Frames of latents, flows, and the frames that the autoencoder decodes one by one.

    Args:
        options: widths and parts.
        channels: numbers in a latent.
        cell: pixels that a latent covers, in each direction; 2 to the number of stages, or more.

    Raises:
        ValueError: it has more stages than the cell can be halved.
    """

    def __init__(self, options: FlowDecoderOptions, channels: int, cell: int) -> None:
        super().__init__()
        self.options, self.cell = options, cell
        widths = options.widths
        self.unfold = cell >> (len(widths) - 1)
        if not self.unfold:
            raise ValueError(
                f"decoder.widths has {len(widths)} stages; cells of {cell} pixels can be halved"
                f" {cell.bit_length() - 1} times: give at most {cell.bit_length()}"
            )
        self.input = nn.Conv2d(channels, widths[0], 3, padding=1)
        self.stages = nn.ModuleList(_Stage(width, options) for width in widths)
        self.grow = nn.ModuleList(nn.Conv2d(a, b, 3, padding=1) for a, b in pairwise(widths))
        self.output = zero_initialise(nn.Conv2d(widths[-1], 3 * self.unfold**2, 3, padding=1))
        judged = options.adversarial_weight > 0
        critics = [ClipCritic(axes, options.critic_width) for axes in (2, 3)] if judged else []
        self.critics = nn.ModuleList(critics)
        self._lpips: Lpips | None = None

    def forward(
        self, latents: Tensor, frames: Tensor, flows: Tensor, flow_cell: int, key: int
    ) -> Tensor:
        """Frames in [-1, 1], float, shape (B, T, 3, h cell, w cell).

        Args:
            latents: standardised, shape (B, T, K, h, w).
            frames: that the autoencoder decodes of them, in [-1, 1], of the result's shape.
            flows: into the key frame, pixels, shape (B, T, 2, ., .).
            flow_cell: pixels that a cell of `flows` covers, in each direction.
            key: index of the key frame.
        """
        count, time = latents.shape[:2]
        x = self.input(latents.flatten(0, 1))  # (N, C, h, w)
        for index, stage in enumerate(self.stages):
            if index:
                x = self.grow[index - 1](doubled(x))
            cell = self.cell >> index
            side = (x.shape[-2], x.shape[-1])
            field = flow_on_grid(flows.flatten(0, 1), flow_cell, cell, side)
            x = stage(x, field, time, key)
        change = F.pixel_shuffle(self.output(F.silu(x)), self.unfold)
        return frames + change.unflatten(0, (count, time))

    def loss(self, made: Tensor, truth: Tensor) -> dict[str, Tensor]:
        """Equation 18 by name, as far as its parts are at hand; `loss` is to be minimised.

        L1, LPIPS of every frame, critics of frames and of clips; without the paper's features of
        S3D.

        Args:
            made: as `forward` gives them.
            truth: the real frames, likewise.
        """
        options, parts = self.options, {"l1": (made - truth).abs().mean()}
        pictures = made.flatten(0, 1), truth.flatten(0, 1)
        if options.perceptual is not None:
            if self._lpips is None:  # read in training alone: sampling needs no such file
                self._lpips = Lpips(options.perceptual)
            parts["lpips"] = options.perceptual_weight * self._lpips(*pictures).mean()
        films = made.transpose(1, 2), truth.transpose(1, 2)  # (B, 3, T, H, W)
        for name, critic, pair in zip(("2d", "3d"), self.critics, (pictures, films), strict=False):
            for_critic, verdict, _ = adversarial_losses(critic, *pair)
            parts[f"critic_{name}"] = for_critic
            parts[f"verdict_{name}"] = options.adversarial_weight * verdict
        losses = {name: part.detach() for name, part in parts.items()}
        return {"loss": torch.stack(list(parts.values())).sum()} | losses


class _Stage(nn.Module):
    """Spatial convolutions, a temporal one, and alignment of the key frame's features."""

    def __init__(self, width: int, options: FlowDecoderOptions) -> None:
        super().__init__()
        self.space = two_convolutions(width, width)
        self.time = (
            zero_initialise(nn.Conv1d(width, width, 3, padding=1)) if options.temporal else None
        )
        self.align = _Alignment(width) if options.flow else None

    def forward(self, x: Tensor, flow: Tensor, time: int, key: int) -> Tensor:
        """Features (N, C, h, w); `flow` in cells, (N, 2, h, w)."""
        x = x + self.space(x)
        if self.time is not None:
            height, width = x.shape[-2:]
            films = rearrange(x, "(b t) c h w -> (b h w) c t", t=time)
            places = {"h": height, "w": width}
            x = x + rearrange(self.time(F.silu(films)), "(b h w) c t -> (b t) c h w", **places)
        return x if self.align is None else self.align(x, flow, time, key)


class _Alignment(nn.Module):
    """Equations 14 to 17: the key frame's features, aligned along the flow, refine each frame's."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.estimate = nn.Sequential(
            nn.Conv2d(2 + 2 * width, width, 3, padding=1),
            nn.LeakyReLU(0.1),
            nn.Conv2d(width, width, 3, padding=1),
            nn.LeakyReLU(0.1),
            zero_initialise(nn.Conv2d(width, 3 * _TAPS, 3, padding=1)),
        )
        self.deform = nn.Conv2d(_TAPS * width, width, 1)
        self.join = nn.Conv2d(2 * width, width, 1)
        self.refine = nn.Sequential(two_convolutions(width, width), nn.SiLU())
        self.last = zero_initialise(nn.Conv2d(width, width, 3, padding=1))

    def forward(self, x: Tensor, flow: Tensor, time: int, key: int) -> Tensor:
        """Refined features (N, C, h, w)."""
        keys = x.unflatten(0, (-1, time))[:, key].repeat_interleave(time, dim=0)
        seen = torch.cat([flow.to(x.dtype), warp(keys, flow).to(x.dtype), x], dim=1)
        offsets, masks = self.estimate(seen).split([2 * _TAPS, _TAPS], dim=1)
        samples = deformable_samples(keys, flow, _REACH_CELLS * offsets.tanh(), masks.sigmoid())
        aligned = self.deform(samples.to(x.dtype))
        joined = self.join(torch.cat([aligned, x], dim=1))
        return x + self.last(joined + self.refine(joined))


def deformable_samples(picture: Tensor, flow: Tensor, offsets: Tensor, masks: Tensor) -> Tensor:
    """Samples under the nine taps of a modulated deformable 3x3 convolution (Zhu et al. 2019).

    A 1x1 convolution of them is the deformable convolution. Tap k of raster order is a sample at
    p + p_k + flow + offset_k, p_k from (-1, -1) to (1, 1), times its mask.

    Args:
        picture: shape (N, C, h, w).
        flow: in cells, shape (N, 2, h, w).
        offsets: x and y of each tap, in cells, shape (N, 18, h, w).
        masks: shape (N, 9, h, w).

    Returns:
        Float32, shape (N, 9 C, h, w).
    """
    with full_precision(picture.device):
        taps, window = [], pixel_grid(3, 3, flow.device).flatten(1) - 1  # (2, 9)
        pairs = zip(offsets.float().split(2, dim=1), masks.float().split(1, dim=1), strict=True)
        for k, (offset, mask) in enumerate(pairs):
            place = flow + offset + window[:, k, None, None]  # (N, 2, h, w)
            taps.append(warp(picture, place) * mask)
        return torch.cat(taps, dim=1)


def flow_on_grid(flows: Tensor, cell: int, to: int, side: tuple[int, int]) -> Tensor:
    """Flows of cells of one size on a grid of another, in its cells.

    Args:
        flows: pixels, shape (N, 2, ., .).
        cell, to: pixels that a cell covers before and after, one a multiple of the other.
        side: cells down and across, after.

    Returns:
        Float32, shape (N, 2, *side); what the coarser grid's last cells lack repeats its edge.
    """
    field = flows.float()
    if to < cell:
        field = resize_field(field, cell // to)[..., : side[0], : side[1]]
    factor = max(1, to // cell)
    down, across = (want * factor - have for want, have in zip(side, field.shape[-2:], strict=True))
    field = F.pad(field, (0, across, 0, down), mode="replicate")
    return F.avg_pool2d(field, factor) / to
