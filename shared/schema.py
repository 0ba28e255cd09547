"""Schema of a store: its version, the options that shaped its bytes, and every array it holds."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    SerializerFunctionWrapHandler,
    field_validator,
    model_serializer,
    model_validator,
)

from shared.conventions import (
    BLOCKS,
    MAX_SEARCH_RANGE_PX,
    MAX_VECTOR,
    VECTOR_UNITS,
    Codec,
    Compensation,
    FrameSize,
    Reference,
    grid_shape,
    motion_channels,
)
from shared.motion_statistics import SEARCH

SCHEMA_VERSION = 2

COLOUR = "RGB, full range; luma BT.601"

FitName = Literal["crop", "pad", "stretch"]
ClipPolicy = Literal["windows", "span", "random_sorted", "jittered", "random_stride"]
RANDOM_POLICIES: tuple[ClipPolicy, ...] = ("random_sorted", "jittered", "random_stride")
"""Clip policies that draw frames at random, by a seed."""
HdrName = Literal["tonemap", "refuse"]
DeinterlaceName = Literal["off", "bwdif", "yadif"]
DecoderName = Literal["pyav", "ffmpeg"]
CutsName = Literal["keep", "skip"]
MethodName = Literal["exhaustive", "h264", "variational"]
SourceKind = Literal["video", "images", "strips", "bair"]

TRAIN, TEST, NEITHER = 0, 1, -1
"""Values of the array `split`: the side of a protocol that a clip is on."""


REMOVED_OPTIONS: dict[str, Any] = {"zero_bias": 0.0, "cost_from": "zero"}
"""Options of earlier versions that every store records, with the values that change nothing."""


class CodecOptions(BaseModel):
    """Every option that shapes the stored bytes; equal options and videos give equal stores."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    size: FrameSize = FrameSize(128, 128)
    """Height and width of the stored frames; recorded as the side of a square, or `256x144`."""
    frames: int = Field(16, ge=2, le=4096)
    """Frames T in a clip, the first one included."""
    stride: int = Field(1, ge=1)
    """Step between the video frames taken, 1: every frame; for the policies `windows` and
    `random_stride`, which draws one up to it."""
    clips: ClipPolicy = "windows"
    """`windows`: consecutive clips; `span`: one clip of evenly spaced frames of each video or
    segment; `random_sorted`: one clip of frames drawn at random without repetition, in order;
    `jittered`: one clip of the frames of `span`, each but the first and last moved at random;
    `random_stride`: one clip of every n-th frame, n and the place drawn at random."""
    hop: int | None = Field(None, ge=1)
    """Frames from one window's start to the next's; None: frames x stride, no overlap."""
    seed: int = Field(0, ge=0)
    """Seed of the random policies; mixed with each video's name, so their order is irrelevant."""
    draws: int = Field(1, ge=1)
    """Clips drawn of each video or segment, for the random policies only. Recorded if not 1."""
    fps: float | None = Field(None, gt=0, le=1000)
    """Frames a second, taken by their times; None: frames one after another, of any rate."""
    fit: FitName = "crop"
    """Way to give a frame the aspect of `size`: cut two sides, add black bars, or distort it."""
    crop: tuple[int, int, int, int] | None = None
    """Part of the upright frame to use: top, bottom, left, right in pixels, half-open."""
    display: Literal["shown", "coded"] = "shown"
    """`shown`: videos' frames as players show them, mirrored where the file asks for it, of square
    pixels, in SDR; `coded`: only turned, as in every store that does not record it."""
    hdr: HdrName = "tonemap"
    """Map HDR and wide gamut to SDR, or refuse such videos. Recorded if not the default."""
    deinterlace: DeinterlaceName = "off"
    """Filter of FFmpeg that makes interlaced frames whole. Recorded if not off."""
    decoder: DecoderName = "pyav"
    """Library or program that decodes video files. Recorded if not the library."""
    filter: str | None = Field(None, min_length=1)
    """Chain of filters of the program ffmpeg that frames pass. Recorded if there is one."""
    hwaccel: str | None = Field(None, pattern=r"^\w+$")
    """Kind of hardware that the program ffmpeg decodes with. Recorded if there is one."""
    cuts: CutsName = "keep"
    """`skip`: leave out clips that span a scene cut, fade or dissolve. Recorded if not `keep`."""
    min_motion: float | None = Field(None, gt=0, le=SEARCH["search_range"])
    """Leave out clips that move less, mean length of the vectors of `shared.motion_statistics`,
    pixels a frame. Recorded if given."""
    max_motion: float | None = Field(None, gt=0, le=SEARCH["search_range"])
    """Leave out clips that move more, likewise."""
    block: int = 16
    """Block size, pixels."""
    search_range: int = Field(16, ge=0, le=MAX_SEARCH_RANGE_PX)
    """Largest vector component searched, pixels."""
    vector_unit: int = 1
    """Unit of vectors, 1/vector_unit pixel: 1 whole, 2 half, 4 quarter pixels."""
    reference: Reference = "previous"
    """Frame that vectors point into, see `shared.conventions.REFERENCES`."""
    compensation: Compensation = "block"
    """Which vectors predict a pixel, see `shared.conventions`. Recorded if not `block`."""
    method: MethodName = "exhaustive"
    """`exhaustive`: the optimum of each block; `h264`: the choice of x264, which depends on its
    build; `variational`: smooth fields, fitted to whole frames."""
    zero_bias: float = Field(0.0, ge=0, le=255)
    """Recorded only, an option of earlier versions: SAD per block pixel that a vector other than
    zero had to save. See `removed_options`."""
    motion_cost: float = Field(0.3, ge=0, le=255)
    """SAD per block pixel added for each pixel of vector length; with `variational`, for each pixel
    that neighbouring vectors differ by. 0.3 removes vectors that follow
    noise and costs nothing else: docs/experiments, 7."""
    cost_from: Literal["zero", "median", "temporal"] = "zero"
    """Recorded only, an option of earlier versions: the vector that `motion_cost` was measured
    from. See `removed_options`."""

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
    def _strided_alone(self) -> CodecOptions:
        strided = ("windows", "random_stride")
        if self.clips not in strided and self.stride != 1:
            raise ValueError(f"stride belongs to {' and '.join(strided)}; clips is {self.clips}")
        if self.clips != "windows" and self.hop is not None:
            raise ValueError(f"hop belongs to windows; clips is {self.clips}")
        return self

    @model_validator(mode="after")
    def _random_alone(self) -> CodecOptions:
        if self.draws != 1 and self.clips not in RANDOM_POLICIES:
            raise ValueError(
                f"--draws {self.draws}: draws belong to --clips {', '.join(RANDOM_POLICIES)}; clips"
                f" is {self.clips}"
            )
        return self

    @model_serializer(mode="wrap")
    def _without_later_defaults(self, values: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """Leave out what earlier versions did not record, where it changes nothing."""
        recorded: dict[str, Any] = values(self)
        before = {
            "draws": 1,
            "compensation": "block",
            "display": "coded",
            "hdr": "tonemap",
            "deinterlace": "off",
            "decoder": "pyav",
            "filter": None,
            "hwaccel": None,
            "cuts": "keep",
            "min_motion": None,
            "max_motion": None,
        }
        for name, value in before.items():
            if getattr(self, name) == value:
                recorded.pop(name, None)
        return recorded

    @model_validator(mode="after")
    def _program_alone(self) -> CodecOptions:
        if self.decoder == "ffmpeg" and self.deinterlace != "off":
            raise ValueError(
                f"--deinterlace {self.deinterlace} is for --decoder pyav; with ffmpeg give --filter"
                f" {self.deinterlace}=mode=send_frame"
            )
        for name in ("filter", "hwaccel"):
            if (value := getattr(self, name)) is not None and self.decoder != "ffmpeg":
                raise ValueError(f"--{name} {value} needs --decoder ffmpeg; it is {self.decoder}")
        return self

    @model_validator(mode="after")
    def _motion_between(self) -> CodecOptions:
        if self.min_motion and self.max_motion and self.min_motion >= self.max_motion:
            raise ValueError(
                f"--min-motion {self.min_motion:g} leaves no clip below --max-motion"
                f" {self.max_motion:g}; give a smaller one"
            )
        return self

    @model_validator(mode="after")
    def _field_of_one_frame(self) -> CodecOptions:
        if self.method == "variational" and self.reference == "either":
            raise ValueError(
                "--method variational fits the field of one reference frame; give --reference first"
                " or previous"
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
    def codec(self) -> Codec:
        """Everything that decoding depends on besides the arrays."""
        return Codec(self.block, self.reference, self.vector_unit, self.compensation)

    @property
    def removed_options(self) -> dict[str, Any]:
        """Options of earlier versions that shaped this store's vectors, by name.

        The search has them no more: such a store can be read, but its vectors cannot be found anew.
        """
        recorded = {name: getattr(self, name) for name in REMOVED_OPTIONS}
        return {name: value for name, value in recorded.items() if value != REMOVED_OPTIONS[name]}

    @property
    def leaves_out(self) -> bool:
        """Clips are left out by their content."""
        return self.cuts == "skip" or (self.min_motion, self.max_motion) != (None, None)

    @property
    def vector_limit(self) -> int:
        """Largest vector component searched, as stored: in units of 1/vector_unit pixel."""
        return self.search_range * self.vector_unit

    @property
    def grid(self) -> tuple[int, int]:
        """Blocks down and across."""
        return grid_shape(*self.size, self.block)


@dataclass(frozen=True)
class ArraySpec:
    """One array of the store.

    Attributes:
        name: of the array in the group.
        dtype: NumPy's name of the type, or `str`.
        axes: names of the axes. The axis xy has size 3 where the option `reference` is `either`
            (x, y, reference index), else 2.
        units: of the values.
        meaning: of the values, in words.
    """

    name: str
    dtype: str
    axes: tuple[str, ...]
    units: str
    meaning: str

    @property
    def small(self) -> bool:
        """True for arrays of one or a few values for each clip, which are read as a whole."""
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
            "height": options.size.height,
            "width": options.size.width,
            "grid_height": grid_height,
            "grid_width": grid_width,
        }
        return tuple(sizes[axis] for axis in self.axes[1:])

    def meaning_in(self, attributes: StoreAttributes) -> str:
        """Meaning in one store, which says more where options ask for more."""
        if "xy" in self.axes and attributes.options.reference == "either":
            return f"{self.meaning}; with 1 where they point into frame 0, else 0"
        if self.name == "valid" and attributes.options.leaves_out:
            return "false where the video failed or the clip was left out: never used"
        return self.meaning

    def fits(self, dtype: np.dtype[Any]) -> bool:
        """Test whether a NumPy array of that type can hold or be this one."""
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
    """Group attribute `dvdm`: the contents of the store, and how it was made."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    schema_version: int = SCHEMA_VERSION
    sealed: bool = False
    dataset: str
    manifest_hash: str
    source: SourceKind = "video"
    """Kind of the videos: files, folders of images, strips of frames, or records of BAIR."""
    options: CodecOptions
    colour: str = COLOUR
    labels: tuple[str, ...] = ()
    subjects: tuple[str, ...] = ()
    splits: dict[str, dict[str, Any]] = {}
    """Definition of each protocol, with its seed; its sides are in the array `split`."""
    clips: int
    """Slots for clips, including those that are not valid."""
    shard_clips: int
    """Clips in one shard, which is one partition and one task."""
    plan_hash: str
    """Hash of the planned clips and sides, and of every video's path, size, modification time."""

    @model_validator(mode="before")
    @classmethod
    def _of_earlier_versions(cls, raw: Any) -> Any:
        """Complete recorded options: what is not recorded had another value than the default."""
        options = raw.get("options") if isinstance(raw, dict) else None
        if isinstance(options, dict):
            return {**raw, "options": {"display": "coded", **options}}
        return raw

    @property
    def partitions(self) -> int:
        """Number of partitions; the last may be short."""
        return -(-self.clips // self.shard_clips)

    def clips_in(self, partition: int) -> int:
        """Number of clips in one partition; the last may have fewer."""
        return min(self.shard_clips, self.clips - partition * self.shard_clips)


def check_columns(columns: dict[str, np.ndarray], clips: int, attributes: StoreAttributes) -> None:
    """Check a partition's small arrays against the schema.

    Args:
        columns: by name, clip axis first.
        clips: of the partition.
        attributes: of the store.

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
