"""Options of the command line: their flags, checked values, and the default name of a store."""

from __future__ import annotations

import inspect
import re
import zlib
from collections.abc import Callable
from functools import wraps
from pathlib import Path
from typing import Annotated, Any, Literal, TypeAlias, cast

import typer
from pydantic import ValidationError

from shared.conventions import FrameSize
from shared.errors import UserError
from shared.manifest import Manifest
from shared.schema import REMOVED_OPTIONS, CodecOptions

Workers = Annotated[
    int | None, typer.Option(min=1, help="Processes; 1 stays in this one. Default: all CPUs")
]
Scheduler = Annotated[
    str | None,
    typer.Option(
        metavar="tcp://HOST:PORT",
        help="Use the workers of this Dask scheduler; root and store must be visible to them.",
    ),
]

CLIP_OPTIONS: dict[str, Any] = {
    "size": Annotated[
        str | None,
        typer.Option(
            metavar="SIDE|WIDTHxHEIGHT",
            help="Size of the frames, pixels: 64 for squares, 256x144 for 256 across and 144 down."
            " Default: the data set's; bair and weizmann 64, else 128",
        ),
    ],
    "frames": Annotated[
        int | None, typer.Option(help="Frames in a clip. Default: the data set's, 16")
    ],
    "stride": Annotated[
        int | None,
        typer.Option(
            help="Take every n-th frame; for windows, and as the largest n of random_stride."
            " Default: the data set's; gestures 3, weizmann 2, else 1"
        ),
    ],
    "clips": Annotated[
        str | None,
        typer.Option(
            metavar="windows|span|random_sorted|jittered|random_stride",
            help="Consecutive clips; one clip of evenly spaced frames of each video or segment; one"
            " of frames drawn at random, in order; one of evenly spaced frames, each moved at"
            " random between its neighbours; or one of every n-th frame, n drawn up to --stride."
            " Default: the data set's; natops, mhad and mug span, else windows",
        ),
    ],
    "hop": Annotated[
        int | None,
        typer.Option(
            help="Frames from one window to the next. Default: the data set's; weizmann 2, else no"
            " overlap, no gap"
        ),
    ],
    "seed": Annotated[int | None, typer.Option(help="Seed of the random --clips. Default: 0")],
    "draws": Annotated[
        int | None,
        typer.Option(
            help="Clips that the random --clips draw of each video or segment. Default: 1"
        ),
    ],
    "fps": Annotated[
        float | None,
        typer.Option(help="Take frames by time, at this rate. Default: every frame, in order"),
    ],
    "fit": Annotated[
        str | None,
        typer.Option(
            metavar="crop|pad|stretch",
            help="Give frames the aspect of the size: cut them, add black bars, or distort them."
            " Default: the data set's; weizmann-original pad, else crop",
        ),
    ],
    "crop": Annotated[
        str | None,
        typer.Option(
            metavar="TOP:BOTTOM,LEFT:RIGHT|none",
            help="Part of the upright frame to use, pixels. Default: the data set's; natops"
            " 10:239,30:290, mhad 0:480,156:492, else none",
        ),
    ],
    "hdr": Annotated[
        str | None,
        typer.Option(
            metavar="tonemap|refuse",
            help="Videos of high dynamic range or wide gamut: map them to SDR, or reject them."
            " Default: tonemap",
        ),
    ],
    "deinterlace": Annotated[
        str | None,
        typer.Option(
            metavar="off|bwdif|yadif",
            help="Make whole frames of those that are stored as two fields, by this filter of"
            " FFmpeg. Default: off",
        ),
    ],
    "decoder": Annotated[
        str | None,
        typer.Option(
            metavar="pyav|ffmpeg",
            help="Decode video files by PyAV's library, or by an ffmpeg program: the one that"
            " FFMPEG names, the system's, or imageio-ffmpeg's. Default: pyav",
        ),
    ],
    "filter": Annotated[
        str | None,
        typer.Option(
            metavar="CHAIN",
            help="Filters of ffmpeg that frames pass, as for its -vf: hqdn3d=4, lut3d=FILE,"
            " bwdif=mode=send_frame. They must keep number and times of frames. Needs --decoder"
            " ffmpeg",
        ),
    ],
    "hwaccel": Annotated[
        str | None,
        typer.Option(
            metavar="cuda|vaapi|...",
            help="Let ffmpeg decode on this hardware. Needs --decoder ffmpeg",
        ),
    ],
    "cuts": Annotated[
        str | None,
        typer.Option(
            metavar="keep|skip",
            help="Clips that span a scene cut, fade or dissolve: keep or leave out. Default: keep",
        ),
    ],
    "min_motion": Annotated[
        float | None,
        typer.Option(
            help="Leave out clips that move less: mean length of their vectors, pixels a frame, as"
            " `motion-stats` prints it. Default: none is left out"
        ),
    ],
    "max_motion": Annotated[
        float | None,
        typer.Option(help="Leave out clips that move more. Default: none is left out"),
    ],
}
"""Options of `run` that shape clips, with their flags; each is None where the user gave none."""

