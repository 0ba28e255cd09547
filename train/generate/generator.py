"""Videos longer than a clip: each next clip goes on from the last frame of the one before."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from pydantic import ValidationError
from torch import Tensor

from shared.errors import UserError
from shared.schema import StoreAttributes
from train.data.batches import generator_for
from train.diffusion.objective import Denoise, guided, thresholded
from train.diffusion.samplers import sample
from train.models.refiner import Refiner, RefinerOptions
from train.models.text_encoder import TextIdentity, text_condition
from train.models.unet3d import UNet3D
from train.recipe import Recipe, recipe_from_dict
from train.spaces import Decoded, Space
from train.spaces.codec import CodecSpace
from train.stages import diffusion
from train.stages import refiner as refine
from train.stages.latents import space_with
from train.trainer.checkpoint import load_config, load_trained
from train.trainer.monitor import autocast

# MERGED: A trained run as a video generator: first frame + label + seed to a clip.


_BATCH = 8


@dataclass(frozen=True)
class Generator:
    """Everything a run learned.

    Attributes:
        store: attributes of the store it was trained on.
        space: decodes x_0.
        network: the averaged denoiser.
        recipe: choices that matter at sampling.
        text_encoder: which one encoded the labels, if one did.
        device: where the networks are.
    """

    store: StoreAttributes
    space: Space
    network: UNet3D
    recipe: Recipe
    text_encoder: TextIdentity | None
    device: torch.device

    def label_index(self, text: str, encoder: str | None = None) -> int:
        """What to give as `label` for a text: see `train.models.text_encoder.text_condition`."""
        return text_condition(self.network, text, self.store.labels, self.text_encoder, encoder)

    def __call__(
        self,
        first_frame: Tensor,
        label: Sequence[int | None],
        seeds: Sequence[int],
        *,
        clip: int = 0,
        on_step: Callable[[], object] = lambda: None,
    ) -> Decoded:
        """Generate clips; each depends on its own inputs and seed alone.

        Args:
            first_frame: uint8, shape (B, 3, H, W), of the store's size.
            label: index into the store's labels, or None for no condition; B of them.
            seeds: B of them.
            clip: which clip of a longer video this is; each has noise of its own.
            on_step: called after each sampling step of each batch, see `batches`.

        Returns:
            Frames uint8, shape (B, T, 3, H, W), on the CPU. Parts as of the space.
        """
        path = (clip,) if clip else ()
        pieces = [
            self._generate(
                first_frame[i : i + _BATCH].to(self.device),
                label[i : i + _BATCH],
                [generator_for(seed, *path) for seed in seeds[i : i + _BATCH]],
                on_step,
            )
            for i in range(0, len(seeds), _BATCH)
        ]
        frames = torch.cat([piece.frames for piece in pieces])
        names = pieces[0].parts
        return Decoded(frames, {n: torch.cat([p.parts[n] for p in pieces]) for n in names})

    @torch.no_grad()
    def _generate(
        self,
        first_frame: Tensor,
        label: Sequence[int | None],
        generators: list[torch.Generator],
        on_step: Callable[[], object],
    ) -> Decoded:
        options, process = self.recipe.sampler, self.recipe.noise
        noise = torch.stack([torch.randn(*self.space.shape, generator=g) for g in generators])
        denoise = self._denoise(first_frame, label)
        x0 = sample(denoise, noise.to(self.device), options, process, generators, on_step)
        with autocast(self.device):
            decoded = self.space.decode(x0, first_frame)
        return Decoded(decoded.frames.cpu(), {n: p.cpu() for n, p in decoded.parts.items()})

    def _denoise(self, first_frame: Tensor, label: Sequence[int | None]) -> Denoise:
        """What the sampler calls: guided, in bfloat16 where that is fast, thresholded if asked."""
        options, null = self.recipe.sampler, self.network.null_label
        wanted = torch.tensor([null if i is None else i for i in label], device=self.device)
        frame = diffusion.network_frame(first_frame, self.space.cell)
        # Without a text there is nothing to be guided to.
        guidance = 1.0 if bool((wanted == null).all()) else options.guidance
        network = guided(self.network, wanted, frame, guidance)

        def denoise(noisy: Tensor, t: Tensor) -> Tensor:
            with autocast(self.device):
                return network(noisy, t)

        if (quantile := options.dynamic_threshold) is None:
            return denoise
        scales = (self.space.raw, self.space.standardise)
        return thresholded(denoise, self.recipe.noise, *scales, quantile)


def batches(count: int) -> int:
    """How many batches so many clips are generated in."""
    return -(-count // _BATCH)


def with_sampler(generator: Generator, **given: float | str | None) -> Generator:
    """The same run with other options of its sampler; None keeps the run's own.

    Raises:
        UserError: an option's value is wrong, or the run does not allow it.
    """
    options, recipe = generator.recipe.sampler, generator.recipe
    changes: dict[str, Any] = {name: value for name, value in given.items() if value is not None}
    if changes.get("name", "ddim") != "ddim" and given.get("eta") is None:
        changes["eta"] = 0.0  # of the run's DDIM: another sampler has none
    try:
        return replace(generator, recipe=replace(recipe, sampler=replace(options, **changes)))
    except ValidationError as error:
        raise UserError(_fault(error)) from None


def load_generator(run: Path, device: torch.device) -> Generator:
    """Load a trained run.

    Raises:
        UserError: its diffusion stage was not trained, or its autoencoder is another one.
    """
    folder = run / diffusion.FOLDER
    config = load_config(folder, "run first: python -m train diffusion")
    store = StoreAttributes.model_validate(config["store"])
    recipe = _recipe(config)
    kept = config["statistics"], config["latents"]
    space = space_with(*kept, recipe.space, store.options, run, device)
    if isinstance(space, CodecSpace):
        space = space.with_refiner(_load_refiner(run, device))
    identity = _text_encoder(config)
    # The checkpoint's weights bring the embeddings along.
    texts = None if identity is None else torch.zeros(len(store.labels), identity.width)
    network = diffusion.build_denoiser(recipe, space, store, texts)
    load_trained(folder, network).to(device)
    return Generator(store, space, network, recipe, identity, device)


def _load_refiner(run: Path, device: torch.device) -> Refiner | None:
    folder = run / refine.FOLDER
    if not (folder / "config.json").exists():
        return None
    options = load_config(folder, "")["refiner"]
    refiner = Refiner(RefinerOptions(**options))
    load_trained(folder, refiner)
    return refiner.to(device)


def _fault(error: ValidationError) -> str:
    """The first wrong option, by the name it has on the command line."""
    fault = error.errors()[0]
    message = fault["msg"].removeprefix("Value error, ")
    if not fault["loc"]:  # two options that do not go together
        return message
    name = str(fault["loc"][0]).replace("name", "sampler").replace("_", "-")
    return f"--{name} {fault['input']}: {message}"


def _text_encoder(config: dict[str, Any]) -> TextIdentity | None:
    content = config.get("text_encoder")
    return None if content is None else TextIdentity(**content)


def _recipe(config: dict[str, Any]) -> Recipe:
    return recipe_from_dict({"name": "run", **{name: config[name] for name in diffusion.KEPT}})


def clips_for(frames: int, clip_frames: int) -> int:
    """Clips that a video of so many frames takes: each next one adds all but its first frame."""
    return max(1, -(-(frames - 1) // (clip_frames - 1)))


def generate_frames(
    generator: Generator,
    first_frame: Tensor,
    label: Sequence[int | None],
    seeds: Sequence[int],
    frames: int,
    on_step: Callable[[], object] = lambda: None,
) -> Decoded:
    """Videos of any length; the first clip is what the generator alone would give.

    Args:
        generator: of clips of T frames.
        first_frame: uint8, shape (B, 3, H, W).
        label: index into the store's labels, or None; B of them.
        seeds: B of them.
        frames: N, at least 2.
        on_step: as for the generator.

    Returns:
        Frames uint8, shape (B, N, 3, H, W), and the space's parts, N or N-1 of each.
    """
    clips: list[Decoded] = []
    for clip in range(clips_for(frames, generator.store.options.frames)):
        given = clips[-1].frames[:, -1] if clips else first_frame
        clips.append(generator(given, label, seeds, clip=clip, on_step=on_step))
    parts = {name: [clip.parts[name] for clip in clips] for name in clips[0].parts}
    whole = {name: _joined(pieces, clips[0], frames) for name, pieces in parts.items()}
    return Decoded(_joined([clip.frames for clip in clips], clips[0], frames), whole)


def _joined(pieces: Sequence[Tensor], clip: Decoded, frames: int) -> Tensor:
    """Films one after another: of those that have a frame 0, the next ones' is known already."""
    with_first = int(pieces[0].shape[1] == clip.frames.shape[1])
    film = torch.cat([pieces[0], *(piece[:, with_first:] for piece in pieces[1:])], dim=1)
    return film[:, : frames - 1 + with_first]
