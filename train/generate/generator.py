"""A trained run as a generator: from first frame, label and seed to a clip or a longer video."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import ValidationError
from torch import Tensor

from shared.errors import UserError
from shared.schema import StoreAttributes
from shared.store.reader import ClipReader, open_path
from train.data.batches import generator_for
from train.data.clips import Clips, check_same_store
from train.diffusion.objective import Denoise, guided
from train.diffusion.samplers import bounded, sample
from train.models import build_denoiser
from train.models.denoiser import Denoiser
from train.models.refiner import Refiner, RefinerOptions
from train.models.text_encoder import TextIdentity, text_condition
from train.recipe import Recipe, recipe_from_dict
from train.run import RunFolder
from train.spaces import Decoded, Space
from train.stages.decoder import load_decoder
from train.stages.derived import stored_and_derived
from train.stages.diffusion import saved_fields
from train.stages.encode import load_space
from train.trainer.checkpoint import load_config, load_trained
from train.trainer.monitor import autocast

BATCH = 8
"""Clips generated together; no clip depends on the others."""

_GUIDE = 1  # of the guide's noise, which is none of the clip's


@dataclass(frozen=True)
class Generator:
    """A trained run: space, networks and choices.

    Attributes:
        store: attributes of the store it was trained on.
        space: decodes x_0.
        network: the averaged denoiser.
        recipe: choices that matter at sampling.
        text_encoder: the encoder of the label texts, if any.
        device: of the networks.
        guide: generates further conditions first, where the recipe has a guide.
    """

    store: StoreAttributes
    space: Space
    network: Denoiser
    recipe: Recipe
    text_encoder: TextIdentity | None
    device: torch.device
    guide: Generator | None = None

    def label_index(self, text: str, encoder: str | None = None) -> int:
        """The `label` that stands for a text: see `train.models.text_encoder.text_condition`."""
        return text_condition(self.network, text, self.store.labels, self.text_encoder, encoder)

    def steps(self, clip: int = 0) -> int:
        """Sampling steps of a batch of clips, the guide's included; `clip` as in a call."""
        own = self.recipe.sampler.of_clip(clip).steps
        return own + (self.guide.steps(clip) if self.guide else 0)

    def __call__(
        self,
        first_frame: Tensor,
        label: Sequence[int | None],
        seeds: Sequence[int],
        *,
        clip: int = 0,
        known: Mapping[str, Tensor] = MappingProxyType({}),
        on_step: Callable[[], object] = lambda: None,
    ) -> Decoded:
        """Generate clips; each depends on its own inputs and seed alone.

        Args:
            first_frame: uint8, shape (B, 3, H, W), of the store's size.
            label: index into the store's labels, or None for no condition; B of them.
            seeds: B of them.
            clip: index of the clip within a longer video; each has its own noise.
            known: further arrays that the space's conditions are made from, shape (B, ...).
            on_step: called after each sampling step of each batch of `BATCH` clips.

        Returns:
            Frames uint8, shape (B, T, 3, H, W), on the CPU. Parts as of the space.
        """
        indices = torch.tensor([-1 if index is None else index for index in label])
        whole = {**known, "first_frame": first_frame, "label": indices}
        made = []
        for i in range(0, len(seeds), BATCH):
            rows = {name: value[i : i + BATCH].to(self.device) for name, value in whole.items()}
            made.append(self._generate(rows, seeds[i : i + BATCH], clip, (), on_step))
        frames = torch.cat([decoded.frames for decoded in made])
        names = made[0].parts
        raw = torch.cat([decoded.raw for decoded in made if decoded.raw is not None])
        return Decoded(frames, {n: torch.cat([d.parts[n] for d in made]) for n in names}, raw)

    @torch.no_grad()
    def _generate(
        self,
        known: dict[str, Tensor],
        seeds: Sequence[int],
        clip: int,
        purpose: tuple[int, ...],
        on_step: Callable[[], object],
    ) -> Decoded:
        """Clips of one batch, on the CPU; `purpose` leads to noise of its own."""
        if self.guide is not None:
            motion = self.guide._generate(known, seeds, clip, (_GUIDE,), on_step)
            made = self.space.known_from_guide(motion)
            known = known | {name: value.to(self.device) for name, value in made.items()}
        path = (clip, *purpose) if clip or purpose else ()
        generators = [generator_for(seed, *path) for seed in seeds]
        noise = torch.stack([torch.randn(*self.space.shape, generator=g) for g in generators])
        options, process = self.recipe.sampler.of_clip(clip), self.recipe.noise
        x0 = sample(
            self._denoise(known), noise.to(self.device), options, process, generators, on_step
        )
        with autocast(self.device):
            decoded = self.space.decode(x0, known)
        parts = {name: part.cpu() for name, part in decoded.parts.items()}
        raw = None if decoded.raw is None else decoded.raw.cpu()
        return Decoded(decoded.frames.cpu(), parts, raw)

    def _denoise(self, known: Mapping[str, Tensor]) -> Denoise:
        """The sampler's denoiser: guided, in bfloat16 where that is fast, thresholded if asked."""
        options, names = self.recipe.sampler, tuple(self.recipe.dropout)
        # Without a text there is nothing to be guided to.
        unguided = names == ("label",) and bool((known["label"] < 0).all())
        guidance = 1.0 if unguided else options.guidance
        network = guided(self.network, self.space.conditions(known), guidance, names)

        def denoise(noisy: Tensor, t: Tensor) -> Tensor:
            with autocast(self.device):
                return network(noisy, t)

        scales = (self.space.raw, self.space.standardise)
        return bounded(denoise, options, self.recipe.noise, *scales)


