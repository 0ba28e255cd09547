"""The store's schema: version, the options that shaped its bytes, and every array it holds."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from shared.conventions import (
    BLOCKS,
    MAX_SEARCH_RANGE_PX,
    MAX_VECTOR,
    VECTOR_UNITS,
    CostFrom,
    Reference,
    grid_shape,
    motion_channels,
)

SCHEMA_VERSION = 2

COLOUR = "RGB, full range; luma BT.601"

FitName = Literal["crop", "pad", "stretch"]
ClipPolicy = Literal["windows", "span", "random_sorted"]
MethodName = Literal["exhaustive", "h264"]
SourceKind = Literal["video", "images", "bair"]

TRAIN, TEST, NEITHER = 0, 1, -1
"""Values of the array `split`: the side a clip is on."""


class CodecOptions(BaseModel):
    """Every option that shapes the stored bytes; equal options and videos give equal stores."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    size: int = Field(128, ge=1, le=4096)
    """Height and width of the stored frames, pixels."""
    frames: int = Field(16, ge=2, le=4096)
    """Frames T in a clip, the first one included."""
    stride: int = Field(1, ge=1)
    """Every how many video frames one is taken; for the policy `windows` only."""
    clips: ClipPolicy = "windows"
    """`windows`: consecutive; `span`: one clip, spread evenly over each video or segment;
    `random_sorted`: one clip of frames drawn at random without repetition, in order."""
    hop: int | None = Field(None, ge=1)
    """Frames from one window's start to the next's; None: frames x stride, no overlap."""
    seed: int = Field(0, ge=0)
    """Of `random_sorted`, mixed with each video's name: not dependent on their order."""
    fps: float | None = Field(None, gt=0, le=1000)
    """Frames are taken by time, at this rate; None: one after another, whatever their times."""
    fit: FitName = "crop"
    """How a frame that is not square becomes so: cut at two sides, black bars, or distorted."""
    crop: tuple[int, int, int, int] | None = None
    """Part of the upright frame that is used: top, bottom, left, right in pixels, half-open."""
    block: int = 16
    """Block size, pixels."""
    search_range: int = Field(16, ge=0, le=MAX_SEARCH_RANGE_PX)
    """Largest vector component searched, pixels."""
    vector_unit: int = 1
    """Vectors are in units of 1/vector_unit pixel: 1 whole, 2 half, 4 quarter pixels."""
    reference: Reference = "previous"
    """Frame that vectors point into, see `shared.conventions.REFERENCES`."""
    method: MethodName = "exhaustive"
    """`exhaustive`: the optimum; `h264`: what x264 chooses, which its build has a say in."""
    zero_bias: float = Field(0.0, ge=0, le=255)
    """SAD per block pixel that a vector other than zero must save."""
    motion_cost: float = Field(0.3, ge=0, le=255)
    """SAD per block pixel added for each pixel between a vector and the expected one; 0.3 takes
    away the vectors that follow noise and costs nothing else: docs/experiments, 7."""
    cost_from: CostFrom = "zero"
    """What the expected vector is, see `shared.conventions.COSTS_FROM`."""

    @field_validator("block")
    @classmethod
    def _known_block(cls, block: int) -> int:
        if block not in BLOCKS:
            raise ValueError(f"must be one of {', '.join(map(str, BLOCKS))}")
        return block

    @field_validator("vector_unit")
    @classmethod
    def _known_unit(cls, unit: int) -> int:
        if unit not in VECTOR_UNITS:
            raise ValueError(f"must be one of {', '.join(map(str, VECTOR_UNITS))}")
        return unit

    @field_validator("crop")
    @classmethod
    def _box(cls, crop: tuple[int, int, int, int] | None) -> tuple[int, int, int, int] | None:
        if crop and not (0 <= crop[0] < crop[1] and 0 <= crop[2] < crop[3]):
            raise ValueError("must be top < bottom and left < right, all of them pixels from 0")
        return crop

    @model_validator(mode="after")
    def _windows_alone(self) -> CodecOptions:
        if self.clips != "windows" and (self.stride != 1 or self.hop is not None):
            raise ValueError(f"stride and hop belong to windows; clips is {self.clips}")
        return self

    @model_validator(mode="after")
    def _neighbours_known(self) -> CodecOptions:
        if self.cost_from != "zero" and (self.method != "exhaustive" or self.vector_unit != 1):
            raise ValueError(
                f"--cost-from {self.cost_from} is for whole pixels and the exhaustive search; give"
                " --vector-unit 1 and --method exhaustive, or --cost-from zero"
            )
        return self

    @model_validator(mode="after")
    def _neighbours_of_one_reference(self) -> CodecOptions:
        if self.cost_from != "zero" and self.reference == "either":
            raise ValueError(
                f"--cost-from {self.cost_from} expects a block's vector to be like its neighbours',"
                " and with --reference either those may point into another frame; give --reference"
                " previous or first, or --cost-from zero"
            )
        return self

    @model_validator(mode="after")
    def _vectors_fit(self) -> CodecOptions:
        if self.vector_limit > MAX_VECTOR:
            raise ValueError(
                f"--search-range {self.search_range} in units of 1/{self.vector_unit} pixel is"
                f" {self.vector_limit}, and vectors are int8: at most {MAX_VECTOR}; give"
                f" --search-range {MAX_VECTOR // self.vector_unit} or less, or a smaller"
                " --vector-unit"
            )
        return self

    @property
    def vector_limit(self) -> int:
        """Largest vector component searched, as stored: in units of 1/vector_unit pixel."""
        return self.search_range * self.vector_unit

    @property
    def grid(self) -> tuple[int, int]:
        """Blocks down and across."""
        return grid_shape(self.size, self.size, self.block)


