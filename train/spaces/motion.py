"""MoVideo's first target space: depth and optical flow (Liang et al., ECCV 2024, section 3.2).

x_0 joins depth, flow into the key frame and flow from it, of every frame (equation 6). Its own
decoding is the key frame warped; the space `guided` takes its samples as conditions. Flows are in
pixels, standardised channel by channel over the training split as every x_0 here, or divided by
each clip's own largest norm before it, as in the paper (`scale`), which sampling finds again from
depth (equation 10).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar, Literal

import torch
from pydantic.dataclasses import dataclass
from torch import Tensor

from shared.errors import UserError
from shared.schema import CodecOptions
from train.data.clips import normalise_frame
from train.models.layers import pad_to_blocks
from train.models.warp import resize_field, warp
from train.options import STRICT
from train.spaces.base import (
    Decoded,
    Derived,
    Drawing,
    Known,
    Space,
    Statistics,
    to_grey_levels,
)
from train.spaces.estimated import EstimateOptions, Estimates

_SMALLEST_PX = 0.25
"""Smallest o_max that equation 10 is tried with."""

_CANDIDATES, _HALVINGS = 64, 24


@dataclass(frozen=True, config=STRICT)
class MotionSpaceOptions(EstimateOptions):
    """Options of `MotionSpace`."""

    kind: Literal["motion"] = "motion"
    scale: Literal["split", "clip"] = "split"
    """Flows are standardised by the training split's statistics, or divided by each clip's largest
    norm (equations 8 and 9) before that."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.scale == "clip" and (self.depth == "none" or self.flow == "store"):
            raise ValueError(
                "scale=clip finds the size of flows again from depth and flow both ways"
                " (equation 10): give depth=layers or model, and flow=dis"
            )


class MotionSpace(Space):
    """Depth and flows of all frames."""

    options_type = MotionSpaceOptions
    generates = "depth and optical flow"
    restored_from = "optical flow"
    drawn: ClassVar[Mapping[str, Drawing]] = {"flow": "colours", "depth": "greys"}

    def __init__(
        self,
        store: CodecOptions,
        options: MotionSpaceOptions,
        autoencoder: None = None,
        statistics: Statistics | None = None,
    ) -> None:
        self.estimates, self.options = Estimates(store, options), options
        self.depth_channels = int(options.depth != "none")
        channels = self.depth_channels + self.estimates.flow_channels
        shape = (channels, store.frames, *self.estimates.grid)
        super().__init__(store, shape, options.cell, None, statistics)

    @property
    def draws(self) -> Mapping[str, Drawing]:
        """Without depth where the options leave it out."""
        return {n: how for n, how in self.drawn.items() if n != "depth" or self.depth_channels}

    @property
    def given_index(self) -> int:
        """Index of the key frame."""
        return self.estimates.key

    @property
    def reads(self) -> tuple[str, ...]:
        """Key frame, stride, depth, flow, tokens."""
        return self.estimates.reads

    @property
    def asks(self) -> tuple[str, ...]:
        """The stride, where options ask for it."""
        return self.estimates.asks

    def derived(self) -> tuple[Derived, ...]:
        """See `Estimates.arrays`."""
        return self.estimates.arrays

    def conditions(self, known: Known) -> dict[str, Tensor]:
        """Label; key frame, as `first_frame`; its tokens and the stride, where there are any."""
        frame = pad_to_blocks(normalise_frame(self.estimates.key_frames(known)), self.cell)
        further = self.estimates.key_tokens(known) | self.estimates.stride(known)
        return {"label": known["label"], "first_frame": frame, **further}

    def example(self) -> dict[str, Tensor]:
        """With tokens, where there are any: their shape is an option."""
        zeros = super().example()
        if self.options.tokens is None:
            return zeros
        return {**zeros, "tokens": torch.zeros(1, *self.options.tokens_shape)}

    def unscaled(self, known: Known) -> Tensor:
        """Depth and flows, shape (B, C, T, h, w)."""
        flows = known["flow_pair"].float()
        if self.options.scale == "clip":
            flows = flows / largest_norm(flows).view(-1, 1, 1, 1, 1)
        depth = [known["depth_map"].float()] if self.depth_channels else []
        return torch.cat([*depth, flows], dim=2).transpose(1, 2)

    def restore(self, raw: Tensor, known: Known) -> Decoded:
        """The given key frame, warped to every other frame.

        Parts: `flow_pair`, pixels, (B, T, 4 or 2, h, w); `depth_map`, (B, T, 1, h, w); and, to be
        drawn, `flow`, (B, T-1, 2, h, w), and `depth` in [0, 1], (B, T-1, 1, h, w), of all frames
        but frame 0.
        """
        depth, flows = raw.transpose(1, 2).split(
            [self.depth_channels, self.estimates.flow_channels], dim=2
        )
        parts = {}
        if self.depth_channels:
            depth = depth.clamp(-1, 1)
            parts = {"depth_map": depth, "depth": (depth[:, 1:] + 1) / 2}
        if self.options.scale == "clip":
            found = largest_norm_from_depth(
                depth, flows, self.estimates.key, max(self.estimates.grid)
            )
            flows = flows * (found * self.cell).view(-1, 1, 1, 1, 1)
        flows = flows.clone()  # of raw, which stays as it is
        flows[:, self.estimates.key] = 0
        parts |= {"flow_pair": flows, "flow": flows[:, 1:, :2]}
        return Decoded(self._warped(flows, known), parts)

    def continue_from(self, decoded: Decoded, known: Known) -> dict[str, Tensor]:
        """The last frame becomes the key frame, where that is a clip's first."""
        refuse_to_continue(self.options)
        return super().continue_from(decoded, known)

    def _warped(self, flows: Tensor, known: Known) -> Tensor:
        """The key frame warped to all frames, uint8, shape (B, T, 3, H, W)."""
        keys = self.estimates.key_frames(known)
        height, width = keys.shape[-2:]
        fields = resize_field(flows[:, :, :2].flatten(0, 1), self.cell)[..., :height, :width]
        pictures = normalise_frame(keys).repeat_interleave(self.store.frames, dim=0)
        frames = to_grey_levels(warp(pictures, fields)).unflatten(0, flows.shape[:2])
        frames[:, self.estimates.key] = keys
        return frames


