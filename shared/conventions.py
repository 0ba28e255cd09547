"""Sizes, axes, vectors, reference, compensation, luma, ties, labels: stated once, pinned by tests.

A clip is uint8 RGB, shape (T, 3, H, W). Sizes are (height, width) in code and WIDTHxHEIGHT for
people and in files: `FrameSize`. The *current* frame n is tiled into blocks of b x b
pixels; the grid is ceil(H/b) x ceil(W/b) and blocks over the right or lower edge are cut.

A motion vector points from a block to its predictor in the reference frame, in units of 1/u pixel
where u, the option `vector_unit`, is 1 (whole pixels), 2 or 4: channel 0 is x to the right,
channel 1 is y downwards (int8). With whole pixels::

    prediction[y, x] = reference[clamp(y + mv_y), clamp(x + mv_x)]

`clamp` replicates the edge, so that any generated vector decodes. The search itself keeps
predictors inside the frame. This is the P-frame convention of H.264 (ITU-T H.264, 8.4).

Between pixels the reference is interpolated bilinearly, in integers, rounding halves up. With
whole part i = floor(mv / u) and fraction f = mv - u i, both of them in x and y, and A, B, C, D the
reference at (y + i_y, x + i_x), one to the right, one below, and both, all clamped::

    prediction[y, x] = ((u - f_x) (u - f_y) A + f_x (u - f_y) B
                        + (u - f_x) f_y C + f_x f_y D + floor(u^2 / 2)) // u^2

That is H.264's interpolation of chroma (8.4.2.2.2) and, for halves, MPEG-4's with
`vop_rounding_type` 0. A vector means the same in any unit that can express it.

With the reference `either`, a block chooses between the previous frame and frame 0, as H.264's
blocks choose by `ref_idx` (7.4.5.1): channel 2 of its motion is the reference index, 0 for the
previous frame, 1 for frame 0. Where a generated index is neither, anything but 0 means frame 0.

The option `compensation` says which vectors predict a pixel: with `block` that of its own block;
with `overlapped` and `interpolated` those of the four blocks whose centres surround it. Block j has
its centre at b j + (b - 1) / 2. Along each axis pixel p lies between the centres of blocks m - 1
and m, the fraction r / 2b of the way::

    m = (2 p + 1 + b) // 2b        r = (2 p + 1 + b) mod 2b

Blocks outside the grid have the vector of the nearest one in it. All is in integers:

`overlapped` is overlapped block motion compensation (Orchard and Sullivan 1994, "Overlapped Block
Motion Compensation: An Estimation-Theoretic Approach"; H.263, annex F): the pixel is predicted as
above by each of the four vectors, from that block's own reference, rounded to a grey level; then
the four predictions P are averaged under raised-cosine windows of two blocks. The weights of blocks
m - 1 and m along an axis are 64 - w and w, that of a block is the product along both::

    w = floor(64 sin^2(pi r / 4b) + 1/2)
    prediction[y, x] = (sum of the four weight * P + 2048) >> 12

`interpolated` is a control grid (Sullivan and Baker 1991, "Motion Compensation for Video
Compression Using Control Grid Interpolation"): the four vectors v are interpolated bilinearly, with
weights 2b - r and r along each axis, and rounded to 1/64 pixel; the pixel is then read there as
above, with u = 64::

    mv = floor((64 * sum of the four weight * v) / (u (2b)^2) + 1/2)

Vectors into different frames are not mixed: where a block chose another reference than the pixel's
own block, the latter's vector stands in for its own.

If all four vectors (and references) are equal, the prediction is that of `block`, bit for bit. The
search does not depend on the compensation: it matches each block alone, and the residual is then
taken against the compensated prediction.

The residual is current - prediction, int16 in [-255, 255]; first frame + motion + residual give
back every frame bit for bit.

Search cost is the sum of absolute differences (SAD) on luma. Ties go to the zero vector, then
to raster order of (y, x), with strict `<`. Between pixels only the neighbourhood of the best
whole-pixel vector is searched: see `preprocess.motion.subpixel`. A search may add a cost for each
pixel of a vector's length. Where blocks choose their reference, each frame's best vector is found
alone, with its own cost; frame 0 is taken where it costs less, and the index 1 counts as one pixel
of vector length. Ties go to the previous frame.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple, get_args

import numpy as np
from numpy.typing import NDArray
from pydantic_core import CoreSchema, core_schema

from shared.errors import UserError

Reference = Literal["previous", "first", "either"]
Compensation = Literal["block", "overlapped", "interpolated"]

REFERENCES: tuple[Reference, ...] = get_args(Reference)
"""`previous`: frame n is predicted from n-1 (the paper). `first`: from frame 0 (cannot drift).
`either`: each block from one of them, with a reference index after its vector."""

COMPENSATIONS: tuple[Compensation, ...] = get_args(Compensation)
"""`block`: a pixel moves with its block (the paper). `overlapped`: blends what the nearest four
blocks' vectors predict. `interpolated`: moves by a vector interpolated between those four."""

MAX_SIDE_PX = 4096
"""Largest height and width of stored frames."""

BLOCKS: tuple[int, ...] = (4, 8, 16, 32)
"""Allowed block sizes, pixels."""

VECTOR_UNITS: tuple[int, ...] = (1, 2, 4)
"""Allowed units u of vectors: whole, half and quarter pixels."""

