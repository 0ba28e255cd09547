"""From command-line flags to checked options and a default place for the store."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated, Any, Literal, TypeAlias, cast

import typer
from pydantic import ValidationError

from shared.errors import UserError
from shared.manifest import Manifest
from shared.schema import CodecOptions

# MERGED: Command-line options of `run` and `reblock`: types, help and what they are by default.


Size = Annotated[
    int | None,
    typer.Option(help="Height and width, pixels. Default: the data set's; bair 64, else 128"),
]
Frames = Annotated[int | None, typer.Option(help="Frames in a clip. Default: the data set's, 16")]
Stride = Annotated[
    int | None,
    typer.Option(
        help="Take every so many-th frame; for windows. Default: the data set's; gestures 3, else 1"
    ),
]
Clips = Annotated[
    str | None,
    typer.Option(
        metavar="windows|span|random_sorted",
        help="Consecutive clips; one clip spread evenly over each video or segment; or one of"
        " frames drawn at random, in order. Default: the data set's; natops, mhad and mug"
        " span, else windows",
    ),
]
Hop = Annotated[
    int | None,
    typer.Option(help="Frames from one window to the next. Default: no overlap, no gap"),
]
Seed = Annotated[int | None, typer.Option(help="Of random_sorted. Default: 0")]
Fps = Annotated[
    float | None,
    typer.Option(help="Take frames by time, at this rate. Default: each frame, as it comes"),
]
Fit = Annotated[
    str | None,
    typer.Option(
        metavar="crop|pad|stretch",
        help="How frames become square: cut, black bars, distorted. Default: crop",
    ),
]
Crop = Annotated[
    str | None,
    typer.Option(
        metavar="TOP:BOTTOM,LEFT:RIGHT|none",
        help="Part of the upright frame to use, pixels. Default: the data set's; natops"
        " 10:239,30:290, mhad 0:480,156:492, else none",
    ),
]
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
Block = Annotated[int | None, typer.Option(help="Block size, pixels: 4, 8, 16 or 32. Default: 16")]
SearchRange = Annotated[
    int | None, typer.Option(help="Largest vector component, pixels. Default: 16")
]
VectorUnit = Annotated[
    int | None,
    typer.Option(
        metavar="1|2|4", help="Vectors in whole, half or quarter pixels. Default: 1, whole"
    ),
]
ReferenceFrame = Annotated[
    str | None,
    typer.Option(
        metavar="previous|first|either",
        help="Frame that vectors point into; either: each block chooses. Default: previous",
    ),
]
Method = Annotated[
    str | None,
    typer.Option(
        metavar="exhaustive|h264",
        help="Who searches: exhaustive finds the optimum; h264 takes what x264 chooses. Default:"
        " exhaustive",
    ),
]
ZeroBias = Annotated[
    float | None,
    typer.Option(help="SAD per pixel that a vector other than zero must save. Default: 0"),
]
MotionCost = Annotated[
    float | None,
    typer.Option(
        help="SAD per pixel added for each pixel of vector length, or of distance from what"
        " --cost-from says. Default: 0.3"
    ),
]
CostFrom = Annotated[
    str | None,
    typer.Option(
        metavar="zero|median|temporal",
        help="Vector that --motion-cost is measured from: zero, the median of neighbours above and"
        " in the frame before, or the same block's in the frame before. Default: zero",
    ),
]

CropBox: TypeAlias = tuple[int, int, int, int]

SUFFIXES = {
    "size": "size",
    "frames": "frames",
    "stride": "stride",
    "clips": "clips",
    "hop": "hop",
    "seed": "seed",
    "fps": "fps",
    "fit": "fit",
    "crop": "crop",
    "block": "block",
    "search_range": "range",
    "vector_unit": "unit",
    "reference": "reference",
    "method": "method",
    "zero_bias": "zerobias",
    "motion_cost": "motioncost",
    "cost_from": "costfrom",
}
"""How an option that differs from its default shows in the store's name, in this order."""


def codec_options(manifest: Manifest, given: dict[str, Any]) -> CodecOptions:
    """Options of an extraction: those given, else the data set's, else the schema's.

    Args:
        manifest: states size, frames, clip policy and geometry.
        given: by option name; None where the user gave none.

    Raises:
        UserError: a value is not allowed; the message names flag, value and what is allowed.
    """
    stated = _stated(given)
    options = _checked({**_defaults(manifest, stated), **stated})
    if options.fps is not None and manifest.source != "video":
        raise UserError(f"--fps {options.fps:g}: the frames of {manifest.name} carry no times")
    return options


def change_options(options: CodecOptions, given: dict[str, Any]) -> CodecOptions:
    """Options with those given in place of their own.

    Raises:
        UserError: a value is not allowed; the message names flag, value and what is allowed.
    """
    return _checked({**options.model_dump(), **_stated(given)})


def default_store(manifest: Manifest, given: dict[str, Any], limit: int | None) -> Path:
    """`stores/<data set>`, with a suffix for each given option that is not its default."""
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
    """`TOP:BOTTOM,LEFT:RIGHT` or `none`, as `codec_options` takes it.

    Raises:
        UserError: it is neither.
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
    """What the data set says; its stride and hop are of use to windows alone."""
    names = ["size", "frames", "clips", "fps", "fit", "crop"]
    if stated.get("clips", manifest.clips) == "windows":
        names += ["stride", "hop"]
    return {name: getattr(manifest, name) for name in names}


def _stated(given: dict[str, Any]) -> dict[str, Any]:
    """What the user gave; a crop of `none` is stated, and means no crop box."""
    stated = {name: value for name, value in given.items() if value is not None}
    return {name: None if value == "none" else value for name, value in stated.items()}


def shown(value: Any) -> str:
    """An option's value as it stands in a store's name."""
    if isinstance(value, tuple):
        return "x".join(map(str, value))
    return f"{value:g}" if isinstance(value, int | float) else str(value).lower()


def _explain(error: Any) -> str:
    reason = error["msg"].removeprefix("Value error, ").replace("Input should be", "must be")
    if not error["loc"]:  # several options do not go together
        return str(reason)
    flag = "--" + str(error["loc"][0]).replace("_", "-")
    return f"{flag} {error['input']}: {reason}"