def refuse_to_continue(options: EstimateOptions) -> None:
    """Refuse longer videos of clips whose given frame is in their middle.

    Raises:
        UserError: it is.
    """
    if options.key != "first":
        raise UserError(
            "--frames: clips around a key frame (space.key=centre) do not go on from each other;"
            " give no more frames than a clip has"
        )


def largest_norm(flows: Tensor) -> Tensor:
    """o_max of each clip (equation 8), shape (B,); 1 where nothing moves.

    Args:
        flows: both ways, shape (B, T, 4, h, w).
    """
    norms = flows.unflatten(2, (2, 2)).norm(dim=3)  # (B, T, 2, h, w)
    most = norms.amax(dim=(1, 2, 3, 4))
    return torch.where(most > 0, most, torch.ones_like(most))


def largest_norm_from_depth(depth: Tensor, flows: Tensor, key: int, most: float) -> Tensor:
    """o_max from normalised depth and flows (equation 10), found by search in one variable.

    Candidates between a quarter and `most` in geometric steps, then a golden-section search around
    the best. Where depth is flat, every candidate costs the same, and the smallest is taken.

    Args:
        depth: shape (B, T, 1, h, w).
        flows: divided by the o_max that is sought, both ways, shape (B, T, 4, h, w).
        key: index of the key frame.
        most: largest candidate.

    Returns:
        Shape (B,), in cells, where flows times it are.
    """
    steps = torch.linspace(0, 1, _CANDIDATES, device=depth.device)
    candidates = _SMALLEST_PX * (most / _SMALLEST_PX) ** steps
    costs = torch.stack(
        [depth_error(depth, flows, key, o.expand(len(depth))) for o in candidates]
    )  # (candidates, B)
    best = costs.argmin(dim=0)
    low, high = (candidates[(best + step).clamp(0, _CANDIDATES - 1)] for step in (-1, 1))
    ratio = (5**0.5 - 1) / 2
    for _ in range(_HALVINGS):
        left, right = high - ratio * (high - low), low + ratio * (high - low)
        nearer = depth_error(depth, flows, key, left) <= depth_error(depth, flows, key, right)
        low, high = torch.where(nearer, low, left), torch.where(nearer, right, high)
    return (low + high) / 2


def depth_error(depth: Tensor, flows: Tensor, key: int, scale: Tensor) -> Tensor:
    """Sum over frames of both L2 norms of equation 10, shape (B,), for one o_max a clip, (B,)."""
    frames = depth.flatten(0, 1)
    keys = depth[:, key : key + 1].expand_as(depth).flatten(0, 1)
    there, back = (flows * scale.view(-1, 1, 1, 1, 1)).flatten(0, 1).split(2, dim=1)
    errors = [frames - warp(keys, there), keys - warp(frames, back)]
    norms = sum(error.flatten(1).norm(dim=1) for error in errors)
    return norms.unflatten(0, depth.shape[:2]).sum(dim=1)