FINE_UNIT = 64
"""Interpolated vectors are rounded to 1/64 pixel."""

WINDOW_SCALE = 64
"""Sum of the weights of overlapped windows along an axis."""

MAX_VECTOR = 127
"""Largest component of a vector, which is int8."""

MAX_SEARCH_RANGE_PX = MAX_VECTOR
"""Largest search range with whole pixels; in finer units, search_range x vector_unit must fit."""

NO_INDEX = -1
"""Value of `label` and `subject` for a clip that has none."""


@dataclass(frozen=True)
class Codec:
    """Parameters of motion compensation: all that decoding needs besides the arrays.

    Attributes:
        block: block size b, pixels; one of `BLOCKS`.
        reference: frame that vectors point into; one of `REFERENCES`.
        vector_unit: u; vectors are in units of 1/u pixel; one of `VECTOR_UNITS`.
        compensation: which vectors predict a pixel; one of `COMPENSATIONS`.

    Raises:
        ValueError: an attribute is not allowed; the message names it.
    """

    block: int
    reference: Reference = "previous"
    vector_unit: int = 1
    compensation: Compensation = "block"

    def __post_init__(self) -> None:
        _require_one_of("block", self.block, BLOCKS)
        _require_one_of("reference", self.reference, REFERENCES)
        _require_one_of("vector_unit", self.vector_unit, VECTOR_UNITS)
        _require_one_of("compensation", self.compensation, COMPENSATIONS)


def _require_one_of(name: str, value: object, allowed: tuple[object, ...]) -> None:
    if value not in allowed:
        raise ValueError(f"{name} {value!r}; it must be one of {', '.join(map(str, allowed))}")


def motion_channels(reference: Reference) -> int:
    """Channels of motion: x and y, and the reference index where blocks choose."""
    return 3 if reference == "either" else 2


def grid_shape(height: int, width: int, block: int) -> tuple[int, int]:
    """Number of blocks down and across, counting cut ones: (ceil(H/b), ceil(W/b))."""
    return -(-height // block), -(-width // block)


def luma(frames: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """BT.601 luma in integers, (77 R + 150 G + 29 B + 128) >> 8.

    Args:
        frames: uint8 RGB, shape (..., 3, H, W).

    Returns:
        uint8, shape (..., H, W).
    """
    red, green, blue = (frames[..., channel, :, :] for channel in range(3))
    # 256 * 255 + 128 still fits in 16 bits.
    total = red * np.uint16(77) + green * np.uint16(150) + blue * np.uint16(29) + np.uint16(128)
    return (total >> 8).astype(np.uint8)


class FrameSize(NamedTuple):
    """Height and width, pixels.

    Its text is WIDTHxHEIGHT, as FFmpeg writes sizes; pydantic's models read any notation of `parse`
    and write that of `option`.
    """

    height: int
    width: int

    @classmethod
    def parse(cls, value: object) -> FrameSize:
        """Read a size: a whole number, the side of a square; or WIDTHxHEIGHT, as in 256x144.

        Raises:
            ValueError: it is neither, or too small or large.
        """
        if isinstance(value, cls):
            sides = value
        else:
            text = str(value) if type(value) is int or isinstance(value, str) else ""
            found = re.fullmatch(r"(\d{1,9})(?:x(\d{1,9}))?", text, re.ASCII)
            width, height = (found[1], found[2] or found[1]) if found else (0, 0)
            sides = cls(int(height), int(width))
        if not all(1 <= side <= MAX_SIDE_PX for side in sides):
            raise ValueError(
                f"must be the side of a square, or WIDTHxHEIGHT as in 256x144; 1 to {MAX_SIDE_PX}"
                " pixels a side"
            )
        return sides

    def __str__(self) -> str:
        return f"{self.width}x{self.height}"

    @property
    def option(self) -> int | str:
        """Value in options and files, which `parse` reads: 64 for a square, else 256x144."""
        return self.width if self.width == self.height else str(self)

    @property
    def pixels(self) -> int:
        """Number of pixels of a frame."""
        return self.height * self.width

    @classmethod
    def __get_pydantic_core_schema__(cls, source: Any, handler: Any) -> CoreSchema:
        """Schema of pydantic: `parse`, and back by `option`."""
        return core_schema.no_info_plain_validator_function(
            cls.parse,
            serialization=core_schema.plain_serializer_function_ser_schema(
                lambda size: size.option
            ),
        )


def normalised(text: str) -> str:
    """Compose a text's characters (Unicode NFC) and remove blanks at its ends.

    File systems and keyboards write the same letters in different ways.
    """
    return unicodedata.normalize("NFC", text).strip()


def find_label(text: str, labels: Sequence[str]) -> int | None:
    """Index of the label that a text names; None if there is none.

    A label of the very same text comes first, then of the same normalised text, then without case.

    Raises:
        UserError: several labels are equally near.
    """

    def folded(text: str) -> str:
        return normalised(normalised(text).casefold())

    for form in (str, normalised, folded):
        near = [index for index, label in enumerate(labels) if form(label) == form(text)]
        if len(near) > 1:
            several = ", ".join(repr(labels[index]) for index in near)
            raise UserError(f"{text!r} may be any of the labels {several}; give one as it is there")
        if near:
            return near[0]
    return None
