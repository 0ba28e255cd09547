"""The trainer for notebooks and other programs: `train.load` and `train.dataset`.

They call what the commands call; errors are exceptions with the commands' messages.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image

from shared.errors import UserError
from shared.report.pictures import Film, animation, contact_sheet, gif, png
from shared.schema import LARGE
from shared.store.clips import StoredClips, looping_picture
from shared.store.reader import open_path
from train.data.clips import ClipBatch, Clips
from train.generate.generator import Generator, load_generator, with_sampler
from train.generate.sample import (
    GivenPicture,
    OnStep,
    SampleOptions,
    draw_part,
    first_pixels,
    generate_videos,
    save_video,
)
from train.run import run_folder
from train.spaces import Decoded
from train.trainer.distributed import choose_device

_Picture = str | GivenPicture

FIELDS = ("frames", "first_frame", "motion", "residual", "label")
"""Fields of an item of a `StoreDataset`."""


@dataclass(frozen=True, eq=False)
class Video:
    """A generated video.

    Attributes:
        frames: uint8 RGB, shape (N, H, W, 3).
        parts: further arrays of the system, channels last: `motion` in units of the store,
            (N-1, h, w, 2 or 3), `flow` in pixels, (N-1, h, w, 2), `occlusion`...
        drawn: enlarged films of the parts that can be shown, uint8, (N, H, W, 3), by part.
        moved: what motion alone makes of the first frame, uint8, shape (M, H, W, 3), for the M
            frames of the first clip; None where the system has no motion.
        fps: frames a second of the files.
    """

    frames: NDArray[np.uint8]
    parts: Mapping[str, NDArray[Any]] = field(default_factory=dict)
    drawn: Mapping[str, NDArray[np.uint8]] = field(default_factory=dict)
    moved: NDArray[np.uint8] | None = None
    fps: float = 8.0

    @property
    def motion(self) -> NDArray[np.int8] | None:
        """Motion vectors, see `parts`; None where the system has none."""
        return self.parts.get("motion")

    @property
    def flow(self) -> NDArray[np.floating] | None:
        """Backward flow into the first frame, see `parts`; None where the system has none."""
        return self.parts.get("flow")

    def save(self, path: str | Path) -> Path:
        """Write the video, by the ending of its name: .mp4, .gif, .webp, or .png (all frames).

        Raises:
            UserError: the ending is another.
        """
        target, film = Path(path), _film(self.frames)
        pictures: dict[str, Callable[[], bytes]] = {
            ".gif": lambda: gif(film, fps=self.fps),
            ".webp": lambda: animation(film, fps=self.fps),
            ".png": lambda: png(contact_sheet([film])),
        }
        ending = target.suffix.lower()
        if ending == ".mp4":
            save_video(target, film, fps=self.fps)
        elif ending in pictures:
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(pictures[ending]())
        else:
            raise UserError(f"{target}: a video is saved as .mp4, .gif, .webp or .png")
        return target

    def __len__(self) -> int:
        return len(self.frames)

    def __getitem__(self, index: int | slice) -> NDArray[np.uint8]:
        return self.frames[index]

    def __iter__(self) -> Iterator[NDArray[np.uint8]]:
        return iter(self.frames)

    def __repr__(self) -> str:
        height, width = self.frames.shape[1:3]
        parts = f", {', '.join(self.parts)}" if self.parts else ""
        return f"Video({len(self)} frames of {width}x{height}{parts})"

    def _repr_html_(self) -> str:
        """The video and its drawn parts as looping pictures."""
        shown = {"video": self.frames, **self.drawn}
        return "".join(looping_picture(_film(film), name) for name, film in shown.items())


@dataclass(frozen=True, eq=False)
class Model:
    """A trained run.

    Attributes:
        generator: its networks.
        folder: of the run.
    """

    generator: Generator
    folder: Path

    @property
    def labels(self) -> tuple[str, ...]:
        """Texts that it was trained on."""
        return self.generator.store.labels

    def sample(
        self,
        image: _Picture | None = None,
        text: str | None = None,
        *,
        seed: int = 0,
        frames: int | None = None,
        fps: float = 8.0,
        stride: float | None = None,
        text_encoder: str | None = None,
        guidance: float | None = None,
        steps: int | None = None,
        sampler: str | None = None,
        eta: float | None = None,
        on_step: OnStep = lambda done, steps: None,
    ) -> Video:
        """Generate a video; the options are those of `dvdm-train sample`.

        Args:
            image: first frame, a file, a Pillow image or uint8 RGB (H, W, 3); None for a run that
                generates from noise alone.
            text: a label's, or any where the run has a text encoder; None: no condition.
            seed: of the noise.
            frames: of the video; None: as many as a clip has.
            fps: frames a second of its files.
            stride: frames of a real video from one frame to the next, for a run that is conditioned
                on it.
            text_encoder: where the run's text encoder is now; None: where it was.
            guidance, steps, sampler, eta: None: the run's.
            on_step: called after each sampling step with the number of steps done, and of all;
                what it raises ends the generation.

        Raises:
            UserError: an option is wrong, or the picture cannot be read.
        """
        changes = {"guidance": guidance, "steps": steps, "name": sampler, "eta": eta}
        generator = with_sampler(self.generator, **changes)
        label = None if text is None else generator.label_index(text, text_encoder)
        options = SampleOptions(label=label, seed=seed, frames=frames, fps=fps, stride=stride)
        given = Path(image) if isinstance(image, str) else image
        pixels, _ = first_pixels(generator, given)
        decoded = generate_videos(generator, pixels, options, on_step)
        clips = decoded.frames.numpy()
        parts = {name: part.numpy() for name, part in decoded.parts.items()}
        drawn = {
            name: draw_part(clips, parts[name], drawing, generator.store.options)[0][0]
            for name, drawing in generator.space.draws.items()
        }
        return Video(
            _channels_last(clips[0]),
            {name: _channels_last(part[0]) for name, part in parts.items()},
            {name: _channels_last(film) for name, film in drawn.items()},
            self._moved(decoded),
            fps,
        )

    def _moved(self, decoded: Decoded) -> NDArray[np.uint8] | None:
        """See `Video.moved`; vectors of later clips do not begin with the first frame."""
        space, first_clip = self.generator.space, slice(self.generator.store.options.frames - 1)
        parts = {n: part[:, first_clip] for n, part in space.drawn_parts(decoded).items()}
        moved = space.moved(parts, decoded.frames[:, 0])
        return None if moved is None else _channels_last(moved[0].numpy())

    def evaluate(
        self, store: str | StoredClips, protocol: str = "demo", **options: Any
    ) -> dict[str, Any]:
        """Score the run as `dvdm-train evaluate` does, and return the content of its scores.json.

        Args:
            store: that it was trained on.
            protocol: name of it.
            options: `count`, `samples`, `seed`, `i3d`, `judges`, `judge_steps`, `sampler`, `steps`,
                `guidance` or `out`, as of the command.
        """
        from train.evaluate.evaluate import evaluate_run

        path = str(store.reader.path) if isinstance(store, StoredClips) else str(store)
        device = str(self.generator.device)
        return evaluate_run(self.folder, path, protocol=protocol, device=device, **options)

    def as_pipeline(self) -> Callable[..., SimpleNamespace]:
        """The model behind the call of diffusers' image-to-video pipelines.

        The result takes `image`, `prompt`, `num_frames`, `num_inference_steps`, `guidance_scale`,
        `generator` and `output_type` (`pil`, `np` or `pt`), and has `frames`, a list with one video
        for each prompt.
        """
        return Pipeline(self)

    def __repr__(self) -> str:
        options = self.generator.store.options
        return (
            f"Model({self.folder}: {self.generator.space.generates},"
            f" {options.frames} frames of {options.size})"
        )


@dataclass(frozen=True)
class Pipeline:
    """See `Model.as_pipeline`."""

    model: Model

    def __call__(
        self,
        image: _Picture | None = None,
        prompt: str | Sequence[str] | None = None,
        *,
        num_frames: int | None = None,
        num_inference_steps: int | None = None,
        guidance_scale: float | None = None,
        generator: torch.Generator | None = None,
        output_type: str = "pil",
    ) -> SimpleNamespace:
        """Generate one video for each prompt; see `Model.as_pipeline`.

        Raises:
            UserError: `output_type` or another option is wrong.
        """
        if output_type not in _OUTPUTS:
            raise UserError(f"output_type {output_type!r}: one of {', '.join(_OUTPUTS)}")
        prompts = [prompt] if prompt is None or isinstance(prompt, str) else prompt
        # A generator decides the seeds: given again in the same state, it gives the same videos.
        source = generator or torch.default_generator
        seeds = torch.randint(2**31, (len(prompts),), generator=source, device=source.device)
        videos = [
            self.model.sample(
                image, text, seed=seed, frames=num_frames, steps=num_inference_steps,
                guidance=guidance_scale,
            )
            for text, seed in zip(prompts, seeds.tolist(), strict=True)
        ]  # fmt: skip
        return SimpleNamespace(frames=[_OUTPUTS[output_type](v.frames) for v in videos])


_OUTPUTS: dict[str, Callable[[NDArray[np.uint8]], Any]] = {
    "pil": lambda frames: [Image.fromarray(frame) for frame in frames],
    "np": lambda frames: frames.astype(np.float32) / 255,
    "pt": lambda frames: torch.from_numpy(_film(frames).astype(np.float32) / 255),
}


class StoreDataset(torch.utils.data.Dataset[dict[str, Any]]):
    """Clips of a store for any PyTorch loader, its worker processes included; see `train.dataset`.

    Attributes:
        path: of the store.
        fields: of an item.
        indices: of its clips in the store.
    """

    def __init__(
        self, path: str, fields: Sequence[str], side: str | None = None, split: str | None = None
    ) -> None:
        if unknown := [name for name in fields if name not in FIELDS]:
            raise UserError(f"fields {unknown[0]!r}: one of {', '.join(FIELDS)}")
        self.path, self.fields, self.split = path, tuple(fields), split
        if side not in (None, "train", "test"):
            raise UserError(f"side {side!r}: train, test, or None for all clips")
        every = np.arange(len(self.clips.label))
        self.indices: NDArray[np.int64] = every if side is None else getattr(self.clips, side)

    @cached_property
    def clips(self) -> Clips:
        """Clips of the store, opened in each process that reads from it."""
        return Clips(open_path(self.path), self.split)

    def __getstate__(self) -> dict[str, Any]:
        return {name: value for name, value in vars(self).items() if name != "clips"}

    def __len__(self) -> int:
        return len(self.indices)

    def __getitem__(self, index: int) -> dict[str, Any]:
        return self.__getitems__([index])[0]

    def __getitems__(self, positions: Sequence[int]) -> list[dict[str, Any]]:
        """Several items at a time, as PyTorch's loader asks for the items of a batch."""
        whole = "frames" in self.fields
        names = LARGE if whole else [name for name in self.fields if name in LARGE]
        tensors = self.clips.tensors(names, self.indices[list(positions)])
        if whole:
            tensors["frames"] = self.clips.frames(ClipBatch(**tensors))
        return [{name: tensors[name][row] for name in self.fields} for row in range(len(positions))]


def load(run: str | Path, device: str = "auto") -> Model:
    """See `train.load`."""
    folder = run_folder(run)
    return Model(load_generator(folder, choose_device(device)), folder)


def _channels_last(array: NDArray[Any]) -> NDArray[Any]:
    return np.moveaxis(array, -3, -1)


def _film(frames: NDArray[np.uint8]) -> Film:
    return np.moveaxis(frames, -1, -3)
