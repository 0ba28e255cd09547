"""Command-line options of `run` and `reblock`: types, help and what they are by default."""

from __future__ import annotations

from typing import Annotated

import typer

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
