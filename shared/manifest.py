"""The manifest of a data set: one YAML file with its source, licence, layout and split protocols.

A manifest names split protocols, `preprocess` applies them to the clips it plans, and the store
holds the side of every clip, so that training needs the store alone.
"""

from __future__ import annotations

import hashlib
import re
from pathlib import Path
from typing import Annotated, Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from shared.errors import ManifestError
from shared.schema import ClipPolicy, FitName, SourceKind


class _Protocol(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class RandomSplit(_Protocol):
    """Test groups drawn by a seeded shuffle of the sorted names of all groups.

    The fraction of test groups is `test_fraction`, or test / (train + test), which gives a paper's
    counts if the data set is complete.
    """

    kind: Literal["random"] = "random"
    by: Literal["subject", "video", "segment"]
    """Kind of the groups, none of which is on both sides."""
    test_fraction: float | None = Field(default=None, ge=0, le=1)
    train: int | None = Field(default=None, ge=1)
    test: int | None = Field(default=None, ge=1)
    seed: int = 0

    @model_validator(mode="after")
    def _one_fraction(self) -> RandomSplit:
        counts = self.train is not None and self.test is not None
        if counts == (self.test_fraction is not None):
            raise ValueError("give either test_fraction or both train and test")
        return self

    @property
    def share(self) -> float:
        """Fraction of the groups that are test groups, in [0, 1]."""
        if self.train is None or self.test is None:
            return self.test_fraction or 0.0
        return self.test / (self.train + self.test)


class SubjectSplit(_Protocol):
    """Subjects by name; those on neither list are left out."""

    kind: Literal["subjects"]
    train: tuple[str, ...]
    test: tuple[str, ...]


class PathSplit(_Protocol):
    """Regular expressions that are searched in the video's path, `train` first."""

    kind: Literal["paths"]
    train: str
    test: str

    @field_validator("train", "test")
    @classmethod
    def _check(cls, pattern: str) -> str:
        return check_pattern(pattern)


class ListSplit(_Protocol):
    """Text files below the root, one video a line; names match without folder and suffix."""

    kind: Literal["lists"]
    train: str
    test: str


Split = Annotated[RandomSplit | SubjectSplit | PathSplit | ListSplit, Field(discriminator="kind")]


def check_pattern(pattern: str) -> str:
    """Return a valid regular expression.

    Raises:
        ValueError: it is not valid.
    """
    try:
        re.compile(pattern)
    except re.error as error:
        raise ValueError(f"not a regular expression: {error}") from None
    return pattern


# Next to the packages in a checkout, inside `shared` in an installed wheel.
_FOLDERS = (
    Path(__file__).parent.parent / "data_manifests",
    Path(__file__).parent / "data_manifests",
)


class RemoteFile(BaseModel):
    """A file to download; size and checksums as published, if they are."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    url: str
    size_bytes: int | None = Field(None, ge=1)
    sha256: str | None = Field(None, pattern="^[0-9a-f]{64}$")
    md5: str | None = Field(None, pattern="^[0-9a-f]{32}$")
    to: str = "."
    """Folder below the root that an archive is unpacked into, or another file is put into."""

    @property
    def name(self) -> str:
        """File name on disk."""
        return self.url.rpartition("/")[2]


class Manifest(BaseModel):
    """A data set: its source, its layout on disk, and how labels and subjects are found.

    `pattern` is a regular expression matched against a video's path relative to the root, with
    `/` between folders; its named groups `label` and `subject` give the video's label and subject.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
    title: str
    holds: str
    """Size of the data set, in a few words."""
    homepage: str = "none"
    licence: str = "not stated"
    citation: str = "none"
    obtain: str
    """Way to get the data, in one or two sentences."""
    files: tuple[RemoteFile, ...] = ()
    """Files that `download` fetches; none if the data must be requested or is rendered here."""
    layout: str
    """Required layout of the files below the root."""
    source: SourceKind = "video"
    """Kind of file that holds a video's frames."""
    glob: tuple[str, ...]
    """Patterns of its files; of the images, if each video is a folder of images."""
    pattern: str
    segments: Literal["none", "natops"] = "none"
    """Layout code that divides a file into labelled repetitions, if any."""
    labels: dict[str, str] = {}
    """Text of each value of the `label` group; if empty, the value is the text."""
    subjects: int | None = None
    """Number of people in it."""
    size: int = 128
    frames: int = 16
    clips: ClipPolicy = "windows"
    stride: int = 1
    hop: int | None = None
    fps: float | None = None
    fit: FitName = "crop"
    crop: tuple[int, int, int, int] | None = None
    """Top, bottom, left, right in pixels of the upright frame, half-open."""
    splits: dict[str, Split] = {"random": RandomSplit(by="video", test_fraction=0.2)}
    """Split protocols by name; training uses the first by default."""

    @field_validator("pattern")
    @classmethod
    def _check(cls, pattern: str) -> str:
        return check_pattern(pattern)

    @property
    def hash(self) -> str:
        """Short hash of the whole manifest."""
        return hashlib.sha256(self.model_dump_json().encode()).hexdigest()[:16]


def manifest_names() -> list[str]:
    """Names of the data sets that have a manifest."""
    return sorted(path.stem for folder in _FOLDERS for path in folder.glob("*.yaml"))


def load_manifest(name: str) -> Manifest:
    """Read the manifest of a data set.

    Raises:
        ManifestError: there is no manifest of that name, or it is malformed.
    """
    for folder in _FOLDERS:
        path = folder / f"{name}.yaml"
        if name in manifest_names() and path.is_file():
            try:
                return Manifest.model_validate(yaml.safe_load(path.read_text(encoding="utf-8")))
            except (yaml.YAMLError, ValidationError) as error:
                raise ManifestError(f"manifest {path.name} is malformed: {error}") from None
    raise ManifestError(
        f"unknown data set {name!r}; known: {', '.join(manifest_names())}."
        " For your own videos use: folder --root DIR"
    )
