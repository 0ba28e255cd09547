"""MoVideo's second target space: latents given motion (Liang et al., ECCV 2024, section 3.3).

x_0 are the latents of all frames. The denoiser knows the key frame and its tokens and, cell by
cell, depth, the key frame's latents warped to every frame, and where they can be trusted
(equations 11 to 13). Motion is that of real clips in training, and that of the guide, a recipe of
the space `motion`, at sampling. The network takes no label: what a text asks for comes through
motion. In training the warped latents are zeros in some rows (`condition_dropout.warped`; 0.5 in
the paper), which keeps the network from copying bad motion.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, fields
from typing import Any, ClassVar, Literal

import torch
import torch.nn.functional as F
from pydantic.dataclasses import dataclass
from torch import Tensor, nn

from shared.errors import UserError
from shared.schema import CodecOptions
from train.data.clips import ClipBatch, normalise_frame, stored_frames
from train.models.autoencoder import Autoencoder
from train.models.layers import pad_to_blocks
from train.models.warp import warp
from train.options import STRICT
from train.spaces.base import Decoded, Derived, Drawing, Known, Statistics, to_grey_levels
from train.spaces.estimated import EstimateOptions, Estimates
from train.spaces.latent import LatentSpace, LatentSpaceOptions
from train.spaces.motion import MotionSpaceOptions, refuse_to_continue

ALPHA, BETA_PX = 0.01, 0.5
"""Of the mask's threshold; flows are in pixels of the frame."""


@dataclass(frozen=True, config=STRICT)
class GuidedSpaceOptions(EstimateOptions, LatentSpaceOptions):
    """Options of `GuidedSpace`; those of its motion are the same as its guide's."""

    kind: Literal["guided"] = "guided"  # type: ignore[assignment]
    warped: bool = True
    """Give the warped latents."""
    mask: bool = True
    """Give the mask, and clear the warped latents where it is 0."""

    def __post_init__(self) -> None:
        EstimateOptions.__post_init__(self)
        LatentSpaceOptions.__post_init__(self)
        if self.factor % self.cell:
            raise ValueError(
                f"cell {self.cell}: must divide factor, {self.factor}: motion is averaged over the"
                " cells of the latents"
            )
        if not self.warped and self.mask:
            raise ValueError("warped=false has no use for a mask: give mask=false, too")


