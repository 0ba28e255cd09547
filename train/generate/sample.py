"""The command `train sample`: videos from one picture, and the files that show them."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from dataclasses import dataclass, replace
from fractions import Fraction
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image, ImageOps
from torch import Tensor

from shared.console import Progress, console, errors
from shared.conventions import FrameSize
from shared.errors import UserError
from shared.picture_files import PictureError, read_picture, upright_rgb
from shared.report.pictures import (
    Film,
    Picture,
    add_legend,
    contact_sheet,
    draw_cells,
    draw_vectors,
    enlarge,
    evenly_spaced,
    gif,
    over_frames,
    png,
)
from shared.schema import CodecOptions, FitName
from shared.store.reader import open_path
from train.data.clips import Clips, check_same_store
from train.generate.generator import (
    Generator,
    batches,
    clips_for,
    generate_frames,
    load_generator,
    real_guidance,
    with_sampler,
)
from train.models.pretrained import picture_from_text
from train.run import RunFolder
from train.spaces import Decoded
from train.spaces.base import Drawing
from train.trainer.checkpoint import load_config
from train.trainer.distributed import choose_device

_FITS: dict[FitName, Callable[..., Image.Image]] = {
    "crop": ImageOps.fit,
    "pad": ImageOps.pad,
    "stretch": Image.Image.resize,
}
_FITTED: dict[FitName, str] = {
    "crop": "cut to the middle",
    "pad": "black bars added",
    "stretch": "stretched",
}


@dataclass(frozen=True)
class FirstFrame:
    """A picture made into a first frame.

    Attributes:
        pixels: uint8, shape (1, 3, H, W) of the store's size.
        width, height: of the picture, upright, pixels.
        fit: how it was given the aspect of the store's frames.
    """

    pixels: Tensor
    width: int
    height: int
    fit: FitName

    @property
    def how(self) -> str:
        """Description of the changes, for people."""
        own, size = FrameSize(self.height, self.width), FrameSize(*self.pixels.shape[-2:])
        if own == size:
            return f"{own}, taken as it is"
        alike = own.width * size.height == size.width * own.height
        fitted = "" if alike else f"{_FITTED[self.fit]}, "
        return f"{own}, {fitted}resized to {size}"


GivenPicture = Path | Image.Image | NDArray[np.uint8]
"""A file, a Pillow image, or uint8 RGB (H, W, 3)."""


def load_first_frame(picture: GivenPicture, size: FrameSize, fit: FitName = "crop") -> FirstFrame:
    """Read a picture, turn it upright, and fit it to a size in the way the store's frames were.

    Raises:
        UserError: the file is missing, or it is not a picture.
    """
    upright = Image.fromarray(_upright(picture))
    fitted = _FITS[fit](upright, (size.width, size.height), Image.Resampling.LANCZOS)
    pixels = torch.from_numpy(np.asarray(fitted).copy()).permute(2, 0, 1)[None]
    return FirstFrame(pixels, *upright.size, fit)


def _upright(picture: GivenPicture) -> NDArray[np.uint8]:
    """RGB of a picture, shape (H, W, 3)."""
    if isinstance(picture, np.ndarray):
        if picture.dtype != np.uint8 or picture.ndim != 3 or picture.shape[-1] != 3:
            raise UserError(
                f"image: an array of {picture.dtype}, shape {picture.shape}; give uint8 RGB of"
                " shape (height, width, 3)"
            )
        return picture
    try:
        if isinstance(picture, Image.Image):
            return upright_rgb(picture)
        if not picture.exists():
            raise UserError(f"--image {picture}: no such file")
        return read_picture(picture)
    except (PictureError, OSError) as error:
        named = "image" if isinstance(picture, Image.Image) else f"--image {picture}"
        raise UserError(f"{named}: not a readable picture ({error})") from None


def save_video(path: Path, film: Film, *, fps: float) -> None:
    """Write an H.264 mp4 that plays anywhere.

    4:2:0, even sizes by repeating the edge, its index first so that it plays while it loads.
    """
    import av

    film = np.pad(
        film, ((0, 0), (0, 0), (0, film.shape[-2] % 2), (0, film.shape[-1] % 2)), mode="edge"
    )
    path.parent.mkdir(parents=True, exist_ok=True)
    faststart = {"movflags": "faststart"}
    with av.open(str(path.absolute()), "w", format="mp4", container_options=faststart) as container:
        stream = container.add_stream(
            "libx264", rate=Fraction(fps).limit_denominator(1000), options={"crf": "12"}
        )
        stream.height, stream.width = film.shape[-2:]
        stream.pix_fmt = "yuv420p"
        for frame in film:
            picture = np.ascontiguousarray(frame.transpose(1, 2, 0))
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        container.mux(stream.encode())


_SMALLEST_VIDEO_PX, _SMALLEST_ARROWS = 256, 4
"""Longer side in pixels to which smaller clips are enlarged, so that players show them well, and
the least enlargement of clips with arrows."""

_SHEET_COLUMNS = 16
"""Most frames of a video on its contact sheet, evenly spaced."""

_PATIENCE_SECONDS = 2.0


@dataclass(frozen=True)
class SampleOptions:
    """A request: videos to generate, and their place.

    Attributes:
        out: the video; pictures are written next to it.
        label: index into the store's labels; None: no condition.
        seed: of the first video; the next ones count on from it.
        count: videos.
        frames: of each video; None: as many as a clip has.
        fps: frames a second of the files.
        stride: distance between frames, for a run that is conditioned on it; None: not given.
    """

    out: Path = Path("samples/sample.mp4")
    label: int | None = None
    seed: int = 0
    count: int = 1
    frames: int | None = None
    fps: float = 8.0
    stride: float | None = None

    def __post_init__(self) -> None:
        if self.out.suffix.lower() != ".mp4":
            raise UserError(
                f"--out {self.out}: the video is an mp4; give a name that ends in .mp4"
                " (a GIF and a contact sheet are written next to it)"
            )

    @property
    def seeds(self) -> range:
        """Seed of every video."""
        return range(self.seed, self.seed + self.count)

    @property
    def videos(self) -> list[Path]:
        """Path of every video: `out` itself, or several, numbered by their seeds."""
        if self.count == 1:
            return [self.out]
        digits = len(str(self.seeds[-1]))
        return [self.out.with_stem(f"{self.out.stem}-{seed:0{digits}d}") for seed in self.seeds]


def sample_videos(
    run: Path,
    image: Path | None,
    text: str | None,
    text_encoder: str | None,
    options: SampleOptions,
    sampler: dict[str, float | str | None],
    device: str,
    *,
    motion_from: str | None = None,
    image_model: Path | None = None,
    image_text: str | None = None,
) -> None:
    """Generate videos and write them.

    Args:
        run: a trained run.
        image: any picture; None for a run that generates from noise alone.
        text: a label's, or free where the run has a text encoder; None: no condition.
        text_encoder: where the run's text encoder is now; None: where it was.
        options: see there.
        sampler: options that differ from the run's sampler; None does not.
        device: name.
        motion_from: a store, whose test clips give first frames and motion.
        image_model: folder of a text-to-image pipeline that makes the picture.
        image_text: what the picture shows; None: `text`.
    """
    generator = with_sampler(load_generator(run, choose_device(device)), **sampler)
    label = None if text is None else generator.label_index(text, text_encoder)
    if label is not None:
        _name_untrained(RunFolder(run), generator, label)
    if text is None and sampler.get("guidance") is not None:
        raise UserError("--guidance leads towards a text; give --text too, or leave it out")
    options = replace(options, label=label)
    if motion_from is not None and (image_model or image_text):
        raise UserError(f"--motion-from {motion_from} gives first frames: leave out --image-model")
    if motion_from is None:
        given: GivenPicture | None = image
        if image_model is not None or image_text is not None:
            given = _made_picture(image, image_model, image_text or text, options, device)
        pixels, notes = first_pixels(generator, given)
        for note in notes:
            console.print(note, markup=False)
        console.print(describe_sampling(generator, options, text), markup=False)
        decoded = generate_videos(generator, pixels, options)
    else:
        decoded = _generate_from_motion(generator, run, image, motion_from, options)
    for path in write_videos(decoded, generator, options):
        console.print(f"wrote {path}", markup=False)


def _made_picture(
    image: Path | None, model: Path | None, text: str | None, options: SampleOptions, device: str
) -> NDArray[np.uint8]:
    """A first frame that a text-to-image pipeline makes; it is also written next to the video."""
    if model is None:
        raise UserError("--image-text is for --image-model FOLDER, which makes the first frame")
    if image is not None or text is None:
        wrong = "with --image, too" if image is not None else "without a text"
        raise UserError(f"--image-model {model} {wrong}: give it and --image-text, or --image")
    pixels = picture_from_text(model, text, options.seed, choose_device(device))
    path = options.out.with_name(f"{options.out.stem}-image.png")
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path)
    console.print(f"wrote {path}, made from {text!r}", markup=False)
    return pixels


def _generate_from_motion(
    generator: Generator, run: Path, image: Path | None, store_path: str, options: SampleOptions
) -> Decoded:
    """Clips from given frames and motion of a store's test clips, those of the label if one is.

    Raises:
        UserError: the run takes no motion, the store is another one, or has no such clips.
    """
    named = f"--motion-from {store_path}"
    if generator.guide is None:
        raise UserError(f"{named}: this run has no guide that makes motion; leave it out")
    if (image, options.frames, options.stride) != (None, None, None):
        raise UserError(
            f"{named} gives first frames, length and stride: leave out --image, --frames and"
            " --stride"
        )
    store = open_path(store_path)
    check_same_store({"store": generator.store.model_dump(mode="json")}, store, run)
    clips = Clips(store, generator.recipe.split)
    fitting = clips.test
    if options.label is not None:
        fitting = fitting[clips.label[fitting] == options.label]
    if len(fitting) < options.count:
        raise UserError(
            f"{named}: it has {len(fitting)} test clips to begin with, not {options.count}; give a"
            " smaller --count, or another --text"
        )
    indices = fitting[evenly_spaced(len(fitting), options.count)]
    known = real_guidance(generator, clips, indices)
    console.print(
        f"motion and first frames of clips {', '.join(map(str, indices))} of {store_path}",
        markup=False,
    )
    first, labels = known.pop("first_frame"), [options.label] * options.count
    return replace(generator, guide=None)(first, labels, options.seeds, known=known)


def first_pixels(
    generator: Generator, image: GivenPicture | None
) -> tuple[Tensor, tuple[str, ...]]:
    """The first frame, uint8 (1, 3, H, W), and how it was made, for people.

    Zeros for a run that takes none.

    Raises:
        UserError: the run takes none and one is given, or it takes one that is not there.
    """
    store, takes = generator.store.options, generator.space.takes_first_frame
    if takes != (image is not None):
        raise UserError(
            "--image: give the picture that the video begins with"
            if takes
            else "--image: this run generates from noise alone; leave it out"
        )
    if image is None:
        return torch.zeros(1, 3, *store.size, dtype=torch.uint8), ()
    first_frame = load_first_frame(image, store.size, store.fit)
    named = image if isinstance(image, Path) else "image"
    notes = [f"{named}: {first_frame.how}, as the store's frames were"]
    if store.crop:
        top, bottom, left, right = store.crop
        notes.append(
            f"the store's frames were first cut to rows {top}:{bottom} and columns {left}:{right};"
            " give a picture that is cut likewise"
        )
    return first_frame.pixels, tuple(notes)


def _name_untrained(run: RunFolder, generator: Generator, label: int) -> None:
    """Say where the run was trained without a clip of the label."""
    if not (run.statistics / "config.json").exists():
        return
    untrained = load_config(run.statistics, "encode again").get("untrained_labels", [])
    named = generator.store.labels[label] if label < len(generator.store.labels) else None
    if named in untrained:
        errors.print(
            f"No training clip of this run has the label {named!r}: what is generated for it has"
            " not been learned"
        )


def describe_sampling(generator: Generator, options: SampleOptions, text: str | None) -> str:
    """Sampler, guidance, seeds and length of what is about to be generated, for people."""
    sampler, clip_frames = generator.recipe.sampler, generator.store.options.frames
    frames = options.frames or clip_frames
    clips = clips_for(frames, clip_frames, generator.space.adds)
    seeds = f"seed {options.seed}"
    if options.count > 1:
        seeds = f"seeds {options.seed} to {options.seeds[-1]}"
    led = generator.guide or generator  # see `with_sampler`
    strength = led.recipe.sampler.guidance
    guidance = "no text" if text is None else f"{text!r}, guidance {strength:g}"
    chained = f" in {clips} clips, {generator.space.continues}" if clips > 1 else ""
    return f"{sampler.name}, {sampler.steps} steps; {guidance}; {seeds}; {frames} frames{chained}"


OnStep = Callable[[int, int], object]
"""Called after each sampling step with the number of steps done, and of all."""


def generate_videos(
    generator: Generator,
    first_frame: Tensor,
    options: SampleOptions,
    on_step: OnStep = lambda done, steps: None,
) -> Decoded:
    """Videos of all seeds from one first frame, uint8 (1, 3, H, W): see `generate_frames`.

    Raises:
        UserError: a stride is given, and the run is not conditioned on it.
    """
    known = {}
    if options.stride is not None:
        if "stride" not in generator.space.asks:
            raise UserError(
                f"--stride {options.stride:g}: this run is not conditioned on it; leave it out, or"
                " train a recipe with space.stride=true"
            )
        known["stride"] = torch.full((options.count, 1), options.stride)
    clip_frames = generator.store.options.frames
    frames = options.frames or clip_frames
    clips = clips_for(frames, clip_frames, generator.space.adds)
    steps = batches(options.count) * sum(generator.steps(clip) for clip in range(clips))
    counted = itertools.count(1)
    with Progress().bar("sampling", steps, "steps", patience_seconds=_PATIENCE_SECONDS) as bar:

        def step() -> None:
            bar()
            on_step(next(counted), steps)

        return generate_frames(
            generator,
            first_frame.expand(options.count, -1, -1, -1),
            [options.label] * options.count,
            options.seeds,
            frames,
            step,
            known,
        )


def write_videos(decoded: Decoded, generator: Generator, options: SampleOptions) -> list[Path]:
    """Write each video as mp4 and GIF, and one contact sheet of all.

    Parts that the space draws have videos of their own, in files named after the part: arrows on
    the frames, or colours or greys, in which one scale holds for all videos.

    Returns:
        Paths of the files.
    """
    clips = decoded.frames.numpy()
    written = _write(
        options.videos, list(clips), _SMALLEST_VIDEO_PX // max(clips.shape[-2:]), options
    )
    written.append(_write_sheet(options.out.with_suffix(".png"), list(clips)))
    for part, drawing in generator.space.draws.items():
        field = decoded.parts[part].numpy()
        films, legend = draw_part(clips, field, drawing, generator.store.options)
        names = [path.with_stem(f"{path.stem}-{part}") for path in options.videos]
        written += _write(names, films, 1, options, legend)
    return written


def draw_part(
    clips: np.ndarray, part: np.ndarray, drawing: Drawing, store: CodecOptions
) -> tuple[list[Film], Picture | None]:
    """An enlarged film of each clip's part, and the legend in it, if colours need one.

    Args:
        clips: shape (B, T, 3, H, W).
        part: of them, shape (B, T-1, ...).
        drawing: how.
        store: options.
    """
    factor = _SMALLEST_VIDEO_PX // max(clips.shape[-2:])
    if drawing == "arrows":
        pairs = zip(clips, part, strict=True)
        return [_with_vectors(*pair, store, max(_SMALLEST_ARROWS, factor)) for pair in pairs], None
    cells, legend = draw_cells(part, drawing)
    # The given frame's: no motion, all visible.
    cells = np.concatenate([np.full_like(cells[:, :1], 255), cells], axis=1)
    films = list(enlarge(over_frames(cells, *clips.shape[-2:]), max(1, factor)))
    return films if legend is None else [_with_legend(film, legend) for film in films], legend


def _with_legend(film: Film, legend: Picture) -> Film:
    frames = [add_legend(frame.transpose(1, 2, 0), legend) for frame in film]
    return np.stack(frames).transpose(0, 3, 1, 2)


def _with_vectors(clip: Film, motion: np.ndarray, store: CodecOptions, factor: int) -> Film:
    """The clip enlarged, with arrows on all frames but the first."""
    drawn = draw_vectors(
        clip, motion, block=store.block, vector_unit=store.vector_unit, factor=factor
    )
    return np.concatenate([enlarge(clip[:1], factor), drawn])


def _write(
    names: list[Path],
    films: list[Film],
    factor: int,
    options: SampleOptions,
    legend: Picture | None = None,
) -> list[Path]:
    """Write each film as mp4 and GIF; a legend has all the colours of its film."""
    written = []
    for name, film in zip(names, films, strict=True):
        large = enlarge(film, max(1, factor))
        save_video(name, large, fps=options.fps)
        name.with_suffix(".gif").write_bytes(gif(large, fps=options.fps, colours=legend))
        written += [name, name.with_suffix(".gif")]
    return written


def _write_sheet(path: Path, films: list[Film]) -> Path:
    path.write_bytes(png(contact_sheet(films, every=-(-len(films[0]) // _SHEET_COLUMNS))))
    return path
