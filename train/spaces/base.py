"""The interface of target spaces: in what diffusion runs. The systems differ in nothing else.

Shapes: B clips, T frames, H x W pixels; x_0 of one clip has any shape, channels first.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping
from copy import copy
from dataclasses import dataclass, replace
from typing import Any, ClassVar, Literal, Self

import torch
from torch import Tensor, nn

from shared.schema import LARGE, CodecOptions
from train.data.batches import BatchSlice
from train.data.clips import ClipBatch, normalise_frame
from train.models.autoencoder import Autoencoder, Coded, weights_hash
from train.models.denoiser import DenoiserInput
from train.models.layers import constant, pad_to_blocks

Known = Mapping[str, Tensor]
"""Arrays of B clips by name: stored ones (`first_frame`, `label` ...) and derived ones."""

Drawing = Literal["arrows", "colours", "greys"]
"""Ways to draw a decoded part: `arrows` over the frames, for vectors of blocks; `colours`, for
flow in pixels, (B, T-1, 2, h, w); `greys`, for maps in [0, 1], (B, T-1, 1, h, w)."""


@dataclass(frozen=True)
class Decoded:
    """A generated clip and the parts it was made of.

    Attributes:
        frames: uint8, shape (B, T, 3, H, W), frame 0 being the given one.
        parts: further arrays that the space can show, by name, with an entry for each frame, shape
            (B, T, ...), or none for frame 0, (B, T-1, ...), where a longer video's next clip
            begins with a frame that is there (`Space.adds` < T). Longer videos join them as frames.
        raw: unscaled x_0 that it was decoded from, shape (B, ...).
    """

    frames: Tensor
    parts: dict[str, Tensor]
    raw: Tensor | None = None


@dataclass(frozen=True)
class Statistics:
    """Mean and standard deviation of each channel of x_0 over the training split."""

    mean: tuple[float, ...]
    std: tuple[float, ...]

    @classmethod
    def identity(cls, channels: int) -> Statistics:
        """Zero mean and unit deviation: scaling by them changes nothing."""
        return cls((0.0,) * channels, (1.0,) * channels)

    @classmethod
    def of(cls, chunks: Iterable[Tensor]) -> Statistics:
        """Statistics of unscaled x_0 in chunks of shape (N, C, ...).

        A constant channel gets deviation 1.
        """
        count, total, squares = 0, torch.zeros(()), torch.zeros(())
        for chunk in chunks:
            rows = chunk.transpose(0, 1).flatten(1).double().cpu()  # (C, N ...)
            count += rows.shape[1]
            total, squares = total + rows.sum(1), squares + rows.square().sum(1)
        mean = total / count
        std = (squares / count - mean.square()).clamp_min(0).sqrt()
        std = torch.where(std > 1e-6, std, torch.ones_like(std))
        return cls(tuple(mean.tolist()), tuple(std.tolist()))


@dataclass(frozen=True)
class Derived:
    """An array computed once from every clip of a store, and cached next to it.

    Attributes:
        name: of the array.
        identity: gives a hash of all it depends on besides the clips, part of the cache's name.
        shape: of one clip's entry.
        compute: from clips to float entries, shape (B, *shape).
        companion: path of another store of the same clips, which `compute` takes instead of them.
    """

    name: str
    identity: Callable[[], str]
    shape: tuple[int, ...]
    compute: Callable[[ClipBatch], Tensor]
    companion: str | None = None


class Space(ABC):
    """A target space, as the trainer, the samplers, evaluation and reports use it.

    Built as `type(store, options, autoencoder, statistics)`. A new space is one file with such a
    class and a line in `train.spaces.SPACES`.

    Attributes:
        options_type: dataclass of its options; its field `kind` names the space.
        needs_autoencoder: whether an autoencoder has to be trained first.
        coded: what that may code.
        has_prediction: whether frames are decoded from a prediction, which a refining network or an
            autoencoder can condition on.
        takes_decoder: whether a decoder of whole clips can be trained behind it.
        bounded: whether unscaled x_0 lies in [-1, 1], so that a sampler can keep it there.
        generates: x_0 in words, for reports.
        restored_from: the same of the parts that real clips are restored from.
        drawn: how reports draw decoded parts, by name; see `draws`.
        continues: what the next clip of a longer video is conditioned on, in words.
        store: options of the store whose clips it encodes.
        shape: of one clip's x_0, channels first.
        cell: pixels that a cell of x_0's grid covers, in each direction.
        autoencoder: the trained autoencoder, if any.
        statistics: of the training split; encoding scales by them, decoding undoes it.
        refiner: a network after the decoder, if one was trained.
        decoder: a decoder of whole clips, if one was trained.
    """

    options_type: ClassVar[type]
    needs_autoencoder: ClassVar[bool] = False
    coded: ClassVar[tuple[Coded, ...]] = ("pictures",)
    has_prediction: ClassVar[bool] = False
    takes_decoder: ClassVar[bool] = False
    bounded: ClassVar[bool] = False
    generates: ClassVar[str]
    restored_from: ClassVar[str]
    drawn: ClassVar[Mapping[str, Drawing]] = {}
    continues: ClassVar[str] = "each from the last frame of the one before"

    def __init__(
        self,
        store: CodecOptions,
        shape: tuple[int, ...],
        cell: int,
        autoencoder: Autoencoder | None = None,
        statistics: Statistics | None = None,
    ) -> None:
        self.store, self.shape, self.cell = store, shape, cell
        self.autoencoder = autoencoder
        self.statistics = statistics or Statistics.identity(shape[0])
        self.refiner: nn.Module | None = None
        self.decoder: nn.Module | None = None

    # To be encoded and decoded.

    @abstractmethod
    def unscaled(self, known: Known) -> Tensor:
        """x_0 before it is standardised, float32, shape (B, *shape), from the arrays of `reads`."""

    @abstractmethod
    def restore(self, raw: Tensor, known: Known) -> Decoded:
        """Inverse of `unscaled`, as far as the space allows; `known` is that of sampling."""

    @property
    def reads(self) -> tuple[str, ...]:
        """Names of the arrays that a training step reads, `label` apart."""
        return LARGE

    @property
    def reads_before(self) -> tuple[str, ...]:
        """Names of derived arrays that it also reads of the clip before, as `NAME_before`.

        That clip ends in the same video where the clip begins; without one they are zeros.
        """
        return ()

    def derived(self) -> tuple[Derived, ...]:
        """Arrays that the stage `encode` computes once from every clip."""
        return ()

    @property
    def draws(self) -> Mapping[str, Drawing]:
        """Those of `drawn` that decoded clips have with these options."""
        return self.drawn

    def drawn_parts(self, decoded: Decoded) -> dict[str, Tensor]:
        """Parts that reports draw, by name."""
        return {name: decoded.parts[name] for name in self.draws}

    def moved(self, parts: Mapping[str, Tensor], first_frame: Tensor) -> Tensor | None:
        """Clips that motion alone makes of the first frames; None where the space has no motion.

        Args:
            parts: of decoded clips, those of `draws` at least.
            first_frame: uint8, shape (B, 3, H, W).

        Returns:
            uint8, shape (B, T, 3, H, W), frame 0 as given.
        """
        return None

    @property
    def identity(self) -> str | None:
        """Hash of all that x_0 depends on besides clips and options; None where nothing."""
        return None

    @torch.no_grad()
    def encode(self, batch: ClipBatch) -> Tensor:
        """Standardised x_0 of stored clips, float32, shape (B, *shape), without companions."""
        derived = {array.name: array.compute(batch) for array in self.derived()}
        return self.target(vars(batch) | derived)

    def target(self, known: Known) -> Tensor:
        """Standardised x_0 from the arrays of `reads`."""
        return self.standardise(self.unscaled(known))

    @torch.no_grad()
    def decode(self, x0: Tensor, known: Known) -> Decoded:
        """Video from x_0 and what is known at sampling, uint8 `first_frame` among it."""
        raw = self.raw(x0.float())
        return replace(self.restore(raw, known), raw=raw)

    def standardise(self, raw: Tensor) -> Tensor:
        """Scale x_0 by the statistics; inverse of `raw`."""
        mean, std = self._statistics(raw.device)
        return (raw - mean) / std

    def raw(self, x0: Tensor) -> Tensor:
        """Undo `standardise`."""
        mean, std = self._statistics(x0.device)
        return x0 * std + mean

    def _statistics(self, device: torch.device) -> tuple[Tensor, Tensor]:
        mean, std = (
            constant(values, device).view(-1, *(1,) * (len(self.shape) - 1))  # (C, 1...)
            for values in (self.statistics.mean, self.statistics.std)
        )
        return mean, std

    # Conditions of the denoiser.

    @property
    def takes_first_frame(self) -> bool:
        """True if clips begin with a given frame; False: they are generated from noise alone."""
        return True

    @property
    def given_index(self) -> int:
        """Index of the given frame within a clip."""
        return 0

    @property
    def asks(self) -> tuple[str, ...]:
        """Names of stored arrays that sampling may be given besides; conditions are null without.

        They are among `reads`.
        """
        return ()

    def drawn_known(
        self, known: dict[str, Tensor], generators: list[torch.Generator]
    ) -> dict[str, Tensor]:
        """Known arrays of training clips after random choices among conditions; here as they are.

        Args:
            known: arrays of `reads` and `reads_before`, and `label`.
            generators: one a clip.
        """
        return known

    def conditions(self, known: Known) -> dict[str, Tensor]:
        """Conditions of clips, from the arrays of `reads` in training, from what is known else.

        Here `label`, int64, -1 = none, and `first_frame`, float in [-1, 1], padded to whole cells.
        """
        frame = pad_to_blocks(normalise_frame(known["first_frame"]), self.cell)
        return {"label": known["label"], "first_frame": frame}

    @property
    def denoiser_input(self) -> DenoiserInput:
        """Shapes of x_0 and of `conditions`, from which a denoiser is built."""
        zeros = self.conditions(self.example())
        shapes = tuple((name, tuple(value.shape[1:])) for name, value in zeros.items())
        return DenoiserInput(self.shape, self.cell, shapes)

    def example(self) -> dict[str, Tensor]:
        """Zeros in place of what is known of one clip at sampling, where the autoencoder is."""
        weights = () if self.autoencoder is None else self.autoencoder.parameters()
        with next((weight.device for weight in weights), torch.device("cpu")):
            pixels = torch.zeros(1, 3, *self.store.size, dtype=torch.uint8)
            return {"first_frame": pixels, "label": torch.zeros(1, dtype=torch.long)}

    # Videos longer than a clip, and conditions that another recipe generates.

    @property
    def adds(self) -> int:
        """Frames that the next clip of a longer video adds."""
        return self.store.frames - 1

    def continue_from(self, decoded: Decoded, known: Known) -> dict[str, Tensor]:
        """Known arrays of a longer video's next clip; here the last frame becomes the first."""
        return {**known, "first_frame": decoded.frames[:, -1]}

    def known_from_guide(self, decoded: Decoded) -> dict[str, Tensor]:
        """Arrays that a sample of the recipe's guide makes known; here its parts."""
        return decoded.parts

    @classmethod
    def check_guide(cls, options: Any, guide: Any) -> None:
        """Refuse a guide whose space does not go with this one.

        Args:
            options: of this space.
            guide: options of the guide's space.

        Raises:
            ValueError: they do not go together.
        """
        return

    # Training of the autoencoder.

    @classmethod
    def latent_cell(cls, options: Any, store: CodecOptions) -> int:
        """Pixels that a latent of the autoencoder covers, in each direction."""
        return 1

    def examples(self, batch: ClipBatch, generators: list[torch.Generator]) -> Any:
        """Examples that the autoencoder learns from; `generators`: one a clip, for random draws."""
        raise NotImplementedError(f"{type(self).__name__} has no autoencoder")

    def loss(
        self, network: Any, examples: Any, part: BatchSlice, generators: list[torch.Generator]
    ) -> dict[str, Tensor]:
        """Losses of `network`, which wraps or is the autoencoder, by name, `loss` to be minimised.

        Args:
            network: the autoencoder in training.
            examples: as `examples` gives them.
            part: the clips' rows in the step; knows the step.
            generators: one a clip.
        """
        raise NotImplementedError(f"{type(self).__name__} has no autoencoder")

    def with_statistics(self, statistics: Statistics) -> Self:
        """The same space with other statistics."""
        changed = copy(self)
        changed.statistics = statistics
        return changed

    def with_refiner(self, refiner: nn.Module | None) -> Self:
        """The same space with a refining network after its decoder."""
        changed = copy(self)
        changed.refiner = refiner
        return changed

    def with_decoder(self, decoder: nn.Module | None) -> Self:
        """The same space with a decoder of whole clips."""
        changed = copy(self)
        changed.decoder = decoder
        return changed


