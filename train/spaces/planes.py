"""PVDM's target space: a whole clip as three planes (Yu et al., CVPR 2023, section 3).

x_0 are the planes of the autoencoder, flattened and joined: C channels of H' W' + S W' + S H'
positions. All frames are generated. The denoiser is conditioned on the planes of the clip before,
or on zeros, the null condition; so a video goes on clip after clip (algorithm 1).

PVDM generates from noise alone. With `first_frame`, an addition of ours for the task of this
project, the clip before may also be the first frame held still.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Annotated, Literal, NamedTuple

import torch
from pydantic import Field
from pydantic.dataclasses import dataclass
from torch import Tensor

from shared.schema import CodecOptions
from train.data.batches import BatchSlice
from train.data.clips import ClipBatch, normalise_frame, stored_frames
from train.models.autoencoder import weights_hash
from train.models.denoiser import DenoiserInput
from train.models.planes_autoencoder import PlanesAutoencoder
from train.options import STRICT
from train.spaces.base import Decoded, Derived, Known, Space, Statistics, to_grey_levels


@dataclass(frozen=True, config=STRICT)
class PlanesSpaceOptions:
    """Options of `PlanesSpace`."""

    kind: Literal["planes"] = "planes"
    first_frame: Annotated[float, Field(ge=0, le=1)] = 0.0
    """Probability in training that the clip's first frame, held still, stands for the clip before;
    always where there is none. 0, as published: clips are not conditioned on a frame."""


class ClipExamples(NamedTuple):
    """Clips in [-1, 1], (B, T, 3, H, W), and the index of a random frame of each, (B,)."""

    clips: Tensor
    frame: Tensor


class PlanesSpace(Space):
    """Planes of whole clips."""

    options_type = PlanesSpaceOptions
    needs_autoencoder = True
    coded = ("clips",)
    bounded = True
    generates = "three planes of the whole clip"
    restored_from = "three planes"
    continues = "each from the planes of the one before"
    autoencoder: PlanesAutoencoder

    def __init__(
        self,
        store: CodecOptions,
        options: PlanesSpaceOptions,
        autoencoder: PlanesAutoencoder,
        statistics: Statistics | None = None,
    ) -> None:
        planes = autoencoder.grid.planes
        length = sum(rows * columns for rows, columns in planes)
        shape = (autoencoder.latent_channels, length)
        super().__init__(store, shape, autoencoder.block, autoencoder, statistics)
        self.options = options

    @property
    def identity(self) -> str:
        """Hash of the encoder's weights: neither decoder nor critics are in x_0."""
        return weights_hash(self.autoencoder.encoder)

    @property
    def takes_first_frame(self) -> bool:
        """True if clips begin with a given frame."""
        return self.options.first_frame > 0

    @property
    def reads(self) -> tuple[str, ...]:
        """First frame and planes, and those of the first frame held still where they are used."""
        return ("first_frame", "planes", *(("still",) if self.takes_first_frame else ()))

    @property
    def reads_before(self) -> tuple[str, ...]:
        """Planes."""
        return ("planes",)

    def derived(self) -> tuple[Derived, ...]:
        """`planes` and, where they are used, those of the first frame held still, `still`."""
        planes = Derived("planes", lambda: self.identity, self.shape, self._planes)
        still = Derived(
            "still", lambda: self.identity, self.shape, lambda batch: self._still(batch.first_frame)
        )
        return (planes, still) if self.takes_first_frame else (planes,)

    def drawn_known(
        self, known: dict[str, Tensor], generators: list[torch.Generator]
    ) -> dict[str, Tensor]:
        """With `before`: of each row the clip before, or the first frame held still."""
        before = known["planes_before"].float()
        if not self.takes_first_frame:
            return {**known, "before": before}
        draws = torch.cat([torch.rand(1, generator=g, device=g.device) for g in generators])
        none = (before == 0).flatten(1).all(dim=1)
        still = (none | (draws < self.options.first_frame)).view(-1, 1, 1)
        return {**known, "before": torch.where(still, known["still"].float(), before)}

    def conditions(self, known: Known) -> dict[str, Tensor]:
        """Label, and `before`: unscaled planes of the clip before, (B, C, L), zeros for none.

        At sampling a longer video's next clip knows them; its first clip has none, or the first
        frame held still.
        """
        if "before" in known:
            before = known["before"].float()
        elif self.takes_first_frame:
            still = known["still"] if "still" in known else self._still(known["first_frame"])
            before = still.float()
        else:
            rows = len(known["label"])
            before = known["first_frame"].new_zeros(rows, *self.shape, dtype=torch.float32)
        return {"label": known["label"], "before": before}

    @property
    def denoiser_input(self) -> DenoiserInput:
        """With the shapes of the planes."""
        return replace(super().denoiser_input, parts=self.autoencoder.grid.planes)

    def example(self) -> dict[str, Tensor]:
        """With the planes of the first frame held still, where they are used: training has them."""
        zeros = super().example()
        if not self.takes_first_frame:
            return zeros
        return {**zeros, "still": zeros["first_frame"].new_zeros(1, *self.shape, dtype=torch.float)}

    def unscaled(self, known: Known) -> Tensor:
        """Joined planes, shape (B, C, L)."""
        return known["planes"].float()

    def restore(self, raw: Tensor, known: Known) -> Decoded:
        """All frames from the planes; the given frame, if there is one, stays as it is."""
        frames = to_grey_levels(self.autoencoder.decode(raw.clamp(-1, 1)).float())
        if self.takes_first_frame and "before" not in known:
            frames[:, 0] = known["first_frame"]
        return Decoded(frames, {})

    @property
    def adds(self) -> int:
        """All frames of a clip."""
        return self.store.frames

    def continue_from(self, decoded: Decoded, known: Known) -> dict[str, Tensor]:
        """The planes that the clip was decoded from are the next one's condition."""
        assert decoded.raw is not None
        return {**super().continue_from(decoded, known), "before": decoded.raw}

    def pictures(self, batch: ClipBatch, *, closed_loop: bool = False) -> tuple[Tensor, None]:
        """Whole clips in [-1, 1], that the autoencoder's first weights are fitted to."""
        return normalise_frame(stored_frames(batch, self.store)), None

    def examples(self, batch: ClipBatch, generators: list[torch.Generator]) -> ClipExamples:
        """Whole clips, and a frame of each drawn by its generator."""
        clips, _ = self.pictures(batch)
        frames = [
            torch.randint(clips.shape[1], (1,), generator=g, device=g.device) for g in generators
        ]
        return ClipExamples(clips, torch.cat(frames).to(clips.device))

    def loss(
        self, network: PlanesAutoencoder, examples: ClipExamples, part: BatchSlice,
        generators: list[torch.Generator],
    ) -> dict[str, Tensor]:  # fmt: skip
        """See `PlanesAutoencoder.clip_loss`."""
        return network.clip_loss(*examples, step=part.step)

    def _planes(self, batch: ClipBatch) -> Tensor:
        with torch.no_grad():
            return self.autoencoder.encode(self.pictures(batch)[0])

    @torch.no_grad()
    def _still(self, first_frame: Tensor) -> Tensor:
        """Planes of first frames (B, 3, H, W) held still for a whole clip."""
        frame = normalise_frame(first_frame)[:, None]
        return self.autoencoder.encode(frame.expand(-1, self.store.frames, -1, -1, -1))
