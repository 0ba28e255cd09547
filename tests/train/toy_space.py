"""A system of its own, as unlike the others as the seam allows: colours of frames, without a grid.

x_0 of `colours` are latents of the mean colour of frames 1...T-1, shape (3, T-1), by an autoencoder
that sees colours, not pictures. Its denoiser is a small network without convolutions; besides label
and first frame it takes the clip's overall change of colour, which may be null. That change is what
the guide, the space `change`, generates. Mean colours are derived arrays, cached like latents.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Literal

import pytest
import torch
from pydantic.dataclasses import dataclass
from torch import Tensor, nn

from shared.conventions import FrameSize
from shared.schema import CodecOptions
from train.data.batches import BatchSlice
from train.data.clips import ClipBatch, stored_frames
from train.diffusion.noise import NoiseOptions
from train.diffusion.samplers import SamplerOptions
from train.models import AUTOENCODERS, DENOISERS
from train.models.autoencoder import Autoencoder, weights_hash
from train.models.denoiser import Conditions, Denoiser, DenoiserInput
from train.options import STRICT
from train.recipe import Recipe
from train.spaces import SPACES, Decoded, Space, Statistics
from train.spaces.base import Derived, Known
from train.trainer.schedule import TrainingOptions

KIND_OF_CONDITION = "change"
WIDTH = 8


@dataclass(frozen=True, config=STRICT)
class ColourCoderOptions:
    """Options of `ColourCoder`."""

    kind: Literal["toy_colours"] = "toy_colours"


class ColourCoder(Autoencoder):
    """A linear map of colours, (..., 3) to (..., 3), and its learned inverse."""

    options_type = ColourCoderOptions
    latent_channels = 3

    def __init__(self, options: ColourCoderOptions, block: int, store: CodecOptions) -> None:
        super().__init__()
        self.there, self.back = nn.Linear(3, 3), nn.Linear(3, 3)
        self.seen_steps: list[int] = []

    def encode(self, picture: Tensor, context: Tensor | None = None) -> Tensor:
        return self.there(picture)

    def decode(self, latent: Tensor, context: Tensor | None = None) -> Tensor:
        return self.back(latent)

    def example_pass(
        self, size: FrameSize, frames: int
    ) -> tuple[tuple[Tensor, ...], tuple[Tensor, ...], int]:
        colours = torch.zeros(1, frames - 1, 3)
        return (colours,), (colours,), 1


@dataclass(frozen=True, config=STRICT)
class ToyDenoiserOptions:
    """Options of `ToyDenoiser`."""

    kind: Literal["toy_mlp"] = "toy_mlp"
    width: int = WIDTH


class ToyDenoiser(Denoiser):
    """Two linear layers over everything, flattened."""

    options_type = ToyDenoiserOptions

    def __init__(
        self,
        options: ToyDenoiserOptions,
        shapes: DenoiserInput,
        labels: int,
        texts: Tensor | None = None,
    ) -> None:
        super().__init__()
        values = torch.zeros(shapes.x0).numel()
        self.names = [n for n, shape in shapes.conditions if n != "label" and len(shape) == 1]
        further = sum(dict(shapes.conditions)[name][0] for name in self.names)
        self.label = nn.Embedding(labels + 1, options.width)
        self.body = nn.Sequential(
            nn.Linear(values + 1 + 3 + further + options.width, options.width),
            nn.SiLU(),
            nn.Linear(options.width, values),
        )

    def forward(self, noisy: Tensor, t: Tensor, conditions: Conditions) -> Tensor:
        label = torch.where(
            conditions["label"] < 0, len(self.label.weight) - 1, conditions["label"]
        )
        frame = conditions["first_frame"].flatten(2).mean(2)  # (B, 3)
        known = [conditions[name] for name in self.names]
        inputs = [noisy.flatten(1), t[:, None] / 1000, frame, self.label(label), *known]
        return self.body(torch.cat(inputs, dim=1)).view(noisy.shape)


def mean_colours(batch: ClipBatch, store: CodecOptions) -> Tensor:
    """Mean colour of every frame in [0, 1], shape (B, T, 3)."""
    return stored_frames(batch, store).float().mean(dim=(-2, -1)) / 255


def of_frames(value: Tensor, frames: int) -> Tensor:
    """A value of each clip, (B, ...), as one of each of its frames, (B, T, ...)."""
    return value[:, None].expand(-1, frames, *value.shape[1:])


@dataclass(frozen=True, config=STRICT)
class ChangeOptions:
    """Options of `ChangeSpace`."""

    kind: Literal["toy_change"] = "toy_change"


class ToySpace(Space):
    """Reads the mean colours of frames, which it derives from clips."""

    @property
    def reads(self) -> tuple[str, ...]:
        return ("first_frame", "colour")

    def derived(self) -> tuple[Derived, ...]:
        shape = (self.store.frames, 3)
        return (Derived("colour", lambda: "mean", shape, lambda b: mean_colours(b, self.store)),)


class ChangeSpace(ToySpace):
    """x_0 is the change of colour from the first frame to the last, shape (3,)."""

    options_type = ChangeOptions
    generates = "the change of colour"
    restored_from = "the change of colour"

    def __init__(
        self,
        store: CodecOptions,
        options: ChangeOptions,
        autoencoder: None = None,
        statistics: Statistics | None = None,
    ) -> None:
        super().__init__(store, (3,), max(store.size), statistics=statistics)

    def unscaled(self, known: Known) -> Tensor:
        return (known["colour"][:, -1] - known["colour"][:, 0]).float()

    def restore(self, raw: Tensor, known: Known) -> Decoded:
        still = known["first_frame"][:, None].expand(-1, self.store.frames, -1, -1, -1)
        return Decoded(still, {"change": of_frames(raw, self.store.frames)})


@dataclass(frozen=True, config=STRICT)
class ColoursOptions:
    """Options of `ColoursSpace`."""

    kind: Literal["toy_colours"] = "toy_colours"


class ColoursSpace(ToySpace):
    """x_0 are latents of colours of frames 1...T-1, shape (3, T-1): no grid at all."""

    options_type = ColoursOptions
    needs_autoencoder = True
    generates = "colours of frames"
    restored_from = "colours"
    continues = "each from the colours of the one before"
    autoencoder: ColourCoder

    def __init__(
        self,
        store: CodecOptions,
        options: ColoursOptions,
        autoencoder: ColourCoder,
        statistics: Statistics | None = None,
    ) -> None:
        shape = (3, store.frames - 1)
        super().__init__(store, shape, max(store.size), autoencoder, statistics)

    @property
    def identity(self) -> str:
        return weights_hash(self.autoencoder)

    def conditions(self, known: Known) -> dict[str, Tensor]:
        """In training the change of real clips; at sampling the guide's, or none: null."""
        plain = super().conditions(known)
        if "colour" in known:
            change = (known["colour"][:, -1] - known["colour"][:, 0]).float()
        else:
            change = known.get("change", torch.zeros(len(known["label"]), 3))
        return {**plain, KIND_OF_CONDITION: change.to(plain["first_frame"])}

    def unscaled(self, known: Known) -> Tensor:
        with torch.no_grad():
            return self.autoencoder.encode(known["colour"][:, 1:].float()).mT  # (B, 3, T-1)

    def restore(self, raw: Tensor, known: Known) -> Decoded:
        """First frame, shifted in colour: parts `colours`, `change` (B, T, 3)."""
        colours = self.autoencoder.decode(raw.mT)  # (B, T-1, 3)
        first = known["first_frame"].float()
        given = first.mean(dim=(-2, -1))[:, None]  # (B, 1, 3)
        shift = 255 * colours - given
        frames = (first[:, None] + shift[..., None, None]).round().clamp(0, 255).to(torch.uint8)
        whole = torch.cat([known["first_frame"][:, None], frames], dim=1)
        used = self.conditions(known)[KIND_OF_CONDITION]
        return Decoded(
            whole,
            {
                "colours": torch.cat([given / 255, colours], dim=1),
                "change": of_frames(used, self.store.frames),
            },
        )

    @property
    def adds(self) -> int:
        """All frames of a clip: the next one does not repeat a frame."""
        return self.store.frames

    def continue_from(self, decoded: Decoded, known: Known) -> dict[str, Tensor]:
        change = self.known_from_guide(decoded)
        return {**super().continue_from(decoded, known), **change}

    def known_from_guide(self, decoded: Decoded) -> dict[str, Tensor]:
        """A part is the same in all frames of a clip."""
        return {"change": decoded.parts["change"][:, 0]}

    def examples(self, batch: ClipBatch, generators: list[torch.Generator]) -> Any:
        """A random frame's colour of each clip."""
        colours = mean_colours(batch, self.store)
        drawn = [int(torch.randint(colours.shape[1], (), generator=g)) for g in generators]
        return colours[torch.arange(len(colours)), drawn]

    def loss(
        self, network: Any, examples: Any, part: BatchSlice, generators: list[torch.Generator]
    ) -> dict[str, Tensor]:
        """Squared error of colours with noise that fades with the steps."""
        noise = torch.stack([torch.randn(3, generator=g) for g in generators])
        network.seen_steps.append(part.step)
        noisy = examples + 0.1 / (1 + part.step) * noise
        error = (network.decode(network.encode(noisy)) - examples).square().mean()
        return {"loss": error}


SHORT = TrainingOptions(
    steps=6, batch=4, learning_rate=1e-2, warmup=1, log_every=1, checkpoint_every=3, keep=9
)


def recipe(*, guided: bool = True) -> Recipe:
    common: dict[str, Any] = {
        "denoiser": ToyDenoiserOptions(),
        "noise": NoiseOptions(prediction="v"),
        "sampler": SamplerOptions(name="dpm++", steps=3),
        "diffusion_training": SHORT,
        "autoencoder_training": SHORT,
    }
    guide = Recipe(name="toy_guide", space=ChangeOptions(), autoencoder=None, **common)
    return Recipe(
        name="toy",
        space=ColoursOptions(),
        autoencoder=ColourCoderOptions(),
        condition_dropout={KIND_OF_CONDITION: 0.5},
        guide=guide if guided else None,
        **common,
    )


@contextmanager
def registered() -> Iterator[None]:
    """The toy system in the tables: a line each, and nothing else."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(SPACES, "toy_colours", ColoursSpace)
        patch.setitem(SPACES, "toy_change", ChangeSpace)
        patch.setitem(DENOISERS, "toy_mlp", ToyDenoiser)
        patch.setitem(AUTOENCODERS, "toy_colours", ColourCoder)
        yield