class CompressedSpace(Space):
    """A space of pictures compressed by an autoencoder, whose latents are cached as `latent`.

    Attributes:
        autoencoder: one latent vector a cell.
    """

    needs_autoencoder = True
    autoencoder: Autoencoder

    @abstractmethod
    def pictures(
        self, batch: ClipBatch, *, closed_loop: bool = False
    ) -> tuple[Tensor, Tensor | None]:
        """Pictures that the autoencoder learns from, shape (N, 3, h * cell, w * cell).

        Args:
            batch: of clips; N / B pictures of each, one clip's side by side.
            closed_loop: predicted from frames decoded by the current autoencoder, in spaces that
                have such a loop; else from stored frames.

        Returns:
            The pictures, and the autoencoder's context for them, if it has any.
        """

    @abstractmethod
    def compress(self, batch: ClipBatch) -> Tensor:
        """Latents of stored clips, shape (B, T-1, K, h, w)."""

    @property
    def identity(self) -> str:
        """Hash of the autoencoder's weights."""
        return weights_hash(self.autoencoder)

    def derived(self) -> tuple[Derived, ...]:
        """The latents."""
        grid = self.shape[-2:]
        shape = (self.store.frames - 1, self.autoencoder.latent_channels, *grid)
        return (Derived("latent", lambda: self.identity, shape, self.compress),)

    def examples(
        self, batch: ClipBatch, generators: list[torch.Generator]
    ) -> tuple[Tensor, Tensor | None]:
        """Open-loop `pictures`."""
        return self.pictures(batch)

    def loss(
        self,
        network: Autoencoder,
        examples: tuple[Tensor, Tensor | None],
        part: BatchSlice,
        generators: list[torch.Generator],
    ) -> dict[str, Tensor]:
        """The autoencoder's own loss; the pictures of a clip share its generator."""
        picture, context = examples
        each = len(picture) // len(generators)
        return network.loss(picture, context, [g for g in generators for _ in range(each)])


def to_grey_levels(frames: Tensor) -> Tensor:
    """Grey levels, uint8, of frames in [-1, 1]."""
    return ((frames + 1) * 127.5).round().clamp(0, 255).to(torch.uint8)


def clip_batch(known: Known) -> ClipBatch:
    """The stored arrays of clips."""
    return ClipBatch(**{name: known[name] for name in (*LARGE, "label")})