SEARCH_OPTIONS: dict[str, Any] = {
    "block": Annotated[
        int | None, typer.Option(help="Block size, pixels: 4, 8, 16 or 32. Default: 16")
    ],
    "search_range": Annotated[
        int | None, typer.Option(help="Largest vector component, pixels. Default: 16")
    ],
    "vector_unit": Annotated[
        int | None,
        typer.Option(
            metavar="1|2|4", help="Vectors in whole, half or quarter pixels. Default: 1, whole"
        ),
    ],
    "reference": Annotated[
        str | None,
        typer.Option(
            metavar="previous|first|either",
            help="Frame that vectors point into; either: each block chooses. Default: previous",
        ),
    ],
    "compensation": Annotated[
        str | None,
        typer.Option(
            metavar="block|overlapped|interpolated",
            help="Predict a pixel by its own block's vector; by those of the nearest four blocks"
            " and average; or by one vector interpolated between them. Default: block",
        ),
    ],
    "method": Annotated[
        str | None,
        typer.Option(
            metavar="exhaustive|h264|variational",
            help="Search method: exhaustive finds each block's optimum; h264 takes the vectors of"
            " x264; variational fits smooth fields to whole frames."
            " Default: exhaustive",
        ),
    ],
    "motion_cost": Annotated[
        float | None,
        typer.Option(
            help="SAD per pixel added for each pixel of vector length; with variational, for each"
            " pixel that neighbouring vectors differ by. Default: 0.3"
        ),
    ],
}
"""Options of `run` and `reblock` that shape vectors and residuals, with their flags."""


