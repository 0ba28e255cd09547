"""LFDM's latent flow autoencoder (Ni et al., CVPR 2023, section 3.2.1): motion between two frames.

The encoder Phi gives features z of the reference, the flow predictor F a backward flow f and an
occlusion m, the decoder Omega the driving frame from m W(z, f) (equation 5). "Latents" are f and m.

Group normalisation stands for the batch normalisation of the public code: no result depends on how
a batch is shared out. With `skips`, as in the public code and not in the paper's text, features at
1/2 and 1/1 and the pixels themselves are warped too, and blended with what is decoded by m.
"""

from __future__ import annotations

from itertools import pairwise
from typing import Annotated, Literal

import torch
import torch.nn.functional as F
from pydantic import Field
from pydantic.dataclasses import dataclass
from torch import Tensor, nn

from shared.conventions import FrameSize
from shared.schema import CodecOptions
from train.models.autoencoder import Autoencoder
from train.models.flow_predictors import (
    FLOW_CELL,
    Block,
    DenseFlow,
    DenseFlowOptions,
    FlowPredictor,
    StoreVectors,
    StoreVectorsOptions,
    Width,
    pad_to_multiple,
)
from train.models.layers import doubled, sampling_order
from train.models.perceptual import PerceptualLoss, pyramid_loss
from train.models.regions import RegionPredictor, RegionsOptions
from train.models.warp import resize_field, warp
from train.options import STRICT

Weight = Annotated[float, Field(ge=0)]

PREDICTORS: dict[str, type[FlowPredictor]] = {
    "dense": DenseFlow,
    "regions": RegionPredictor,
    "store": StoreVectors,
}


@dataclass(frozen=True, config=STRICT)
class FlowAutoencoderOptions:
    """Options of `FlowAutoencoder`; with the defaults an addition of ours, 1.0M parameters."""

    kind: Literal["flow"] = "flow"
    predictor: Literal["dense", "regions", "store"] = "dense"
    """F: a U-Net on both frames, the regions of MRAA, as in LFDM's code, or the store's vectors
    into frame 0 with a U-Net for the occlusion, an addition of ours."""
    dense: DenseFlowOptions = DenseFlowOptions()
    store: StoreVectorsOptions = StoreVectorsOptions()
    regions: RegionsOptions = RegionsOptions()
    widths: tuple[Width, Width, Width] = (24, 48, 72)
    """Channels of Phi and Omega at 1/1, 1/2 and 1/4 of the frame's size; z has the last."""
    blocks: Annotated[int, Field(ge=0)] = 2
    """Residual blocks of Omega at 1/4."""
    skips: bool = True
    """Warp features at 1/2 and 1/1 and the pixels, too."""
    perceptual: str | None = None
    """File of torchvision's VGG19 weights, for the paper's perceptual loss; without it the loss is
    `pyramid_loss`, an addition of ours."""
    pixel_weight: Weight = 0.0
    """Weight of `pyramid_loss` next to the perceptual loss; the public code has none."""
    warped_weight: Weight = 0.5
    """Weight of the same loss of the warped pixels alone, so that Omega does not do F's work; an
    addition of ours."""
    drawn_weight: Weight = 0.0
    """Weight of the same loss of what Omega draws before the warped pixels are blended in, from
    which it learns also where these are good; an addition of ours."""
    smoothness: Weight = 0.002
    """Weight of the flow's total variation, pixels; an addition of ours."""
    vector_weight: Weight = 0.0
    """Weight of the distance to the store's own vectors, pixels, where they point into frame 0 and
    are not zero; an addition of ours."""
    vector_steps: Annotated[int, Field(ge=0)] = 250
    """Steps over which `vector_weight` falls to zero."""
    train: Literal["all", "decoder"] = "all"
    """What learns: `decoder` adapts Omega alone to another domain (the paper, Table 5)."""

    def __post_init__(self) -> None:
        if self.perceptual is None and self.pixel_weight:
            raise ValueError(
                "pixel_weight: without `perceptual` the loss is that of pixels already"
            )
        if self.drawn_weight and not self.skips:
            raise ValueError(
                "drawn_weight: without `skips` no warped pixels are blended in, and all that is"
                " drawn is in the loss already"
            )


