"""PVDM's denoiser: one 2D U-Net for three planes (Yu et al., CVPR 2023, section 3.2).

Its blocks are those of the image diffusion U-Net of Dhariwal and Nichol (2021): residual blocks
that the time embedding scales and shifts, attention within a plane on coarse grids, residual
blocks that halve or double the grid. All planes go through the same weights; after every block all
positions of the three attend to each other.

Shapes: B clips, C channels, planes (B, C, a, b) of three shapes.
"""

from __future__ import annotations

import math
from typing import Annotated, Literal

import torch
import torch.nn.functional as F
from pydantic import Field
from pydantic.dataclasses import dataclass
from torch import Tensor, nn

from shared.errors import UserError
from train.models.attention import Attention
from train.models.conditions import LabelMap
from train.models.denoiser import Conditions, Denoiser, DenoiserInput
from train.models.layers import doubled, zero_initialise
from train.models.planes_autoencoder import join_planes, split_planes
from train.models.text_encoder import LabelEmbedding
from train.options import STRICT

Positive = Annotated[int, Field(ge=1)]

Planes = list[Tensor]


@dataclass(frozen=True, config=STRICT)
class PlanesUNetOptions:
    """Options of `PlanesUNet`; the defaults are those of the public code, PVDM-L.

    PVDM-S was not published; ours has `dim` 128.
    """

    kind: Literal["planes_unet"] = "planes_unet"
    dim: Annotated[int, Field(ge=8, multiple_of=8)] = 256
    """Channels at the finest level."""
    mults: Annotated[tuple[Positive, ...], Field(min_length=1)] = (1, 2, 4, 4)
    """Channels of each level, as multiples of `dim`; each level halves all planes."""
    blocks: Positive = 2
    """Residual blocks a level on the way down; one more on the way up."""
    heads: Positive = 8
    attention_levels: Annotated[int, Field(ge=0)] = 3
    """Levels with attention within a plane, the finest first."""
    label_dim: Annotated[int, Field(ge=0)] = 0
    """Numbers in a label's embedding, which is added to that of the time; 0, as published: labels
    are no condition."""
    layout: Annotated[int, Field(ge=0)] = 0
    """Channels of a learned map of the label over the planes, see `LabelMap`; 0: none. An addition
    of ours."""

    def __post_init__(self) -> None:
        if self.layout and not self.label_dim:
            raise ValueError("layout is a map of the label: give label_dim too")


class PlanesUNet(Denoiser):
    """Predict v or epsilon of planes from their noisy form, the time, the clip before, the label.

    Args:
        options: widths and depths.
        shapes: target (C, L), planes that are joined (`parts`); condition `before`, (C', L).
        labels: number of label texts; index `labels` is the null condition.
        texts: embeddings of the label texts by a text encoder, shape (labels, D); without them an
            embedding of each label is learned.

    Raises:
        UserError: a plane cannot be halved as often as there are levels.
    """

    options_type = PlanesUNetOptions

    def __init__(
        self,
        options: PlanesUNetOptions,
        shapes: DenoiserInput,
        labels: int,
        texts: Tensor | None = None,
    ) -> None:
        super().__init__()
        _check_planes(options, shapes.parts)
        self.options, self.planes, self.null_label = options, shapes.parts, labels
        channels, length = shapes.x0
        before = dict(shapes.conditions)["before"][0]
        embedding = 4 * options.dim
        self.time = nn.Sequential(
            nn.Linear(options.dim, embedding), nn.SiLU(), nn.Linear(embedding, embedding)
        )
        if options.label_dim:
            self.label = (
                nn.Embedding(labels + 1, options.label_dim)
                if texts is None
                else LabelEmbedding(texts, options.label_dim)
            )
            self.from_label = nn.Linear(options.label_dim, embedding)
        self.layout = (
            LabelMap(options.label_dim, options.layout, (length,)) if options.layout else None
        )
        widths = [options.dim * mult for mult in options.mults]
        self.input = nn.Conv2d(channels + before + options.layout, widths[0], 3, padding=1)
        skips, width = [widths[0]], widths[0]
        self.down = nn.ModuleList()
        for level, wanted in enumerate(widths):
            for _ in range(options.blocks):
                self.down.append(Stage(options, width, wanted, level))
                width = wanted
                skips.append(width)
            if level + 1 < len(widths):
                self.down.append(Stage(options, width, width, level, scale="half"))
                skips.append(width)
        self.middle = nn.ModuleList(
            [
                Stage(options, width, width, len(widths), within=True),
                Stage(options, width, width, len(widths), within=False),
            ]
        )
        self.up = nn.ModuleList()
        for level, wanted in reversed(list(enumerate(widths))):
            for _ in range(options.blocks + 1):
                self.up.append(Stage(options, width + skips.pop(), wanted, level))
                width = wanted
            if level:
                self.up.append(Stage(options, width, width, level, scale="double"))
        self.output = nn.Sequential(
            _norm(width), nn.SiLU(), zero_initialise(nn.Conv2d(width, channels, 3, padding=1))
        )

    def forward(self, noisy: Tensor, t: Tensor, conditions: Conditions) -> Tensor:
        """Prediction of the shape of `noisy`, (B, C, L).

        Args:
            noisy: see `Denoiser.forward`.
            t: see there.
            conditions: `before`, planes of the clip before, (B, C', L), zeros where there is none;
                `label`, indices, shape (B,), below 0 the null condition, unless it is not used.
        """
        known = self.time(_sinusoid(t, self.options.dim))
        maps = [noisy, conditions["before"].to(noisy.dtype)]
        if self.options.label_dim:
            index = torch.where(conditions["label"] < 0, self.null_label, conditions["label"])
            label = self.label(index)
            known = known + self.from_label(label)
            maps += [] if self.layout is None else [self.layout(label)]
        known = F.silu(known)
        x = [self.input(plane) for plane in split_planes(torch.cat(maps, dim=1), self.planes)]
        skips = [x]
        for stage in self.down:
            x = stage(x, known)
            skips.append(x)
        for stage in self.middle:
            x = stage(x, known)
        for stage in self.up:
            if stage.scale != "double":
                x = [torch.cat(pair, dim=1) for pair in zip(x, skips.pop(), strict=True)]
            x = stage(x, known)
        return join_planes([self.output(plane) for plane in x])


