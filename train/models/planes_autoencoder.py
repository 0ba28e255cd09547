"""PVDM's video autoencoder (Yu et al., CVPR 2023, section 3.2): a clip as three planes.

A TimeSformer turns the clip's patches into tokens u (S x H' x W'). Three small transformers project
them along time, along height and along width, each to a plane of C numbers in (-1, 1). The decoder
adds to each token what the three planes hold for it (the paper's concatenation followed by a linear
map) and a second TimeSformer restores the patches.

The paper speaks of discrete codes; its public code has neither quantisation nor a KL term, and
neither has this one.
"""

from __future__ import annotations

from typing import Annotated, Literal, NamedTuple

import torch
from einops import rearrange
from pydantic import Field
from pydantic.dataclasses import dataclass
from torch import Tensor, nn

from shared.conventions import FrameSize, grid_shape
from shared.schema import CodecOptions
from train.models.autoencoder import Autoencoder
from train.models.block_autoencoder import principal
from train.models.critic import ClipCritic, adversarial_losses
from train.models.flow_predictors import pad_to_multiple
from train.models.layers import parameter_count, zero_initialise
from train.models.perceptual import Lpips
from train.models.timesformer import LineSummary, TimeSformer
from train.options import STRICT

Positive = Annotated[int, Field(ge=1)]
Weight = Annotated[float, Field(ge=0)]

PLANE_NAMES = ("space", "width over time", "height over time")
"""The planes z^s, z^h and z^w, in words; each is what is left after an axis is projected away."""

_LINES = 16_384
"""Most lines of tokens that a linear code is fitted to."""

_SCALE = 0.25
"""Root mean square of the numbers of the linear code, where tanh is nearly linear."""


@dataclass(frozen=True, config=STRICT)
class PlanesAutoencoderOptions:
    """Options of `PlanesAutoencoder`; the defaults are those of the public code."""

    kind: Literal["planes"] = "planes"
    patch: Positive = 8
    """Side of a patch, pixels: the paper's d."""
    latent_channels: Positive = 4
    width: Positive = 384
    depth: Positive = 8
    """Layers of the encoder, and of the decoder."""
    heads: Positive = 8
    head_dim: Annotated[int, Field(ge=4, multiple_of=4)] = 64
    expansion: Positive = 4
    projection_depth: Positive = 4
    projection_heads: Positive = 4
    projection_head_dim: Positive = 48
    projection_hidden: Positive = 512
    lines: bool = False
    """Add to each plane a linear map of what the planes before leave of the whole line of tokens,
    and its inverse in the decoder; training starts at their Karhunen-Loeve transforms. An addition
    of ours, for small budgets."""
    l1_weight: Weight = 4.0
    l2_weight: Weight = 0.0
    """Weight of the squared error; an addition of ours."""
    perceptual: str | None = None
    """File of torchvision's VGG16 weights, for LPIPS of a random frame of each clip; without it
    that loss is left out."""
    perceptual_weight: Weight = 4.0
    adversarial_after: Annotated[int, Field(ge=0)] | None = None
    """Step from which two critics take part, of a random frame and of the clip; none: never."""
    adversarial_weight: Weight = 1.0
    matching_weight: Weight = 4.0
    """Weight of the distance of the critics' features."""
    critic_width: Annotated[int, Field(ge=8, multiple_of=8)] = 64


class TokenGrid(NamedTuple):
    """Tokens of a clip: frames, rows and columns."""

    frames: int
    rows: int
    columns: int

    @property
    def planes(self) -> tuple[tuple[int, int], ...]:
        """Shapes of the planes: the grid without its first, its second and its third axis."""
        frames, rows, columns = self
        return (rows, columns), (frames, columns), (frames, rows)


def split_planes(flat: Tensor, planes: tuple[tuple[int, int], ...]) -> list[Tensor]:
    """Planes (B, C, a, b) that are joined as (B, C, L), each flattened in raster order."""
    parts = flat.split([rows * columns for rows, columns in planes], dim=-1)
    return [part.unflatten(-1, shape) for part, shape in zip(parts, planes, strict=True)]