class FlowAutoencoder(Autoencoder):
    """Flow and occlusion of frames (N, 3, H, W) in [-1, 1], given reference frames as context."""

    options_type = FlowAutoencoderOptions
    codes = "motion"
    context = ("first",)
    latent_channels = 3

    def __init__(self, options: FlowAutoencoderOptions, block: int, store: CodecOptions) -> None:
        super().__init__()
        self.block, self.options = FLOW_CELL, options
        self.predictor = PREDICTORS[options.predictor](getattr(options, options.predictor))
        self.encoder = Encoder(options.widths)
        self.decoder = Decoder(options.widths, options.blocks, skips=options.skips)
        self._perceptual: PerceptualLoss | None = None
        if options.train == "decoder":
            self.predictor.requires_grad_(False)
            self.encoder.requires_grad_(False)

    def features(self, reference: Tensor) -> Tensor:
        """z of the reference, shape (N, C, ceil(H/4), ceil(W/4))."""
        return self.encoder(pad_to_multiple(reference, FLOW_CELL))[-1]

    def encode(
        self, picture: Tensor, context: Tensor | None = None, vectors: Tensor | None = None
    ) -> Tensor:
        """Flow in pixels and occlusion in (0, 1) of the picture, (N, 3, ceil(H/4), ceil(W/4)).

        `vectors`: as in `pair_loss`, where the predictor takes them as they are.
        """
        assert context is not None
        pair = (pad_to_multiple(frame, FLOW_CELL) for frame in (context, picture))
        return torch.cat(self.predictor(*pair, vectors), dim=1)

    def decode(self, latent: Tensor, context: Tensor | None = None) -> Tensor:
        """Pictures from their latents and reference frames, float32, shape (N, 3, H, W).

        A reference may serve N / B consecutive pictures, `context` then has B rows: its features
        are computed once.
        """
        assert context is not None
        made, _ = self._decode(latent, context)
        return made

    def _decode(self, latent: Tensor, context: Tensor) -> tuple[Tensor, Tensor]:
        """See `decode`; and what Omega draws alone, of the same shape."""
        height, width = context.shape[-2:]
        padded = pad_to_multiple(context, FLOW_CELL)
        each = len(latent) // len(context)
        still, *features = (
            x.repeat_interleave(each, dim=0) for x in (padded, *self.encoder(padded))
        )
        flow, visible = latent[:, :2], latent[:, 2:].clamp(0, 1)
        made, drawn = self.decoder(still, features, flow, visible)
        return made[..., :height, :width], drawn[..., :height, :width]

    def example_pass(
        self, size: FrameSize, frames: int
    ) -> tuple[tuple[Tensor, ...], tuple[Tensor, ...], int]:
        """All later frames of a clip in one pass, which one first frame serves."""
        (picture, reference), (latent, _), later = super().example_pass(size, frames)
        pictures, references, latents = (
            x.expand(later, -1, -1, -1) for x in (picture, reference, latent)
        )
        return (pictures, references, latents[:, :2]), (latents, reference), 1

    def pair_loss(
        self,
        reference: Tensor,
        driving: Tensor,
        generators: list[torch.Generator],
        *,
        vectors: Tensor | None,
        step: int,
    ) -> dict[str, Tensor]:
        """Losses of pairs of frames by name, means over the pairs; `loss` is to be minimised.

        Args:
            reference: in [-1, 1], shape (N, 3, H, W).
            driving: likewise.
            generators: one a pair.
            vectors: the store's vectors from driving to reference in pixels, shape
                (N, 2, ceil(H/4), ceil(W/4)); None where it has none.
            step: optimiser step, from 0.
        """
        options = self.options
        latent = self.encode(driving, reference, vectors)
        flow = latent[:, :2]
        made, drawn = self._decode(latent, reference)
        parts = {"reconstruction": self._distance(made, driving)}
        if options.drawn_weight:
            parts["drawn"] = options.drawn_weight * self._distance(drawn, driving)
        if options.train == "all" and not self.predictor.given:
            height, width = driving.shape[-2:]
            whole = resize_field(flow, FLOW_CELL)[..., :height, :width]
            warped = warp(reference, whole)
            parts |= {
                "warped": options.warped_weight * self._distance(warped, driving),
                "smoothness": options.smoothness * total_variation(flow),
                "equivariance": self.predictor.equivariance_loss(driving, generators),
            }
            if vectors is not None and options.vector_weight:
                fading = max(0.0, 1 - step / max(1, options.vector_steps))
                moved = (vectors != 0).any(dim=1, keepdim=True)
                away = ((flow - vectors).abs() * moved).mean(dim=(1, 2, 3))
                parts["vectors"] = fading * options.vector_weight * away
        losses = {name: part.mean() for name, part in parts.items()}
        return {"loss": torch.stack(list(losses.values())).sum()} | {
            name: value.detach() for name, value in losses.items()
        }

    def _distance(self, made: Tensor, real: Tensor) -> Tensor:
        """Distance of pictures in [-1, 1], shape (N,)."""
        made, real = (picture.float() / 2 + 0.5 for picture in (made, real))
        if self.options.perceptual is None:
            return pyramid_loss(made, real)
        if self._perceptual is None:  # read in training alone: sampling needs no such file
            self._perceptual = PerceptualLoss(self.options.perceptual)
        return self._perceptual(made, real) + self.options.pixel_weight * pyramid_loss(made, real)