@dataclass(frozen=True)
class ArraySpec:
    """One array of the store. Axis names: clip, time, and sizes given as letters or numbers.

    The axis xy is of size 3 where the option `reference` is `either`: x, y, reference index.
    """

    name: str
    dtype: str
    axes: tuple[str, ...]
    units: str
    meaning: str

    @property
    def small(self) -> bool:
        """Whether all of it is read at once: a number or a few for each clip."""
        return len(self.axes) <= 2

    def shape(self, attributes: StoreAttributes) -> tuple[int, ...]:
        """Shape of one clip's entry, without the clip axis."""
        options = attributes.options
        grid_height, grid_width = options.grid
        sizes = {
            "time": options.frames - 1,
            "frame": options.frames,
            "protocol": max(1, len(attributes.splits)),
            "rgb": 3,
            "xy": motion_channels(options.reference),
            "height": options.size,
            "width": options.size,
            "grid_height": grid_height,
            "grid_width": grid_width,
        }
        return tuple(sizes[axis] for axis in self.axes[1:])

    def meaning_in(self, attributes: StoreAttributes) -> str:
        """What the array of one store holds: where blocks choose their reference, an index too."""
        chosen = "xy" in self.axes and attributes.options.reference == "either"
        return self.meaning + ("; with 1 where they point into frame 0, else 0" if chosen else "")

    def fits(self, dtype: np.dtype[Any]) -> bool:
        """Whether a numpy array of that type can hold or be this one."""
        return dtype.kind in "UTO" if self.dtype == "str" else dtype == self.dtype


ARRAYS: tuple[ArraySpec, ...] = (
    ArraySpec("first_frame", "uint8", ("clip", "rgb", "height", "width"), "grey levels", "frame 0"),
    ArraySpec(
        "motion",
        "int8",
        ("clip", "time", "xy", "grid_height", "grid_width"),
        "1/vector_unit pixels",
        "vectors of frames 1...T-1",
    ),
    ArraySpec(
        "residual",
        "int16",
        ("clip", "time", "rgb", "height", "width"),
        "grey levels",
        "frames 1...T-1 minus their predictions, in [-255, 255]",
    ),
    ArraySpec("label", "int16", ("clip",), "index", "into the attribute `labels`; -1 = none"),
    ArraySpec("subject", "int16", ("clip",), "index", "into the attribute `subjects`; -1 = none"),
    ArraySpec("video", "str", ("clip",), "path", "the video's path relative to the root"),
    ArraySpec("segment", "int32", ("clip",), "index", "repetition within the video, from 0"),
    ArraySpec(
        "start_frame", "int32", ("clip",), "frames", "index of frame 0 among the decoded frames"
    ),
    ArraySpec(
        "frame_index",
        "int32",
        ("clip", "frame"),
        "frames",
        "index of every frame among the decoded frames",
    ),
    ArraySpec(
        "split",
        "int8",
        ("clip", "protocol"),
        "flag",
        "0 train, 1 test, -1 neither, by each protocol in the order of the attribute `splits`",
    ),
    ArraySpec("valid", "bool", ("clip",), "flag", "false where the video failed: never used"),
)

LARGE = tuple(spec.name for spec in ARRAYS if not spec.small)
"""Arrays that are read clip by clip: first_frame, motion, residual."""


class StoreAttributes(BaseModel):
    """The group attribute `dvdm`: what the store holds, and how it was made."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    schema_version: int = SCHEMA_VERSION
    sealed: bool = False
    dataset: str
    manifest_hash: str
    source: SourceKind = "video"
    """What holds a video's frames: a file, a folder of images, a record of BAIR's."""
    options: CodecOptions
    colour: str = COLOUR
    labels: tuple[str, ...] = ()
    subjects: tuple[str, ...] = ()
    splits: dict[str, dict[str, Any]] = {}
    """How each protocol was made, with its seed; its sides are in the array `split`."""
    clips: int
    """Slots, including those that turned out not to be valid."""
    shard_clips: int
    """Clips in one shard = one partition = one task."""
    plan_hash: str
    """Of the planned clips and their sides, and every video's path, size, modification time."""

    @property
    def partitions(self) -> int:
        """Number of partitions, the last of which may be short."""
        return -(-self.clips // self.shard_clips)

    def clips_in(self, partition: int) -> int:
        """Clips of one partition; the last may have fewer."""
        return min(self.shard_clips, self.clips - partition * self.shard_clips)


def check_columns(columns: dict[str, np.ndarray], clips: int, attributes: StoreAttributes) -> None:
    """Check a partition's small arrays against the schema.

    Args:
        columns: by name, clip axis first.
        clips: of the partition.
        attributes: of the store they are for.

    Raises:
        ValueError: an array is missing, unknown, or of the wrong dtype or shape.
    """
    expected = {spec.name: spec for spec in ARRAYS if spec.small}
    if set(columns) != set(expected):
        raise ValueError(f"arrays {sorted(columns)} differ from the schema's {sorted(expected)}")
    for name, spec in expected.items():
        check_array(columns[name], (clips, *spec.shape(attributes)), spec)


def check_array(array: np.ndarray, shape: tuple[int, ...], spec: ArraySpec) -> None:
    """Raise a ValueError unless an array, or a part of one, has this shape and the spec's dtype."""
    if array.shape != shape or not spec.fits(array.dtype):
        raise ValueError(
            f"array `{spec.name}` is {array.dtype} {array.shape}; the schema says"
            f" {spec.dtype} {shape}"
        )