class GuidedSpace(LatentSpace):
    """Latents of all frames, given depth, warped latents and mask."""

    options_type: ClassVar[type] = GuidedSpaceOptions
    generates = "latents of frames, given depth and flow"
    takes_decoder = True
    drawn: ClassVar[Mapping[str, Drawing]] = {"flow": "colours", "occlusion": "greys"}

    def __init__(
        self,
        store: CodecOptions,
        options: GuidedSpaceOptions,
        autoencoder: Autoencoder,
        statistics: Statistics | None = None,
    ) -> None:
        super().__init__(store, options, autoencoder, statistics)
        self.estimates, self.options = Estimates(store, options), options
        channels, _, *grid = self.shape
        self.shape = (channels, store.frames, *grid)

    @classmethod
    def check_guide(cls, options: Any, guide: Any) -> None:
        """Refuse a guide whose motion is another than that of training."""
        if not isinstance(guide, MotionSpaceOptions):
            raise ValueError("the guide of a recipe with space.kind=guided has space.kind=motion")
        own, other = asdict(options), asdict(guide)
        names = {field.name for field in fields(EstimateOptions)} - {"tokens", "tokens_shape"}
        if differing := sorted(name for name in names if own[name] != other[name]):
            raise ValueError(
                f"space.{differing[0]}={own[differing[0]]} and guide.space.{differing[0]}="
                f"{other[differing[0]]} must be the same"
            )

    @property
    def given_index(self) -> int:
        """Index of the key frame."""
        return self.estimates.key

    @property
    def reads(self) -> tuple[str, ...]:
        """Key frame, stride, latents, depth, flow, tokens."""
        return (*self.estimates.reads, "frame_latent")

    @property
    def asks(self) -> tuple[str, ...]:
        """The stride, where options ask for it."""
        return self.estimates.asks

    def derived(self) -> tuple[Derived, ...]:
        """Latents of all frames, `frame_latent`, and those of `Estimates.arrays`."""
        channels, frames, *grid = self.shape
        shape = (frames, channels, *grid)
        latents = Derived("frame_latent", lambda: self.identity, shape, self.compress)
        return (latents, *self.estimates.arrays)

    def compress(self, batch: ClipBatch) -> Tensor:
        """Latents of all frames, shape (B, T, K, h, w)."""
        frames = stored_frames(batch, self.store)
        return self.autoencoder.encode(self._pictures(frames)).unflatten(0, frames.shape[:2])

    def unscaled(self, known: Known) -> Tensor:
        """Latents, shape (B, K, T, h, w)."""
        return known["frame_latent"].float().transpose(1, 2)

    def conditions(self, known: Known) -> dict[str, Tensor]:
        """Key frame, as `first_frame`, tokens, stride; on x_0's grid `depth`, `warped`, `mask`.

        Raises:
            UserError: there is neither real motion nor a guide.
        """
        if "flow_pair" not in known:
            raise UserError(
                "this run generates from motion and has no guide: give --motion-from STORE"
            )
        frame = pad_to_blocks(normalise_frame(self.estimates.key_frames(known)), self.cell)
        found = {"label": torch.full_like(known["label"], -1), "first_frame": frame}
        found |= self.estimates.key_tokens(known) | self.estimates.stride(known)
        if self.options.depth != "none":
            depth = self._on_latents(known["depth_map"]).unflatten(0, (-1, self.store.frames))
            found["depth"] = depth.transpose(1, 2)  # (B, 1, T, h, w)
        if not self.options.warped:
            return found
        flows = self._on_latents(known["flow_pair"])  # (B T, 4 or 2, h, w)
        mask = self._mask(flows)
        warped = warp(self._key_latents(known), flows[:, :2] / self.cell)
        maps = {"warped": warped * mask} | ({"mask": mask} if self.options.mask else {})
        clips = (-1, self.store.frames)
        return found | {n: x.unflatten(0, clips).transpose(1, 2) for n, x in maps.items()}

    def example(self) -> dict[str, Tensor]:
        """With motion, and with tokens where there are any."""
        zeros = super().example()
        with zeros["first_frame"].device:
            shapes: dict[str, tuple[int, ...]] = {
                n: (self.store.frames, c, *self.estimates.grid) for n, c in self._motion()
            }
            if self.options.tokens is not None:
                shapes["tokens"] = self.options.tokens_shape
            return zeros | {name: torch.zeros(1, *shape) for name, shape in shapes.items()}

    def restore(self, raw: Tensor, known: Known) -> Decoded:
        """Decoded latents; the given key frame stays as it is.

        Parts of frames 1...T-1, to be drawn: `flow` in pixels, (B, T-1, 2, h, w), and `occlusion`,
        1 = visible in the key frame, (B, T-1, 1, h, w).
        """
        keys = self.estimates.key_frames(known)
        frames = to_grey_levels(self.decoded_by(self.decoder, raw, known).float())
        frames[:, self.estimates.key] = keys
        flows = known["flow_pair"].float()
        mask = self._mask(self._on_latents(flows)).unflatten(0, flows.shape[:2])
        return Decoded(frames, {"flow": flows[:, 1:, :2], "occlusion": mask[:, 1:]})

    def decoded_by(self, decoder: nn.Module | None, raw: Tensor, known: Known) -> Tensor:
        """Frames in [-1, 1] of unscaled x_0, shape (B, T, 3, H, W).

        Args:
            decoder: of whole clips, see `train.models.flow_decoder`; None decodes frame by frame.
            raw: unscaled x_0.
            known: flow among it.
        """
        latents = raw.transpose(1, 2)
        with torch.no_grad():
            frames = self.autoencoder.decode(latents.flatten(0, 1))  # (B T, 3, ., .)
        frames = frames.unflatten(0, latents.shape[:2])
        if decoder is not None:
            scaled = self.standardise(raw).transpose(1, 2)
            flows = known["flow_pair"][:, :, :2].float()
            frames = decoder(scaled, frames, flows, self.options.cell, self.estimates.key)
        return frames[..., : self.store.size.height, : self.store.size.width]

    def continue_from(self, decoded: Decoded, known: Known) -> dict[str, Tensor]:
        """The last frame becomes the key frame, where that is a clip's first."""
        refuse_to_continue(self.options)
        return super().continue_from(decoded, known)

    def known_from_guide(self, decoded: Decoded) -> dict[str, Tensor]:
        """Flow and depth."""
        return {name: decoded.parts[name] for name, _ in self._motion()}

    def _motion(self) -> list[tuple[str, int]]:
        """Names and channels of the arrays of motion."""
        names = [("flow_pair", self.estimates.flow_channels)]
        return names if self.options.depth == "none" else [*names, ("depth_map", 1)]

    def _key_latents(self, known: Known) -> Tensor:
        """Standardised latents of the key frame for every frame, shape (B T, K, h, w)."""
        if "frame_latent" in known:
            latents = known["frame_latent"][:, self.estimates.key].float()
        else:
            with torch.no_grad():
                latents = self.autoencoder.encode(
                    self._pictures(self.estimates.key_frames(known)[:, None])
                ).float()
        scaled = self.standardise(latents[:, :, None])[:, :, 0]
        return scaled.repeat_interleave(self.store.frames, dim=0)

    def _on_latents(self, field: Tensor) -> Tensor:
        """Means over the latents' cells of a field of motion: (B, T, C, ...) to (B T, C, h, w)."""
        factor = self.cell // self.options.cell
        cells = field.float().flatten(0, 1)
        down, across = (
            side * factor - cells.shape[axis]
            for side, axis in zip(self.shape[-2:], (-2, -1), strict=True)
        )
        return F.avg_pool2d(F.pad(cells, (0, across, 0, down), mode="replicate"), factor)

    def _mask(self, flows: Tensor) -> Tensor:
        """m of equation 11, 1 where both flows agree, (N, 4, h, w) to (N, 1, h, w).

        All ones where there is no flow back, or no mask is asked for.
        """
        if flows.shape[1] == 2 or not self.options.mask:
            return torch.ones_like(flows[:, :1])
        return visible(flows, self.cell)


def visible(flows: Tensor, cell: int) -> Tensor:
    """Equation 11: where a frame's flow and the key frame's flow back cancel out.

    Args:
        flows: into the key frame and back, pixels, shape (N, 4, h, w).
        cell: pixels that a cell of them covers, in each direction.

    Returns:
        1 where visible, else 0, float, shape (N, 1, h, w).
    """
    there, back = flows.split(2, dim=1)
    error = (there + warp(back, there / cell)).norm(dim=1, keepdim=True)
    lengths = there.norm(dim=1, keepdim=True) + back.norm(dim=1, keepdim=True)
    return (error < ALPHA * lengths + BETA_PX).float()