def join_planes(planes: list[Tensor]) -> Tensor:
    """Inverse of `split_planes`."""
    return torch.cat([plane.flatten(-2) for plane in planes], dim=-1)


class PlanesAutoencoder(Autoencoder):
    """Planes of whole clips: (B, T, 3, H, W) in [-1, 1] to (B, C, L), and back.

    Frames are continued at their right and lower border to whole patches, by their edge.

    Args:
        options: sizes and losses.
        block: ignored, the patch is an option.
        store: of the clips; T, H and W are its own.
    """

    options_type = PlanesAutoencoderOptions
    codes = "clips"
    initial_clips = 256

    def __init__(self, options: PlanesAutoencoderOptions, block: int, store: CodecOptions) -> None:
        super().__init__()
        self.options, self.size = options, store.size
        self.block, self.latent_channels = options.patch, options.latent_channels
        self.initial_fits = int(options.lines)
        self.grid = TokenGrid(store.frames, *grid_shape(*store.size, options.patch))
        self.encoder = PlanesEncoder(options, self.grid)
        self.decoder = PlanesDecoder(options, self.grid)
        self.critics = nn.ModuleList(
            [] if options.adversarial_after is None
            else [ClipCritic(axes, options.critic_width) for axes in (2, 3)]
        )  # fmt: skip
        self._lpips: Lpips | None = None

    def encode(self, picture: Tensor, context: Tensor | None = None) -> Tensor:
        """Planes of clips (B, T, 3, H, W), joined: (B, C, L), in (-1, 1)."""
        return self.encoder(pad_to_multiple(picture.flatten(0, 1), self.block), len(picture))

    def decode(self, latent: Tensor, context: Tensor | None = None) -> Tensor:
        """Clips (B, T, 3, H, W) of joined planes (B, C, L)."""
        return self.decoder(latent)[..., : self.size.height, : self.size.width]

    @property
    def coding_parameters(self) -> int:
        """Without the critics'."""
        return parameter_count(self) - parameter_count(self.critics)

    def example_pass(
        self, size: FrameSize, frames: int
    ) -> tuple[tuple[Tensor, ...], tuple[Tensor, ...], int]:
        """A clip in one pass."""
        length = sum(rows * columns for rows, columns in self.grid.planes)
        clip = torch.zeros(1, frames, 3, *size)
        return (clip,), (torch.zeros(1, self.latent_channels, length),), 1

    def clip_loss(self, clips: Tensor, frame: Tensor, step: int) -> dict[str, Tensor]:
        """Losses of clips by name, means over the clips; `loss` is to be minimised.

        Before `adversarial_after` the critics take part with weight 0 and neither learn nor cost.

        Args:
            clips: in [-1, 1], shape (B, T, 3, H, W).
            frame: of each clip that LPIPS and the critic of pictures see, int64, shape (B,).
            step: optimiser step, from 0.
        """
        options = self.options
        made = self.decode(self.encode(clips)).float()
        l1, l2 = (made - clips).abs().mean(), (made - clips).square().mean()
        parts = {"l1": options.l1_weight * l1, "l2": options.l2_weight * l2}
        rows = torch.arange(len(clips), device=clips.device)
        pair = made[rows, frame], clips[rows, frame]
        if options.perceptual is not None:
            if self._lpips is None:  # read in training alone: sampling needs no such file
                self._lpips = Lpips(options.perceptual)
            parts["lpips"] = options.perceptual_weight * self._lpips(*pair).mean()
        if options.adversarial_after is not None:
            parts |= self._critics(pair, (made, clips), active=step >= options.adversarial_after)
        losses = {name: part.detach() for name, part in parts.items()}
        return {"loss": torch.stack(list(parts.values())).sum()} | losses

    def _critics(
        self, pictures: tuple[Tensor, Tensor], clips: tuple[Tensor, Tensor], *, active: bool
    ) -> dict[str, Tensor]:
        """Weighted losses of the critics, and of what they say of made pictures and clips."""
        if not active:  # in the graph, so that several processes exchange the same gradients
            nothing = torch.stack([0 * weight.sum() for weight in self.critics.parameters()]).sum()
            return {"critic": nothing}
        options = self.options
        pairs = (pictures, tuple(clip.transpose(1, 2) for clip in clips))  # (B, 3, T, H, W)
        found = [
            adversarial_losses(critic, *pair)
            for critic, pair in zip(self.critics, pairs, strict=True)
        ]
        for_critic, verdict, matching = (
            torch.stack(part).sum() for part in zip(*found, strict=True)
        )
        return {
            "critic": for_critic,
            "verdict": options.adversarial_weight * verdict,
            "matching": options.matching_weight * matching,
        }

    @torch.no_grad()
    def fit_initial(self, picture: Tensor, context: Tensor | None = None) -> None:
        """Start at the Karhunen-Loeve transforms of patches and then of lines, plane after plane.

        Each plane's linear code is that of what the planes before leave.
        """
        frames = pad_to_multiple(picture.flatten(0, 1), self.block)
        patches = self.encoder.patches(frames, len(picture))  # (N, T, h, w, V)
        basis, _ = principal(_some(patches.flatten(0, 3)), self.options.width)
        self.encoder.embed.weight[: len(basis)] = basis.to(patches)
        self.decoder.unembed.weight[:, : len(basis)] = basis.T.to(patches)
        for layer in (self.encoder.embed, self.decoder.unembed):
            nn.init.zeros_(layer.bias)
        self.encoder.embed.weight[len(basis) :] = 0
        self.decoder.unembed.weight[:, len(basis) :] = 0
        rest = self.encoder.embed(patches)
        for axis, project in enumerate(self.encoder.projections):
            spread = self.decoder.spreads[axis]
            assert isinstance(project, Projection)
            assert isinstance(spread, nn.Linear)
            assert project.line is not None
            lines = lines_along(rest, axis).flatten(-2)  # (N, a, b, L C)
            mean = lines.flatten(0, 2).mean(0)
            code, energy = principal(_some((lines - mean).flatten(0, 2)), self.latent_channels)
            scale = (energy.clamp_min(1e-12).sqrt() / _SCALE)[:, None]
            weight, back = (code / scale).to(lines), (code * scale).T.to(lines)
            project.line.weight.copy_(weight)
            project.line.bias.copy_(-weight @ mean)
            for layer in filter(None, (spread, project.recall)):
                layer.weight.copy_(back)
                layer.bias.copy_(mean)
            coded = spread(torch.tanh(project.line(lines)))
            rest = rest - tokens_from_lines(coded, axis, self.grid[axis], self.options.width)


