"""A page to try trained runs: a picture and a text in, the videos of all runs side by side out.

Gradio makes the page, which loads nothing from other hosts. All files lie in one temporary folder,
which is removed when the server ends.
"""

from __future__ import annotations

import html
import tempfile
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any
from weakref import WeakValueDictionary

import gradio as gr
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from shared.errors import UserError
from shared.picture_files import PictureError, read_picture
from shared.report.serving import QUEUE, listen, new_page, sentence, serve_page
from shared.store.reader import open_path
from train.api import Model, Video, load
from train.data.clips import Clips
from train.generate.generator import Generator

MAX_PICTURE_BYTES = 20 * 2**20
LIMITS = {"seed": (0, 2**31 - 1), "guidance": (0, 100), "steps": (0, 1000), "frames": (2, 256)}
"""Least and greatest value of each option; guidance and steps of 0 are the run's own."""

_EXAMPLES = 8
_SHOWN_PX = 256
_MOVED = "motion alone: the first frame moved"

_INTRODUCTION = """# dvdm
A picture becomes the first frame of a video, and a text says what happens in it. One video is
generated at a time on this machine; up to {queue} requests wait."""


class CancelledError(Exception):
    """A visitor cancelled a generation."""


@dataclass
class Studio:
    """Models that generate from the same inputs, for one visitor at a time.

    Attributes:
        models: by the names that the page shows.
        text_encoder: where the runs' text encoder is now; None: where it was.
    """

    models: Mapping[str, Model]
    text_encoder: str | None = None
    _turn: threading.Lock = field(default_factory=threading.Lock)
    _cancelled: WeakValueDictionary[str, threading.Event] = field(
        default_factory=WeakValueDictionary
    )

    @property
    def generators(self) -> list[Generator]:
        """Networks of the models."""
        return [model.generator for model in self.models.values()]

    @property
    def texts(self) -> list[str]:
        """Labels that all models know that take a text."""
        known = [g.store.labels for g in self.generators if _takes_text(g)]
        return [label for label in next(iter(known), ()) if all(label in k for k in known)]

    def generate(
        self,
        visitor: str,
        picture: NDArray[np.uint8] | None,
        text: str | None,
        progress: Any,
        **options: Any,
    ) -> dict[str, Video]:
        """Generate a video with every model; a model is given what it takes.

        Args:
            visitor: name by which `cancel` finds the generation.
            picture: uint8 RGB, shape (H, W, 3), or None.
            text: a label or a free prompt, or None.
            progress: a `gradio.Progress`.
            options: of `Model.sample`.

        Raises:
            UserError: an input is wrong.
            CancelledError: the visitor cancelled.
        """
        cancelled = self._cancelled[visitor] = threading.Event()

        def sample(name: str, model: Model) -> Video:
            def step(done: int, steps: int) -> None:
                if cancelled.is_set():
                    raise CancelledError
                progress((done, steps), desc=name, unit="steps")

            return model.sample(
                picture if model.generator.space.takes_first_frame else None,
                text if _takes_text(model.generator) else None,
                text_encoder=self.text_encoder,
                on_step=step,
                **options,
            )

        with self._turn:
            return {name: sample(name, model) for name, model in self.models.items()}

    def cancel(self, visitor: str) -> None:
        """End the visitor's generation at its next step, if there is one."""
        if (cancelled := self._cancelled.get(visitor)) is not None:
            cancelled.set()

    def cancel_all(self) -> None:
        """End every generation at its next step."""
        for cancelled in list(self._cancelled.values()):
            cancelled.set()


def _takes_text(generator: Generator) -> bool:
    return getattr(generator.network, "label", None) is not None