def takes_options(options: dict[str, Any]) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Give a command these options, in place of its parameter `given`, a dict of them by name.

    Options of earlier versions are refused by name.
    """
    removed = {
        name: Annotated[str | None, typer.Option(hidden=True, callback=_refuse_removed)]
        for name in REMOVED_OPTIONS
    }

    def decorate(command: Callable[..., None]) -> Callable[..., None]:
        @wraps(command)
        def wrapped(**arguments: Any) -> None:
            for name in removed:
                arguments.pop(name)
            given = {name: arguments.pop(name) for name in options}
            command(given=given, **arguments)

        parameters: list[inspect.Parameter] = []
        for parameter in inspect.signature(command, eval_str=True).parameters.values():
            flags = options | removed if parameter.name == "given" else {}
            parameters += [
                inspect.Parameter(
                    name, inspect.Parameter.KEYWORD_ONLY, default=None, annotation=flag
                )
                for name, flag in flags.items()
            ] or [parameter.replace(kind=inspect.Parameter.KEYWORD_ONLY)]
        wrapped.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
        wrapped.__annotations__ = {p.name: p.annotation for p in parameters}
        return wrapped

    return decorate


def _refuse_removed(context: typer.Context, parameter: Any, value: str | None) -> None:
    if value is not None:
        flag = f"--{parameter.name.replace('_', '-')}"
        raise UserError(f"{flag} was removed from this version; use --motion-cost instead")


CropBox: TypeAlias = tuple[int, int, int, int]

SUFFIXES = {
    "size": "size",
    "frames": "frames",
    "stride": "stride",
    "clips": "clips",
    "hop": "hop",
    "seed": "seed",
    "draws": "draws",
    "fps": "fps",
    "fit": "fit",
    "crop": "crop",
    "hdr": "hdr",
    "deinterlace": "deinterlace",
    "decoder": "decoder",
    "filter": "filter",
    "hwaccel": "hwaccel",
    "cuts": "cuts",
    "min_motion": "minmotion",
    "max_motion": "maxmotion",
    "block": "block",
    "search_range": "range",
    "vector_unit": "unit",
    "reference": "reference",
    "compensation": "compensation",
    "method": "method",
    "motion_cost": "motioncost",
}
"""Prefix of an option's value in the store's name, in this order; defaults are not shown."""


def codec_options(manifest: Manifest, given: dict[str, Any]) -> CodecOptions:
    """Options of an extraction: those given, else the data set's, else the schema's.

    Args:
        manifest: states size, frames, clip policy and geometry.
        given: options by name; None where the user gave none.

    Raises:
        UserError: a value is not allowed; the message names flag, value and what is allowed.
    """
    stated = _stated(given)
    options = _checked({**_defaults(manifest, stated), **stated})
    if options.fps is not None and manifest.source != "video":
        raise UserError(f"--fps {options.fps:g}: the frames of {manifest.name} have no times")
    for name in ("hdr", "deinterlace", "decoder", "filter", "hwaccel"):
        if name in stated and manifest.source != "video":
            raise UserError(f"--{name} {stated[name]}: {manifest.name} holds no video files")
    return options


def change_options(options: CodecOptions, given: dict[str, Any]) -> CodecOptions:
    """Replace options by those given; removed options of earlier versions get their defaults.

    Raises:
        UserError: a value is not allowed; the message names flag, value and what is allowed.
    """
    # Not as dumped: a store does not record what earlier versions did not, whatever is the default.
    own = {name: getattr(options, name) for name in type(options).model_fields}
    return _checked({**own, **REMOVED_OPTIONS, **_stated(given)})


def default_store(manifest: Manifest, given: dict[str, Any], limit: int | None) -> Path:
    """Name a store `stores/<data set>`, with a suffix for each option that is not its default."""
    schema = {name: field.default for name, field in CodecOptions.model_fields.items()}
    stated = _stated(given)
    usual = {**schema, **_defaults(manifest, stated)}
    parts = [manifest.name]
    for name, suffix in SUFFIXES.items():
        if name in stated and stated[name] != usual[name]:
            parts.append(suffix + shown(stated[name]))
    parts += [f"limit{limit}"] if limit is not None else []
    return Path("stores", "-".join(parts))


def _checked(values: dict[str, Any]) -> CodecOptions:
    try:
        return CodecOptions.model_validate(values)
    except ValidationError as error:
        raise UserError("\n".join(map(_explain, error.errors()))) from None


def parse_crop(text: str | None) -> CropBox | Literal["none"] | None:
    """Parse `TOP:BOTTOM,LEFT:RIGHT` or `none` for `codec_options`.

    Raises:
        UserError: the text is neither.
    """
    if text is None or text == "none":
        return cast(Literal["none"] | None, text)
    numbers = re.fullmatch(r"(\d+):(\d+),(\d+):(\d+)", text)
    if numbers is None:
        raise UserError(
            f"--crop {text}: give TOP:BOTTOM,LEFT:RIGHT in pixels, as in 10:239,30:290, or none"
        )
    top, bottom, left, right = map(int, numbers.groups())
    return top, bottom, left, right


def _defaults(manifest: Manifest, stated: dict[str, Any]) -> dict[str, Any]:
    """Defaults of the data set; its stride and hop are for windows only, display for videos."""
    names = ["size", "frames", "clips", "fps", "fit", "crop"]
    if stated.get("clips", manifest.clips) == "windows":
        names += ["stride", "hop"]
    display = "shown" if manifest.source == "video" else "coded"
    return {"display": display, **{name: getattr(manifest, name) for name in names}}


def _stated(given: dict[str, Any]) -> dict[str, Any]:
    """Options that the user gave; a crop of `none` is one, and means no crop box."""
    stated = {name: value for name, value in given.items() if value is not None}
    if "size" in stated:
        stated["size"] = _parse_size(stated["size"])
    return {name: None if value == "none" else value for name, value in stated.items()}


def _parse_size(value: object) -> FrameSize:
    try:
        return FrameSize.parse(value)
    except ValueError as error:
        raise UserError(f"--size {value}: {error}") from None


def shown(value: Any) -> str:
    """Text of an option's value in a store's name."""
    if isinstance(value, FrameSize):
        return str(value.option)
    if isinstance(value, tuple):
        return "x".join(map(str, value))
    if isinstance(value, int | float):
        return f"{value:g}"
    text = str(value).lower()
    # A chain of filters may hold what no name of a folder should.
    return text if re.fullmatch(r"[\w.=:-]{1,40}", text) else f"{zlib.crc32(text.encode()):08x}"


def _explain(error: Any) -> str:
    reason = error["msg"].removeprefix("Value error, ").replace("Input should be", "must be")
    if not error["loc"]:  # several options contradict each other
        return str(reason)
    flag = "--" + str(error["loc"][0]).replace("_", "-")
    return f"{flag} {error['input']}: {reason}"