class PlanesEncoder(nn.Module):
    """Frames to planes."""

    def __init__(self, options: PlanesAutoencoderOptions, grid: TokenGrid) -> None:
        super().__init__()
        self.patch, self.grid = options.patch, grid
        self.embed = nn.Linear(3 * options.patch**2, options.width)
        self.body = _time_sformer(options, grid)
        self.projections = nn.ModuleList(
            Projection(options, length, last=axis == len(grid) - 1)
            for axis, length in enumerate(grid)
        )

    def patches(self, frames: Tensor, clips: int) -> Tensor:
        """Patches (B, T, h, w, 3 p p) of frames (B T, 3, H, W) of B clips."""
        return rearrange(
            frames, "(b t) c (h y) (w x) -> b t h w (c y x)", b=clips, y=self.patch, x=self.patch
        )

    def forward(self, frames: Tensor, clips: int) -> Tensor:
        """Joined planes (B, C, L)."""
        tokens = self.embed(self.patches(frames, clips)).flatten(2, 3)  # (B, T, h w, width)
        rest = tokens = self.body(tokens).unflatten(2, self.grid[1:])
        planes = []
        for axis, project in enumerate(self.projections):
            assert isinstance(project, Projection)
            plane = project(lines_along(tokens, axis), lines_along(rest, axis))  # (B, a, b, C)
            plane = torch.tanh(plane.float())
            planes.append(plane.permute(0, 3, 1, 2))
            if project.recall is not None:
                known = project.recall(plane)
                rest = rest - tokens_from_lines(known, axis, self.grid[axis], tokens.shape[-1])
        return join_planes(planes)