def build_page(studio: Studio, folder: Path, examples: Sequence[tuple[str, str]] = ()) -> gr.Blocks:
    """Make the page.

    Args:
        studio: models.
        folder: of the videos; the environment's GRADIO_TEMP_DIR.
        examples: paths of first frames, and texts.
    """
    takes_picture = any(g.space.takes_first_frame for g in studio.generators)
    with new_page("dvdm") as page:
        gr.Markdown(_INTRODUCTION.format(queue=QUEUE))
        with gr.Row():
            with gr.Column(min_width=280):
                picture = _picture_input(takes_picture)
                text = _text_input(studio)
                start = gr.Button("Generate", variant="primary", elem_id="generate")
                stop = gr.Button("Cancel", elem_id="cancel")
                options = _option_inputs(studio)
                if examples and takes_picture:
                    gr.Examples([list(pair) for pair in examples], [picture, text])
            with gr.Column(scale=3), gr.Row():
                columns = [_column(name, model) for name, model in studio.models.items()]

        def generate(
            path: str | None,
            wish: str | None,
            seed: float | None,
            guidance: float | None,
            steps: float | None,
            frames: float | None,
            request: gr.Request,
            progress: gr.Progress = gr.Progress(),  # noqa: B008, where Gradio looks for it
        ) -> list[Any]:
            given = {"seed": seed, "guidance": guidance, "steps": steps, "frames": frames}
            try:
                options = {name: _bounded(name, value or 0) for name, value in given.items()}
                videos = studio.generate(
                    request.session_hash, _read(path), wish or None, progress, **options
                )
            except UserError as error:
                raise sentence(str(error)) from None
            except CancelledError:
                raise sentence("cancelled") from None
            made = Path(tempfile.mkdtemp(dir=folder))
            stems = {name: made / f"{Path(name).name}-{options['seed']}" for name in videos}
            values = [_values(stems[name], video) for name, video in videos.items()]
            return [value for column in values for value in column]

        def cancel(request: gr.Request) -> None:
            studio.cancel(request.session_hash)

        outputs = [output for column in columns for output in column]
        made = start.click(
            generate, [picture, text, *options], outputs, show_progress_on=outputs[:1]
        )
        stop.click(cancel, cancels=[made], queue=False)
        page.unload(cancel)
    return page


def _picture_input(visible: bool) -> gr.Image:
    """An input whose value is the path of an uploaded file, which Gradio has not opened."""
    picture = gr.Image(
        label="First frame", sources=["upload", "webcam", "clipboard"], type="filepath",
        height=_SHOWN_PX, visible=visible, elem_id="picture",
    )  # fmt: skip
    picture.preprocess = lambda given: None if given is None else given.path
    return picture


def _read(path: str | None) -> NDArray[np.uint8] | None:
    """Pixels of an uploaded picture."""
    if path is None:
        return None
    try:
        return read_picture(Path(path))
    except PictureError as error:
        raise UserError(f"{Path(path).name}: not a readable picture ({error})") from None


def _text_input(studio: Studio) -> gr.Dropdown:
    """A choice of labels; any text where all runs have an encoder."""
    taking = [g for g in studio.generators if _takes_text(g)]
    free = bool(taking) and all(g.text_encoder is not None for g in taking)
    return gr.Dropdown(
        [("(no text)", ""), *((label, label) for label in studio.texts)],
        value=next(iter(studio.texts), ""), allow_custom_value=free, visible=bool(taking),
        label="Text", info="choose one, or write your own" if free else None, elem_id="text",
    )  # fmt: skip


def _option_inputs(studio: Studio) -> list[Any]:
    """Inputs for the options of `LIMITS`."""
    samplers = [g.recipe.sampler for g in studio.generators]
    own = {
        "guidance": sorted({sampler.guidance for sampler in samplers}),
        "steps": sorted({float(sampler.steps) for sampler in samplers}),
    }
    info = {n: f"0: the run's, {', '.join(f'{v:g}' for v in values)}" for n, values in own.items()}
    seed = gr.Number(0, label="Seed", precision=0, elem_id="seed")
    with gr.Row():
        guidance = gr.Number(0, label="Guidance", info=info["guidance"], min_width=110)
        steps = gr.Number(
            0, label="Steps", info=info["steps"], precision=0, min_width=110, elem_id="steps"
        )
    least, most = LIMITS["frames"]
    clip = max(g.store.options.frames for g in studio.generators)
    return [seed, guidance, steps, gr.Slider(least, most, clip, step=1, label="Frames")]


