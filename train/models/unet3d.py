"""The denoising 3D U-Net, factorised over space and time (Ho et al. 2022, Video Diffusion Models).

Spatial convolutions (1x3x3), attention over the places of a frame, attention over the frames of a
place; time and text embeddings enter every residual block; features of the first frame are
concatenated to the noisy target (the paper, figure 2c).

Shapes: B clips, C channels, T frames to generate, h x w grid, N = B T frames.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

import torch
import torch.nn.functional as F
from einops import rearrange
from pydantic import Field
from pydantic.dataclasses import dataclass
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from shared.errors import UserError
from train.models.attention import CrossAttention, SpatialAttention, TemporalAttention
from train.models.conditions import FirstFrameEncoder, LabelMap, Tokens, sinusoid
from train.models.denoiser import Conditions, Denoiser, DenoiserInput
from train.models.layers import parameter_count, zero_initialise
from train.models.text_encoder import LabelEmbedding
from train.options import STRICT

GROUPS = 8
"""Groups of every group normalisation; widths are multiples of it."""


Positive = Annotated[int, Field(ge=1)]


@dataclass(frozen=True, config=STRICT)
class UNet3DOptions:
    """Options of `UNet3D`."""

    kind: Literal["unet3d"] = "unet3d"
    dim: Annotated[int, Field(ge=GROUPS, multiple_of=GROUPS)] = 64
    """Channels at the finest level."""
    mults: Annotated[tuple[Positive, ...], Field(min_length=1)] = (1, 2, 4, 4)
    """Channels of each level, as multiples of `dim`; each level halves the grid."""
    blocks: Positive = 2
    """Residual blocks a level."""
    heads: Positive = 8
    head_dim: Positive = 32
    full_attention: Annotated[int, Field(ge=0)] = 1024
    """Most places of a frame with full attention; levels of more take linear attention."""
    context: Annotated[int, Field(ge=0)] = 64
    """Channels of the first frame's features; where a space brings features, 0 takes them as they
    are."""
    label_dim: Positive = 256
    fold: Positive = 1
    """Side of squares of cells whose channels are joined before the network and parted after it; an
    addition of ours: half the grid costs a quarter."""
    input_kernel: Literal[3, 7] = 3
    """Side of the first convolution's kernel; VDM's public code has 7."""
    layout: Annotated[int, Field(ge=0)] = 0
    """Channels of a learned map of the label over the clip, see `LabelMap`; 0: none. An addition of
    ours."""
    patch: Annotated[int, Field(ge=0)] = 0
    """Side of the first frame's patches, pixels, whose learned features all places attend to, where
    the space brings no `tokens`; 0: none."""
    temporal_conv: bool = False
    """A 3x1x1 convolution after each residual block, in addition to attention over time."""
    output_block: bool = False
    """A residual block before the output, as in VDM's public code."""
    gradient_checkpointing: bool = False
    """Keep each level's input only and compute the level again in the backward pass: less memory,
    a third more time."""


class Level(nn.Module):
    """Residual blocks, attention over space, attention over time; (N, C, h, w) to (N, C', h, w).

    Args:
        options: of the U-Net.
        inputs, width: C and C'.
        attends: whether places also attend to tokens, of 4 dim numbers.
    """

    def __init__(
        self, options: UNet3DOptions, inputs: int, width: int, *, attends: bool = False
    ) -> None:
        super().__init__()
        embedding = 4 * options.dim
        self.blocks = nn.ModuleList(
            ResidualBlock(inputs if index == 0 else width, width, embedding)
            for index in range(options.blocks)
        )
        self.temporal_convs = nn.ModuleList(
            TemporalConv(width) for _ in range(options.blocks if options.temporal_conv else 0)
        )
        self.space = SpatialAttention(
            width, options.heads, options.head_dim, options.full_attention
        )
        self.tokens = (
            CrossAttention(width, embedding, options.heads, options.head_dim) if attends else None
        )
        self.time = TemporalAttention(width, options.heads, options.head_dim)

    def forward(
        self, x: Tensor, condition: Tensor, time: int, tokens: Tensor | None = None
    ) -> Tensor:
        """Features (N, C', h, w) under a condition of shape (N, 4 dim); `time` is T."""
        height, width = x.shape[-2:]
        for index, block in enumerate(self.blocks):
            x = block(x, condition)
            if self.temporal_convs:
                x = self.temporal_convs[index](x, time)
        places = rearrange(x, "n c h w -> n (h w) c")  # (N, h w, C')
        x = x + rearrange(self.space(places), "n (h w) c -> n c h w", h=height)
        if self.tokens is not None:
            assert tokens is not None
            clips = rearrange(x, "(b t) c h w -> b (t h w) c", t=time)  # (B, T h w, C')
            seen = self.tokens(clips, tokens)
            x = x + rearrange(seen, "b (t h w) c -> (b t) c h w", t=time, h=height)
        films = rearrange(x, "(b t) c h w -> (b h w) t c", t=time)  # (B h w, T, C')
        return x + rearrange(self.time(films), "(b h w) t c -> (b t) c h w", h=height, w=width)


