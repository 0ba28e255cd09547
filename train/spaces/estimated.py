"""Depth and optical flow of stored clips: derived arrays that MoVideo's two spaces share.

MoVideo (Liang et al., ECCV 2024, section 3.2): flows are those between the key frame and every
frame of the clip. They are sampled at the frame that is to be warped to: a frame is
W(key, flow), the key frame is W(frame, back flow).

Shapes: B clips, T frames, h x w cells.
"""

from __future__ import annotations

from functools import cached_property
from typing import Annotated, Any, Literal

import torch
import torch.nn.functional as F
from pydantic import Field
from pydantic.dataclasses import dataclass
from torch import Tensor

from shared.conventions import grid_shape
from shared.errors import UserError
from shared.schema import CodecOptions
from shared.store.reader import open_path
from train.data.clips import ClipBatch, stored_frames
from train.data.motion_compensation import vectors_at
from train.models.optical_flow import DisFlow, FlowEstimator
from train.models.pretrained import DepthModel, ImageTokens
from train.models.raft import RaftFlow
from train.options import STRICT
from train.spaces.base import Derived, Known

_LEAST_STRIDE = 0.01

FlowSource = Literal["dis", "raft", "store"]
DepthSource = Literal["none", "layers", "model"]


@dataclass(frozen=True, config=STRICT)
class EstimateOptions:
    """Sources of depth, flow and tokens; the same in a recipe and its guide."""

    key: Literal["first", "centre"] = "first"
    """The given frame: frame 0, or frame T // 2 as in the paper."""
    cell: Annotated[int, Field(ge=1)] = 4
    """Pixels that a cell of flow and depth covers, in each direction."""
    flow: FlowSource = "dis"
    """`dis`: OpenCV's dense inverse search. `raft`: RAFT, with torchvision's weights. `store`: the
    store's vectors into frame 0, which have no way back, so that no occlusion is known."""
    flow_weights: str | None = None
    """File of RAFT's weights."""
    depth: DepthSource = "none"
    """`layers`: a companion store of rendered depth. `model`: a depth estimation network. `none`:
    left out, and with it the paper's equations 7 and 10."""
    depth_from: str | None = None
    """Path of the companion store, or folder or hub name of the network."""
    tokens: str | None = None
    """Folder or hub name of a CLIP vision model; none: no tokens of the key frame are computed, and
    a denoiser may learn its own (`denoiser.patch`)."""
    tokens_shape: tuple[int, int] = (256, 1024)
    """Number and width of the tokens; of CLIP ViT-L/14 by default."""
    stride: bool = False
    """Condition on the distance between the clip's frames, frames of its video, which stands for
    the paper's frames a second where all videos have one rate. Give `condition_dropout.stride`,
    too, to sample without one."""

    def __post_init__(self) -> None:
        if (self.depth == "none") != (self.depth_from is None):
            wanted = "has no depth_from" if self.depth == "none" else "needs depth_from"
            raise ValueError(f"depth={self.depth} {wanted}")
        if (self.flow == "raft") != (self.flow_weights is not None):
            wanted = "needs" if self.flow == "raft" else "has no"
            raise ValueError(f"flow={self.flow} {wanted} flow_weights")
        if self.flow == "store" and self.key != "first":
            raise ValueError("flow=store has vectors into frame 0 alone: key=first only")