def _bounded(name: str, value: float) -> float | int | None:
    """An option within its limits, whole but for guidance; None for the run's own."""
    least, most = LIMITS[name]
    if not least <= value <= most:
        raise UserError(f"{name} {value:g}: give {least} to {most}")
    if name == "guidance":
        return value or None
    return int(value) or (None if name == "steps" else 0)


def _column(name: str, model: Model) -> list[Any]:
    """Outputs of a run; `_values` fills them."""
    space = model.generator.space
    with gr.Column(min_width=200):
        gr.Markdown(f"### {html.escape(name)}\n{html.escape(space.generates)}")
        films = [
            gr.Video(
                label=label, height=_SHOWN_PX + 40, interactive=False, autoplay=True, loop=True,
                buttons=[],
            )
            for label in ("video", *space.draws, _MOVED)
        ]  # fmt: skip
        films[-1].visible = bool(space.draws)
        with gr.Row():
            files = [
                gr.DownloadButton(kind, size="sm", min_width=80, interactive=False)
                for kind in ("mp4", "GIF")
            ]
    return [*films, *files]


def _values(stem: Path, video: Video) -> list[Any]:
    """Values of a run's outputs, see `_column`, written to files whose names begin with `stem`."""

    def saved(ending: str, frames: NDArray[np.uint8]) -> str:
        factor = max(1, _SHOWN_PX // frames.shape[2])
        enlarged = frames.repeat(factor, axis=1).repeat(factor, axis=2)
        return str(replace(video, frames=enlarged).save(Path(f"{stem}{ending}")))

    mp4, animated = (saved(ending, video.frames) for ending in (".mp4", ".gif"))
    moved = None if video.moved is None else saved("-moved.mp4", video.moved)
    return [
        mp4,
        *(saved(f"-{part}.mp4", film) for part, film in video.drawn.items()),
        gr.Video(moved, visible=moved is not None),
        *(gr.DownloadButton(value=file, interactive=True) for file in (mp4, animated)),
    ]


def example_frames(store: str, folder: Path) -> list[tuple[str, str]]:
    """First frames of test clips of a store, written to a folder, and the clips' texts.

    Raises:
        UserError: there is no such store.
    """
    reader = open_path(store)
    clips = Clips(reader, None)
    chosen = clips.test[:: max(1, len(clips.test) // _EXAMPLES)][:_EXAMPLES]
    pixels = clips.read("first_frame", chosen).permute(0, 2, 3, 1).numpy()  # (N, H, W, 3)
    examples = []
    for index, picture in zip(chosen, pixels, strict=True):
        label = int(clips.label[index])
        path = folder / f"example-{index}.png"
        Image.fromarray(picture).save(path)
        examples.append((str(path), reader.attributes.labels[label] if label >= 0 else ""))
    return examples


def serve(
    runs: Sequence[Path],
    store: str | None,
    text_encoder: str | None,
    host: str,
    port: int,
    device: str,
    folder: Path,
) -> None:
    """Serve the page until a signal ends it.

    Args:
        runs: folders of trained runs.
        store: whose test clips give example first frames, if any.
        text_encoder: where the runs' text encoder is now; None: where it was.
        host: address to listen on.
        port: of it; 0: any free one.
        device: name.
        folder: for all files; the environment's GRADIO_TEMP_DIR since before Gradio was imported.

    Raises:
        UserError: a run or the store cannot be used, or the address is taken.
    """
    names = [run.name if len({r.name for r in runs}) == len(runs) else str(run) for run in runs]
    with listen(host, port) as sock:
        models = (load(run, device) for run in runs)
        studio = Studio(dict(zip(names, models, strict=True)), text_encoder)
        examples = [] if store is None else example_frames(store, folder)
        try:
            serve_page(build_page(studio, folder, examples), sock, MAX_PICTURE_BYTES)
        finally:
            studio.cancel_all()