class ResidualBlock(nn.Module):
    """Two normalised convolutions; the condition, (N, embedding), scales and shifts between."""

    def __init__(self, inputs: int, outputs: int, embedding: int) -> None:
        super().__init__()
        self.before = nn.Sequential(norm(inputs), nn.SiLU(), conv(inputs, outputs))
        self.norm = norm(outputs)
        self.modulation = nn.Linear(embedding, 2 * outputs)
        self.after = nn.Sequential(nn.SiLU(), zero_initialise(conv(outputs, outputs)))
        self.shortcut = nn.Conv2d(inputs, outputs, 1) if inputs != outputs else nn.Identity()

    def forward(self, x: Tensor, condition: Tensor) -> Tensor:
        """Features (N, C', h, w) from (N, C, h, w)."""
        scale, shift = self.modulation(condition)[..., None, None].chunk(2, dim=1)
        return self.after(self.norm(self.before(x)) * (1 + scale) + shift) + self.shortcut(x)


class TemporalConv(nn.Module):
    """Residual convolution over three neighbouring frames of each place, zero at the start."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.norm = norm(width)
        self.conv = zero_initialise(nn.Linear(3 * width, width))

    def forward(self, x: Tensor, time: int) -> Tensor:
        """Features of the shape of `x`, (N, C, h, w); `time` is T."""
        frames = rearrange(F.silu(self.norm(x)), "(b t) c h w -> b t h w c", t=time)
        padded = F.pad(frames, (0, 0, 0, 0, 0, 0, 1, 1))  # (B, T + 2, h, w, C)
        neighbours = torch.cat([padded[:, :-2], frames, padded[:, 2:]], dim=-1)  # (..., 3 C)
        return x + rearrange(self.conv(neighbours), "b t h w c -> (b t) c h w")


def norm(width: int) -> nn.GroupNorm:
    """Group normalisation of `width` channels."""
    return nn.GroupNorm(GROUPS, width)


def conv(inputs: int, outputs: int, kernel: int = 3) -> nn.Conv2d:
    """A convolution over space that keeps the grid."""
    return nn.Conv2d(inputs, outputs, kernel, padding=kernel // 2)


class UNet3D(Denoiser):
    """Predict v or epsilon from a noisy target, its time, a label and the first frame.

    Args:
        options: widths and depths.
        shapes: target (C, T, h, w); the first frame's encoder is strided by its cell. With a
            condition `features`, (C', h, w), on the target's grid, it takes these instead. All
            places attend to a condition `tokens`, (L, D). Any other of shape (C', T, h, w) is
            concatenated to the target, and one of shape (D,) is embedded as the time is.
        labels: number of label texts; index `labels` is the null condition.
        texts: embeddings of the label texts by a text encoder, shape (labels, D); without them an
            embedding of each label is learned.

    Raises:
        UserError: the grid cannot be halved as often as there are levels, or a cell is not a power
            of two.
    """

    options_type = UNet3DOptions

    def __init__(
        self,
        options: UNet3DOptions,
        shapes: DenoiserInput,
        labels: int,
        texts: Tensor | None = None,
    ) -> None:
        super().__init__()
        channels, time, height, width = shapes.x0
        _check_grid(options, height, width)
        self.map_names = [n for n, shape in shapes.conditions if shape[1:] == shapes.x0[1:]]
        maps = sum(dict(shapes.conditions)[name][0] for name in self.map_names)
        folded = options.fold**2
        channels, maps = channels * folded, maps * folded
        height, width = height // options.fold, width // options.fold
        self.options = options
        widths = [options.dim * mult for mult in options.mults]
        embedding = 4 * options.dim
        given = dict(shapes.conditions).get("features")
        self.takes_features = given is not None
        self.tokens = _token_network(options, dict(shapes.conditions).get("tokens"))
        attends = self.tokens is not None
        self.first_frame: nn.Module | None = None
        context = options.context
        if context or given is not None or not attends:
            self.first_frame, context = _first_frame_network(options, shapes.cell, given)
        self.null_label = labels  # its row of the table
        self.label: nn.Embedding | LabelEmbedding = (
            nn.Embedding(labels + 1, options.label_dim)
            if texts is None
            else LabelEmbedding(texts, options.label_dim)
        )
        self.time = nn.Sequential(
            nn.Linear(options.dim, embedding), nn.SiLU(), nn.Linear(embedding, embedding)
        )
        # "The embedding of the condition y is concatenated with the time step embedding."
        # The frame's index is a third part: every block then knows what a label means for frame n,
        # not only attention over time.
        self.condition = nn.Sequential(
            nn.Linear(2 * embedding + options.label_dim, embedding),
            nn.SiLU(),
            nn.Linear(embedding, embedding),
            nn.SiLU(),
        )
        self.frame = nn.Sequential(
            nn.Linear(options.dim, embedding), nn.SiLU(), nn.Linear(embedding, embedding)
        )
        self.layout = (
            LabelMap(options.label_dim, options.layout, (time, height, width))
            if options.layout
            else None
        )
        self.input = conv(
            channels + maps + context + 2 + options.layout, widths[0], options.input_kernel
        )
        self.down = nn.ModuleList(
            Level(options, before, width, attends=attends)
            for before, width in zip([widths[0], *widths[:-1]], widths, strict=True)
        )
        self.shrink = nn.ModuleList(
            nn.Conv2d(width, width, 4, stride=2, padding=1) for width in widths[:-1]
        )
        self.middle = Level(options, widths[-1], widths[-1], attends=attends)
        self.up = nn.ModuleList(
            Level(options, 2 * width, before, attends=attends)
            for before, width in zip([widths[0], *widths[:-1]], widths, strict=True)
        )
        self.grow = nn.ModuleList(
            nn.ConvTranspose2d(width, width, 4, stride=2, padding=1) for width in widths[:-1]
        )
        last = 2 * widths[0]
        self.output_block = None
        if options.output_block:
            self.output_block, last = ResidualBlock(last, widths[0], embedding), widths[0]
        self.output = nn.Sequential(norm(last), nn.SiLU(), zero_initialise(conv(last, channels)))
        self.numbers = nn.ModuleDict(
            {
                name: nn.Sequential(
                    nn.Linear(shape[0], embedding),
                    nn.SiLU(),
                    zero_initialise(nn.Linear(embedding, embedding)),
                )
                for name, shape in shapes.conditions
                if len(shape) == 1
            }
        )

    def forward(self, noisy: Tensor, t: Tensor, conditions: Conditions) -> Tensor:
        """Prediction of the shape of `noisy`, (B, C, T, h, w).

        Args:
            noisy: see `Denoiser.forward`.
            t: see there.
            conditions: `label`, indices, shape (B,), below 0 the null condition; `first_frame`,
                float in [-1, 1], whole cells, shape (B, 3, h b, w b), or `features`; and those
                that it was built for.
        """
        batch, _, time = noisy.shape[:3]
        _check_grid(self.options, *noisy.shape[-2:])
        label = conditions["label"]
        still = conditions["features" if self.takes_features else "first_frame"]
        label = torch.where(label < 0, self.null_label, label)
        fold = {"f": self.options.fold, "g": self.options.fold}
        joined = torch.cat([noisy, *(conditions[name] for name in self.map_names)], dim=1)
        joined = rearrange(joined, "b c t (h f) (w g) -> b (c f g) t h w", **fold)
        x = torch.cat([joined, *self._maps(joined, label, still)], dim=1)
        x = rearrange(x, "b c t h w -> (b t) c h w")  # (N, C, h, w)
        skip = x = self.input(x.contiguous(memory_format=torch.channels_last))
        condition = self._condition(t, label, time)
        for name, network in self.numbers.items():
            condition = condition + network(conditions[name]).repeat_interleave(time, dim=0)
        tokens = None
        if self.tokens is not None:
            tokens = self.tokens(conditions.get("tokens", conditions["first_frame"]))
        x = torch.cat([self._levels(x, condition, time, tokens), skip], dim=1)
        if self.output_block is not None:
            x = self.output_block(x, condition)
        return rearrange(self.output(x), "(b t) (c f g) h w -> b c t (h f) (w g)", b=batch, **fold)

    def parameter_groups(self) -> dict[str, int]:
        """Parameters of the first frame's encoder, as `first_frame`."""
        parts = {"first_frame": self.first_frame, "tokens": self.tokens}
        return {name: parameter_count(part) for name, part in parts.items() if part is not None}

    def _maps(self, noisy: Tensor, label: Tensor, still: Tensor) -> list[Tensor]:
        """Features of every cell: first frame and coordinates, then the label's map, if any.

        Each has the shape (B, C, T, h, w).
        """
        features = [] if self.first_frame is None else [self.first_frame(still)]
        still = torch.cat([*features, _coordinates(noisy)], dim=1)
        maps = [still[:, :, None].expand(-1, -1, noisy.shape[2], -1, -1)]
        return maps if self.layout is None else [*maps, self.layout(self.label(label))]

    def _levels(self, x: Tensor, *given: Any) -> Tensor:
        """`given`: condition, T and tokens, as a level takes them."""
        skips = []
        for index, level in enumerate(self.down):
            x = self._run(level, x, *given)
            skips.append(x)
            if index < len(self.shrink):
                x = self.shrink[index](x)
        x = self._run(self.middle, x, *given)
        for index in reversed(range(len(self.up))):
            joined = torch.cat([x, skips[index]], dim=1)
            x = self._run(self.up[index], joined, *given)
            if index > 0:
                x = self.grow[index - 1](x)
        return x

    def _run(self, level: nn.Module, x: Tensor, *given: Any) -> Tensor:
        if self.options.gradient_checkpointing and torch.is_grad_enabled():
            # Levels draw no random numbers, so there is no state of generators to keep.
            return checkpoint(level, x, *given, use_reentrant=False, preserve_rng_state=False)
        return level(x, *given)

    def _condition(self, t: Tensor, label: Tensor, time: int) -> Tensor:
        """Embedding of diffusion time, label and place in the clip: (B T, 4 dim)."""
        dim = self.options.dim
        clip = torch.cat([self.time(sinusoid(t, dim)), self.label(label)], dim=-1)
        frame = self.frame(sinusoid(torch.arange(time, device=t.device), dim))
        clip = clip.repeat_interleave(time, dim=0)
        return self.condition(torch.cat([clip, frame.repeat(len(t), 1)], dim=-1))


def _coordinates(x: Tensor) -> Tensor:
    """Coordinates of each cell, down and across, in [-1, 1]: shape (B, 2, h, w)."""
    down, across = (torch.linspace(-1, 1, side, device=x.device) for side in x.shape[-2:])
    return torch.stack(torch.meshgrid(down, across, indexing="ij")).expand(len(x), -1, -1, -1)


def _token_network(options: UNet3DOptions, given: tuple[int, ...] | None) -> Tokens | None:
    """Network of the tokens that places attend to; None where there are none."""
    if given is None and not options.patch:
        return None
    return Tokens(4 * options.dim, None if given is None else given[1], options.patch)


def _first_frame_network(
    options: UNet3DOptions, cell: int, features: tuple[int, ...] | None
) -> tuple[nn.Module, int]:
    """Network of the first frame's maps on the folded grid, and their number of channels."""
    fold = options.fold
    if features is None:
        if not options.context:
            raise UserError("denoiser.context=0: the space brings no features to take as they are")
        return FirstFrameEncoder(options.context, cell * fold), options.context
    if options.context:
        return nn.Conv2d(features[0], options.context, fold, stride=fold), options.context
    return nn.PixelUnshuffle(fold), features[0] * fold**2


def _check_grid(options: UNet3DOptions, height: int, width: int) -> None:
    halvings = len(options.mults) - 1
    factor = options.fold * 2**halvings
    if height % factor or width % factor:
        folded = f" after folding {options.fold}x{options.fold} cells" if options.fold > 1 else ""
        raise UserError(
            f"a {width}x{height} grid cannot be halved {halvings} times{folded}: take a recipe with"
            f" fewer `mults`, or a store whose width / block and height / block are multiples of"
            f" {factor}"
        )