class Estimates:
    """Depth, flow and tokens of a store's clips, as options ask for them.

    Attributes:
        key: index of the key frame.
        grid: cells down and across.
        flow_channels: 4, or 2 where there is no way back.
        arrays: the derived arrays: `flow_pair`, (T, 4 or 2, h, w), from each frame into the key
            frame and from the key frame into each, pixels; `depth_map`, (T, 1, h, w), in [-1, 1]
            over a clip; `key_frame`, (3, H, W), where that is not frame 0; `tokens`, (L, D).

    Raises:
        UserError: the store's vectors are asked for, and do not point into frame 0.
    """

    def __init__(self, store: CodecOptions, options: EstimateOptions) -> None:
        if options.flow == "store" and store.reference != "first":
            raise UserError(
                f"flow=store needs vectors into frame 0, not reference={store.reference}: make a"
                " store with `dvdm-preprocess reblock STORE --reference first`, or take flow=dis"
            )
        self.store, self.options = store, options
        self.key = 0 if options.key == "first" else store.frames // 2
        self.grid = grid_shape(*store.size, options.cell)
        self.flow_channels = 2 if options.flow == "store" else 4

    @property
    def arrays(self) -> tuple[Derived, ...]:
        """See the class."""
        store, options = self.store, self.options
        shape = (store.frames, self.flow_channels, *self.grid)
        arrays = [Derived("flow_pair", self._flow_identity, shape, self._flows)]
        if options.depth != "none":
            companion = options.depth_from if options.depth == "layers" else None
            shape = (store.frames, 1, *self.grid)
            arrays.append(
                Derived("depth_map", self._depth_identity, shape, self._depths, companion)
            )
        if self.key:
            frame = (3, *store.size)
            arrays.append(Derived("key_frame", lambda: str(self.key), frame, self._key_frames))
        if options.tokens is not None:
            arrays.append(
                Derived("tokens", self._tokens_identity, options.tokens_shape, self._tokens)
            )
        return tuple(arrays)

    @property
    def reads(self) -> tuple[str, ...]:
        """Names of the arrays that training reads."""
        first = () if self.key else ("first_frame",)
        return (*first, *self.asks, *(array.name for array in self.arrays))

    @property
    def asks(self) -> tuple[str, ...]:
        """See `Space.asks`."""
        return ("stride",) if self.options.stride else ()

    def key_frames(self, known: Known) -> Tensor:
        """The key frames, uint8, (B, 3, H, W): stored ones, or the frames given for them."""
        if "key_frame" in known:
            return known["key_frame"].round().to(torch.uint8)
        return known["first_frame"]

    def key_tokens(self, known: Known) -> dict[str, Tensor]:
        """`tokens`, cached or computed now, shape (B, L, D); nothing where there are none."""
        if self.options.tokens is None:
            return {}
        cached = known.get("tokens")
        found = self._encoder(self.key_frames(known)) if cached is None else cached
        return {"tokens": found.float()}

    def stride(self, known: Known) -> dict[str, Tensor]:
        """`stride`: binary logarithm and a one, shape (B, 2), zeros where it is not known.

        Nothing where the options do not ask for it.
        """
        if not self.options.stride:
            return {}
        stride = known.get("stride")
        if stride is None:
            return {"stride": torch.zeros(len(known["label"]), 2, device=known["label"].device)}
        # A clip by time may be one frame again and again.
        size = stride.clamp_min(_LEAST_STRIDE).log2()
        return {"stride": torch.cat([size, torch.ones_like(stride)], dim=1)}

    def _key_frames(self, batch: ClipBatch) -> Tensor:
        return stored_frames(batch, self.store)[:, self.key].float()

    def _tokens(self, batch: ClipBatch) -> Tensor:
        return self._encoder(stored_frames(batch, self.store)[:, self.key])

    def _flows(self, batch: ClipBatch) -> Tensor:
        """Flow both ways, shape (B, T, 4, h, w); exactly zero of the key frame itself."""
        if self.options.flow == "store":
            vectors = vectors_at(batch.motion, self.store, self.grid, self.options.cell)
            return F.pad(vectors, (0, 0, 0, 0, 0, 0, 1, 0))  # frame 0 does not move
        frames = stored_frames(batch, self.store)
        keys = frames[:, self.key : self.key + 1].expand_as(frames)
        pair = frames.flatten(0, 1), keys.flatten(0, 1)
        there, back = self._estimator(*pair), self._estimator(*pair[::-1])
        found = self._on_cells(torch.cat([there, back], dim=1)).unflatten(0, frames.shape[:2])
        found[:, self.key] = 0
        return found

    def _depths(self, batch: ClipBatch) -> Tensor:
        """Depth in [-1, 1] (equation 7), shape (B, T, 1, h, w); 0 where a clip's is flat."""
        frames = stored_frames(batch, self.store)
        pictures = frames.flatten(0, 1)
        if self.options.depth == "layers":
            depth = pictures.float().mean(dim=1, keepdim=True)
        else:
            depth = self._depth_model(pictures)
        depth = self._on_cells(depth).unflatten(0, frames.shape[:2])
        least, most = (bound(depth, dim=(1, 2, 3, 4), keepdim=True) for bound in _BOUNDS)
        flat = most - least < 1e-6
        return torch.where(flat, 0, 2 * (depth - least) / (most - least).clamp_min(1e-6) - 1)

    def _on_cells(self, field: Tensor) -> Tensor:
        """Means over cells of a field of pixels, (N, C, H, W) to (N, C, h, w)."""
        cell = self.options.cell
        below, right = (-side % cell for side in field.shape[-2:])
        return F.avg_pool2d(F.pad(field, (0, right, 0, below), mode="replicate"), cell)

    @cached_property
    def _estimator(self) -> FlowEstimator:
        path = self.options.flow_weights
        return DisFlow() if path is None else RaftFlow(path)

    @cached_property
    def _depth_model(self) -> DepthModel:
        assert self.options.depth_from is not None
        return DepthModel(self.options.depth_from)

    @cached_property
    def _encoder(self) -> ImageTokens:
        assert self.options.tokens is not None
        encoder = ImageTokens(self.options.tokens)
        if encoder.shape != self.options.tokens_shape:
            raise UserError(
                f"space.tokens {self.options.tokens!r} gives {encoder.shape[0]} tokens of"
                f" {encoder.shape[1]} numbers: give --set space.tokens_shape={list(encoder.shape)}"
            )
        return encoder

    def _flow_identity(self) -> str:
        options = self.options
        method = "store" if options.flow == "store" else self._estimator.identity
        return f"{method}-{options.key}-{options.cell}"

    def _depth_identity(self) -> str:
        source: Any = self.options.depth_from
        if self.options.depth == "layers":
            return f"layers-{open_path(source).attributes.plan_hash}-{self.options.cell}"
        return f"model-{self._depth_model.identity}-{self.options.cell}"

    def _tokens_identity(self) -> str:
        return f"{self._encoder.identity}-{self.options.key}"


_BOUNDS = (torch.amin, torch.amax)