class Projection(nn.Module):
    """Lines of tokens (..., L, width) to C numbers each, (..., C), before tanh.

    Attributes:
        summary, head: the transformer, and the map to C numbers.
        line: the linear map of the whole line, if any.
        recall: what that knows of the line, which the next plane need not hold; the last has none.
    """

    def __init__(self, options: PlanesAutoencoderOptions, length: int, *, last: bool) -> None:
        super().__init__()
        width, channels = options.width, options.latent_channels
        self.summary = LineSummary(
            length, width, options.projection_depth, options.projection_heads,
            options.projection_head_dim, options.projection_hidden,
        )  # fmt: skip
        head = nn.Linear(width, channels)
        self.head = zero_initialise(head) if options.lines else head
        self.line = nn.Linear(length * width, channels) if options.lines else None
        recalls = options.lines and not last
        self.recall = nn.Linear(channels, length * width) if recalls else None

    def forward(self, lines: Tensor, rest: Tensor) -> Tensor:
        """Codes of lines, of their summaries and, where that is asked for, of all of a line."""
        found = self.head(self.summary(lines.flatten(0, 2))).unflatten(0, lines.shape[:3])
        return found if self.line is None else found + self.line(rest.flatten(-2))


class PlanesDecoder(nn.Module):
    """Planes to frames."""

    def __init__(self, options: PlanesAutoencoderOptions, grid: TokenGrid) -> None:
        super().__init__()
        self.patch, self.grid, self.lines = options.patch, grid, options.lines
        self.width = width = options.width
        self.spreads = nn.ModuleList(
            nn.Linear(options.latent_channels, (length if options.lines else 1) * width)
            for length in grid
        )
        self.body = _time_sformer(options, grid)
        self.unembed = nn.Linear(width, 3 * options.patch**2)

    def forward(self, flat: Tensor) -> Tensor:
        """Clips (B, T, 3, h p, w p) of joined planes (B, C, L)."""
        planes = split_planes(flat, self.grid.planes)
        spread = [
            tokens_from_lines(layer(plane.permute(0, 2, 3, 1)), axis, self.grid[axis], self.width)
            for axis, (layer, plane) in enumerate(zip(self.spreads, planes, strict=True))
        ]
        tokens = torch.stack(spread).sum(0).flatten(2, 3)  # (B, T, h w, width)
        tokens = self.body(tokens).unflatten(2, self.grid[1:])
        clips = rearrange(
            self.unembed(tokens), "b t h w (c y x) -> b t c (h y) (w x)", y=self.patch, x=self.patch
        ).float()
        return clips if self.lines else 2 * torch.sigmoid(clips) - 1


def lines_along(tokens: Tensor, axis: int) -> Tensor:
    """Lines of tokens (B, T, h, w, C) along an axis of the grid: (B, a, b, L, C)."""
    return tokens.movedim(1 + axis, 3)


def tokens_from_lines(lines: Tensor, axis: int, length: int, width: int) -> Tensor:
    """Tokens (B, T, h, w, C) of lines (B, a, b, L C), or of one token for all, (B, a, b, C)."""
    tokens = lines.unflatten(-1, (-1, width))  # (B, a, b, L or 1, C)
    return tokens.expand(-1, -1, -1, length, -1).movedim(3, 1 + axis)


def _time_sformer(options: PlanesAutoencoderOptions, grid: TokenGrid) -> TimeSformer:
    return TimeSformer(
        grid, options.width, options.depth, options.heads, options.head_dim, options.expansion
    )


def _some(rows: Tensor) -> Tensor:
    """At most `_LINES` of the rows, evenly spaced."""
    return rows[:: -(-len(rows) // _LINES)]