class Stage(nn.Module):
    """A residual block on each plane, attention within each, then attention over all three.

    Where the grid changes there is no attention.

    Args:
        options: of the U-Net.
        inputs, width: C and C'.
        level: of the grid that it works on.
        scale: of the grid after it.
        within: whether it has attention within a plane; None: as the level has.
    """

    def __init__(
        self,
        options: PlanesUNetOptions,
        inputs: int,
        width: int,
        level: int,
        *,
        scale: Literal["same", "half", "double"] = "same",
        within: bool | None = None,
    ) -> None:
        super().__init__()
        self.scale = scale
        self.block = ResidualBlock(inputs, width, 4 * options.dim, scale)
        heads = math.gcd(options.heads, width)
        has_within = level < options.attention_levels if within is None else within
        has_within = has_within and scale == "same"
        self.within = Attention(width, heads, width // heads) if has_within else None
        self.across = Attention(width, heads, width // heads) if scale == "same" else None

    def forward(self, planes: Planes, known: Tensor) -> Planes:
        """Planes (B, C', a, b) under an embedding of shape (B, 4 dim)."""
        planes = [self.block(plane, known) for plane in planes]
        if self.across is None:
            return planes
        shapes = [plane.shape[-2:] for plane in planes]
        places = [plane.flatten(2).mT for plane in planes]  # (B, a b, C')
        if self.within is not None:
            places = [each + self.within(each) for each in places]
        joined = torch.cat(places, dim=1)  # (B, L, C')
        joined = joined + self.across(joined)
        parts = joined.split([each.shape[1] for each in places], dim=1)
        return [part.mT.unflatten(2, shape) for part, shape in zip(parts, shapes, strict=True)]


class ResidualBlock(nn.Module):
    """Two normalised convolutions; an embedding scales and shifts between; the grid may change."""

    def __init__(self, inputs: int, outputs: int, embedding: int, scale: str) -> None:
        super().__init__()
        self.scale = scale
        self.norm = _norm(inputs)
        self.first = nn.Conv2d(inputs, outputs, 3, padding=1)
        self.modulation = nn.Linear(embedding, 2 * outputs)
        self.between = _norm(outputs)
        self.second = zero_initialise(nn.Conv2d(outputs, outputs, 3, padding=1))
        self.shortcut = nn.Conv2d(inputs, outputs, 1) if inputs != outputs else nn.Identity()

    def forward(self, x: Tensor, known: Tensor) -> Tensor:
        """(B, C, a, b) to (B, C', a', b')."""
        x, inner = self._scaled(x), self._scaled(F.silu(self.norm(x)))
        scale, shift = self.modulation(known)[..., None, None].chunk(2, dim=1)
        inner = self.between(self.first(inner)) * (1 + scale) + shift
        return self.second(F.silu(inner)) + self.shortcut(x)

    def _scaled(self, x: Tensor) -> Tensor:
        if self.scale == "half":
            return F.avg_pool2d(x, 2)
        return doubled(x) if self.scale == "double" else x


def _norm(width: int) -> nn.GroupNorm:
    return nn.GroupNorm(math.gcd(32, width), width)


def _sinusoid(t: Tensor, width: int) -> Tensor:
    """Sinusoidal embedding (Vaswani et al. 2017) of time steps: (B,) to (B, width)."""
    half = width // 2
    rates = torch.exp(-math.log(10_000) / half * torch.arange(half, device=t.device))
    angles = t[:, None].float() * rates
    return torch.cat([angles.cos(), angles.sin()], dim=-1)


def _check_planes(options: PlanesUNetOptions, planes: tuple[tuple[int, int], ...]) -> None:
    """Check that every plane can be halved between the levels.

    Raises:
        UserError: one cannot.
    """
    if not planes:
        raise UserError("denoiser.kind=planes_unet: x_0 is not made of planes: space.kind=planes")
    factor = 1 << (len(options.mults) - 1)
    odd = next((plane for plane in planes if any(side % factor for side in plane)), None)
    if odd is not None:
        raise UserError(
            f"a plane of {odd[0]}x{odd[1]} cannot be halved {len(options.mults) - 1} times; give"
            " the denoiser fewer levels (denoiser.mults), or clips of other sizes"
        )