class Encoder(nn.Module):
    """Phi: features of a picture at 1/1, 1/2 and 1/4 of its size."""

    def __init__(self, widths: tuple[int, int, int]) -> None:
        super().__init__()
        self.input = nn.Conv2d(3, widths[0], 7, padding=3)
        self.down = nn.ModuleList(Scaled(before, width) for before, width in pairwise(widths))

    def forward(self, picture: Tensor) -> list[Tensor]:
        """Features (N, C, H, W), (N, C', H/2, W/2), (N, C'', H/4, W/4)."""
        found = [self.input(sampling_order(picture))]
        for level in self.down:
            found.append(F.avg_pool2d(level(found[-1]), 2))
        return found


class Decoder(nn.Module):
    """Omega: the driving frame from the reference's features, flow and occlusion."""

    def __init__(self, widths: tuple[int, int, int], blocks: int, *, skips: bool) -> None:
        super().__init__()
        self.skips = skips
        self.blocks = nn.Sequential(*(Block(widths[-1], widths[-1]) for _ in range(blocks)))
        self.up = nn.ModuleList(Scaled(width, before) for before, width in pairwise(widths))
        self.output = nn.Conv2d(widths[0], 3, 7, padding=3)

    def forward(
        self, reference: Tensor, features: list[Tensor], flow: Tensor, visible: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Picture in [-1, 1], and what is drawn of it before warped pixels are blended in; float32.

        Args:
            reference: shape (N, 3, H, W).
            features: of `Encoder`.
            flow: pixels, shape (N, 2, H/4, W/4).
            visible: 1 where the reference shows it, shape (N, 1, H/4, W/4).
        """
        warped = visible * warp(features[-1], flow / FLOW_CELL)  # equation 5
        x = self.blocks(sampling_order(warped))
        for level, factor in ((1, 2), (0, 4)):
            x = self.up[level](doubled(x))
            if self.skips:
                x = _blended(features[level], x, flow, visible, factor)
        drawn = 2 * torch.sigmoid(self.output(x).float()) - 1
        if not self.skips:
            return drawn, drawn
        return _blended(reference, drawn, flow, visible, FLOW_CELL), drawn


class Scaled(nn.Module):
    """Convolution, normalisation, SiLU, before or after a change of the picture's scale."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.body = nn.Sequential(
            nn.Conv2d(inputs, outputs, 3, padding=1), nn.GroupNorm(8, outputs), nn.SiLU()
        )

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, h, w) to (N, C', h, w)."""
        return self.body(x)


def _blended(still: Tensor, decoded: Tensor, flow: Tensor, visible: Tensor, factor: int) -> Tensor:
    """m W(still, f) + (1 - m) decoded, at `factor` times the flow's size."""
    mask = resize_field(visible, factor)
    moved = warp(still, resize_field(flow, factor) * (factor / FLOW_CELL))
    return torch.lerp(decoded, sampling_order(moved.to(decoded.dtype)), mask.to(decoded.dtype))


def total_variation(field: Tensor) -> Tensor:
    """Mean absolute difference of neighbouring cells, down and across, shape (N,)."""
    down, across = field.diff(dim=-2).abs(), field.diff(dim=-1).abs()
    return down.mean(dim=(1, 2, 3)) + across.mean(dim=(1, 2, 3))