@torch.no_grad()
def real_guidance(
    generator: Generator, clips: Clips, indices: NDArray[np.int64]
) -> dict[str, Tensor]:
    """Make known what a guide would, from real clips: their x_0 in the guide's space, decoded.

    Args:
        generator: has a guide.
        clips: of a store that belongs to the run.
        indices: of B clips.

    Returns:
        Arrays by name, those of `given_clips` among them, shape (B, ...), on the CPU.
    """
    assert generator.guide is not None
    space, device = generator.guide.space, generator.device
    known = stored_and_derived(space, clips, indices, device)
    made = generator.space.known_from_guide(space.decode(space.target(known), known))
    arrays = {name: value.cpu() for name, value in made.items()}
    return arrays | given_clips(generator.space, clips, indices)


def given_clips(space: Space, clips: Clips, indices: NDArray[np.int64]) -> dict[str, Tensor]:
    """What sampling is given of stored clips, shape (B, ...), on the CPU.

    `first_frame`, the frame that the space takes, and the arrays that it `asks` for.
    """
    asked = {name: clips.read(name, indices) for name in space.asks}
    return {**asked, "first_frame": clips.frame(indices, space.given_index)}


def batches(count: int) -> int:
    """Number of batches in which `count` clips are generated."""
    return -(-count // BATCH)


def clips_for(frames: int, clip_frames: int, adds: int | None = None) -> int:
    """Number of clips in a video of some frames.

    Args:
        frames: of the video.
        clip_frames: T of a clip.
        adds: frames that each next clip adds; None: all but its first.
    """
    adds = clip_frames - 1 if adds is None else adds
    return max(1, 1 + -(-(frames - clip_frames) // adds))


def generate_frames(
    generator: Generator,
    first_frame: Tensor,
    label: Sequence[int | None],
    seeds: Sequence[int],
    frames: int,
    on_step: Callable[[], object] = lambda: None,
    known: Mapping[str, Tensor] = MappingProxyType({}),
) -> Decoded:
    """Videos of any length; the first clip is the one that the generator alone would give.

    Args:
        generator: of clips of T frames.
        first_frame: uint8, shape (B, 3, H, W).
        label: index into the store's labels, or None; B of them.
        seeds: B of them.
        frames: N, at least 2.
        on_step, known: as for the generator.

    Returns:
        Frames uint8, shape (B, N, 3, H, W), and the space's parts, N or N-1 of each.
    """
    space, clip_frames = generator.space, generator.store.options.frames
    clips: list[Decoded] = []
    known = {**known, "first_frame": first_frame}
    for clip in range(clips_for(frames, clip_frames, space.adds)):
        if clips:
            known = space.continue_from(clips[-1], known)
        further = {name: value for name, value in known.items() if name != "first_frame"}
        given = known["first_frame"]
        clips.append(generator(given, label, seeds, clip=clip, known=further, on_step=on_step))
    parts = {name: [clip.parts[name] for clip in clips] for name in clips[0].parts}
    whole = {n: _joined(films, frames, clip_frames, space.adds) for n, films in parts.items()}
    films = [clip.frames for clip in clips]
    return Decoded(_joined(films, frames, clip_frames, space.adds), whole)


def _joined(films: Sequence[Tensor], frames: int, clip_frames: int, adds: int) -> Tensor:
    """Consecutive films (B, T or T-1, ...) without what the next ones repeat, N or N-1 long."""
    length = films[0].shape[1]
    film = torch.cat([films[0], *(film[:, length - adds :] for film in films[1:])], dim=1)
    return film[:, : frames - (clip_frames - length)]


def with_sampler(generator: Generator, **given: float | str | None) -> Generator:
    """The same run with other options of its sampler; None keeps the run's own.

    Raises:
        UserError: an option's value is wrong, or the run does not allow it.
    """
    options, recipe, guide = generator.recipe.sampler, generator.recipe, generator.guide
    if guide is not None:
        # A text leads the guide, which is sampled first.
        guide, given = with_sampler(guide, **given), given | {"guidance": None}
    changes: dict[str, Any] = {name: value for name, value in given.items() if value is not None}
    if changes.get("name", "ddim") != "ddim" and given.get("eta") is None:
        changes["eta"] = 0.0  # of the run's DDIM: another sampler has none
    if given.get("steps") is not None:
        changes["next_steps"] = None
    if given.get("dynamic_threshold") is not None:
        changes["clip"] = False
    try:
        sampler = replace(options, **changes)
        return replace(generator, recipe=replace(recipe, sampler=sampler), guide=guide)
    except ValidationError as error:
        raise UserError(_fault(error)) from None


def load_generator(path: Path, device: torch.device) -> Generator:
    """Load a trained run, its guide included.

    Raises:
        UserError: its diffusion stage was not trained, or its autoencoder is another one.
    """
    run = RunFolder(path)
    config = load_config(run.diffusion, "run first: dvdm-train diffusion")
    store = StoreAttributes.model_validate(config["store"])
    recipe = recipe_from_dict({"name": "run", **saved_fields(config)})
    kept = config["statistics"], config["latents"]
    space = load_space(*kept, recipe.space, store.options, run, device)
    space = space.with_refiner(_load_refiner(run, device))
    space = space.with_decoder(load_decoder(space, run, device))
    encoder = config.get("text_encoder")
    identity = None if encoder is None else TextIdentity(**encoder)
    # The checkpoint's weights bring the embeddings along.
    texts = None if identity is None else torch.zeros(len(store.labels), identity.width)
    network = build_denoiser(recipe.denoiser, space.denoiser_input, len(store.labels), texts)
    load_trained(run.diffusion, network).to(device)
    guided_by = (run.guide.diffusion / "config.json").exists()
    guide = load_generator(run.guide.root, device) if guided_by else None
    return Generator(store, space, network, recipe, identity, device, guide)


def load_with_store(
    run: Path, store_path: str, device: torch.device
) -> tuple[Generator, ClipReader]:
    """A trained run, and a store that belongs to it.

    Raises:
        UserError: one of them is missing, or they do not belong together.
    """
    generator, store = load_generator(run, device), open_path(store_path)
    check_same_store({"store": generator.store.model_dump(mode="json")}, store, run)
    return generator, store


def _load_refiner(run: RunFolder, device: torch.device) -> Refiner | None:
    if not (run.refiner / "config.json").exists():
        return None
    refiner = Refiner(RefinerOptions(**load_config(run.refiner, "")["refiner"]))
    load_trained(run.refiner, refiner)
    return refiner.to(device)


def _fault(error: ValidationError) -> str:
    """The first wrong option, by the name it has on the command line."""
    fault = error.errors()[0]
    message = fault["msg"].removeprefix("Value error, ")
    if not fault["loc"]:  # two options that do not go together
        return message
    name = str(fault["loc"][0]).replace("name", "sampler").replace("_", "-")
    return f"--{name} {fault['input']}: {message}"
