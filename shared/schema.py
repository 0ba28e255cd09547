"""The store's schema: version, the options that shaped its bytes, and every array it holds."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, field_validator

from shared.conventions import BLOCKS, MAX_SEARCH_RANGE_PX, Reference, grid_shape

SCHEMA_VERSION = 1

COLOUR = "RGB, full range; luma BT.601"


class CodecOptions(BaseModel):
    """Every option that shapes the stored bytes; equal options and videos give equal stores."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    size: int = Field(128, ge=1, le=4096)
    """Height and width of the stored frames, pixels."""
    frames: int = Field(16, ge=2, le=4096)
    """Frames T in a clip, the first one included."""
    stride: int = Field(1, ge=1)
    """Every how many video frames one is taken."""
    block: int = 16
    """Block size, pixels."""
    search_range: int = Field(16, ge=0, le=MAX_SEARCH_RANGE_PX)
    """Largest vector component searched, pixels."""
    reference: Reference = "previous"
    method: Literal["exhaustive"] = "exhaustive"
    zero_bias: float = Field(0.0, ge=0, le=255)
    """SAD per block pixel that a vector other than zero must save."""
    motion_cost: float = Field(0.0, ge=0, le=255)
    """SAD per block pixel added for each pixel of vector length."""

    @field_validator("block")
    @classmethod
    def _known_block(cls, block: int) -> int:
        if block not in BLOCKS:
            raise ValueError(f"must be one of {', '.join(map(str, BLOCKS))}")
        return block

    @property
    def grid(self) -> tuple[int, int]:
        """Blocks down and across."""
        return grid_shape(self.size, self.size, self.block)


@dataclass(frozen=True)
class ArraySpec:
    """One array of the store. Axis names: clip, time, and sizes given as letters or numbers."""

    name: str
    dtype: str
    axes: tuple[str, ...]
    units: str
    meaning: str

    def shape(self, options: CodecOptions) -> tuple[int, ...]:
        """Shape of one clip's entry, without the clip axis."""
        grid_height, grid_width = options.grid
        sizes = {
            "time": options.frames - 1,
            "rgb": 3,
            "xy": 2,
            "height": options.size,
            "width": options.size,
            "grid_height": grid_height,
            "grid_width": grid_width,
        }
        return tuple(sizes[axis] for axis in self.axes[1:])

    def fits(self, dtype: np.dtype[Any]) -> bool:
        """Whether a numpy array of that type can hold or be this one."""
        return dtype.kind in "UTO" if self.dtype == "str" else dtype == self.dtype


ARRAYS: tuple[ArraySpec, ...] = (
    ArraySpec("first_frame", "uint8", ("clip", "rgb", "height", "width"), "grey levels", "frame 0"),
    ArraySpec(
        "motion",
        "int8",
        ("clip", "time", "xy", "grid_height", "grid_width"),
        "pixels",
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
    ArraySpec(
        "start_frame", "int32", ("clip",), "frames", "index of frame 0 among the decoded frames"
    ),
    ArraySpec("valid", "bool", ("clip",), "flag", "false where the video failed: never used"),
)


class StoreAttributes(BaseModel):
    """The group attribute `dvdm`: what the store holds, and how it was made."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    schema_version: int = SCHEMA_VERSION
    sealed: bool = False
    dataset: str
    manifest_hash: str
    options: CodecOptions
    crop: str = "centre square"
    colour: str = COLOUR
    labels: tuple[str, ...] = ()
    subjects: tuple[str, ...] = ()
    splits: dict[str, dict[str, Any]] = {}
    clips: int
    """Slots, including those that turned out not to be valid."""
    shard_clips: int
    """Clips in one shard = one partition = one task."""
    plan_hash: str
    """Of the planned clips: path, size and modification time of every video, and start frames."""

    @property
    def partitions(self) -> int:
        """Number of partitions, the last of which may be short."""
        return -(-self.clips // self.shard_clips)

    def clips_in(self, partition: int) -> int:
        """Clips of one partition; the last may have fewer."""
        return min(self.shard_clips, self.clips - partition * self.shard_clips)


def check_partition(arrays: dict[str, np.ndarray], options: CodecOptions) -> int:
    """Check one partition's arrays against the schema.

    Args:
        arrays: by name, clip axis first.
        options: the options the arrays were made with.

    Returns:
        The number of clips.

    Raises:
        ValueError: an array is missing, unknown, or of the wrong dtype or shape.
    """
    expected = {spec.name for spec in ARRAYS}
    if set(arrays) != expected:
        raise ValueError(f"arrays {sorted(arrays)} differ from the schema's {sorted(expected)}")
    clips = len(arrays["valid"])
    for spec in ARRAYS:
        array, shape = arrays[spec.name], (clips, *spec.shape(options))
        if array.shape != shape or not spec.fits(array.dtype):
            raise ValueError(
                f"array `{spec.name}` is {array.dtype} {array.shape}; the schema says"
                f" {spec.dtype} {shape}"
            )
    return clips
