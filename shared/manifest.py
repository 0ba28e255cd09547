"""The manifest of a data set: one YAML file that says what it is and how it lies on disk."""

from __future__ import annotations

import hashlib
import re
from pathlib import Path
from typing import Annotated, Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from shared.errors import ManifestError
from shared.schema import ClipPolicy, FitName, SourceKind

# MERGED: Split protocols: how a data set is divided into training and test. Pure descriptions.
#
# A manifest names them, `preprocess` applies them to the clips it plans, and the store carries the
# outcome for every clip, so that training needs the store alone.


class _Protocol(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class RandomSplit(_Protocol):
    """Groups drawn for the test by a seeded shuffle of their sorted names.

    The share of the test is `test_fraction`, or test / (train + test): the counts that a paper
    states come out where the data set is whole.
    """

    kind: Literal["random"] = "random"
    by: Literal["subject", "video", "segment"]
    """What is never on both sides."""
    test_fraction: float | None = Field(default=None, ge=0, le=1)
    train: int | None = Field(default=None, ge=1)
    test: int | None = Field(default=None, ge=1)
    seed: int = 0

    @model_validator(mode="after")
    def _one_share(self) -> RandomSplit:
        counts = self.train is not None and self.test is not None
        if counts == (self.test_fraction is not None):
            raise ValueError("give either test_fraction or both train and test")
        return self

    @property
    def share(self) -> float:
        """Part of the groups that goes to the test, in [0, 1]."""
        if self.train is None or self.test is None:
            return self.test_fraction or 0.0
        return self.test / (self.train + self.test)


class SubjectSplit(_Protocol):
    """Subjects by name; those on neither list are not used."""

    kind: Literal["subjects"]
    train: tuple[str, ...]
    test: tuple[str, ...]


class PathSplit(_Protocol):
    """Regular expressions, searched for in the video's path; train is tried first."""

    kind: Literal["paths"]
    train: str
    test: str

    @field_validator("train", "test")
    @classmethod
    def _compiles(cls, pattern: str) -> str:
        return compiled(pattern)


class ListSplit(_Protocol):
    """Text files below the root, one video a line; names count without folder and ending."""

    kind: Literal["lists"]
    train: str
    test: str


Split = Annotated[RandomSplit | SubjectSplit | PathSplit | ListSplit, Field(discriminator="kind")]


def compiled(pattern: str) -> str:
    """The pattern itself, once it is known to be a regular expression; ValueError else."""
    try:
        re.compile(pattern)
    except re.error as error:
        raise ValueError(f"not a regular expression: {error}") from None
    return pattern


# In a checkout the manifests lie beside the packages, in an installed wheel inside `shared`.
_FOLDERS = (
    Path(__file__).parent.parent / "data_manifests",
    Path(__file__).parent / "data_manifests",
)


class RemoteFile(BaseModel):
    """A file to fetch; size and checksums only where somebody has published them."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    url: str
    size_bytes: int | None = Field(None, ge=1)
    sha256: str | None = Field(None, pattern="^[0-9a-f]{64}$")
    md5: str | None = Field(None, pattern="^[0-9a-f]{32}$")
    to: str = "."
    """Folder below the root that it is unpacked into, or put into where it is no archive."""

    @property
    def name(self) -> str:
        """Its name on disk."""
        return self.url.rpartition("/")[2]


class Manifest(BaseModel):
    """A data set: what it is, where it comes from, how labels and subjects are found.

    `pattern` is a regular expression matched against a video's path relative to the root, with
    `/` between folders; its named groups `label` and `subject` say what a video shows and who.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
    title: str
    holds: str
    """How much there is of it, in a few words."""
    homepage: str = "none"
    licence: str = "not stated"
    citation: str = "none"
    obtain: str
    """How a person gets the data, in a sentence or two."""
    files: tuple[RemoteFile, ...] = ()
    """What `download` fetches; none where the data is to be asked for, or is made here."""
    layout: str
    """What the files must look like below the root."""
    source: SourceKind = "video"
    """What holds a video's frames."""
    glob: tuple[str, ...]
    """Files that belong to it; where a folder of images is a video, the images."""
    pattern: str
    segments: Literal["none", "natops"] = "none"
    """Which layout code, if any, divides a file into labelled repetitions."""
    labels: dict[str, str] = {}
    """Text by the `label` group's value; empty: the group's value is the text."""
    subjects: int | None = None
    """How many people perform in it."""
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
    """Protocols by name; training takes the first unless told otherwise."""

    @field_validator("pattern")
    @classmethod
    def _compiles(cls, pattern: str) -> str:
        return compiled(pattern)

    @property
    def hash(self) -> str:
        """Short hash of all that the manifest says."""
        return hashlib.sha256(self.model_dump_json().encode()).hexdigest()[:16]


def manifest_names() -> list[str]:
    """Names of the data sets there is a manifest for."""
    return sorted(path.stem for folder in _FOLDERS for path in folder.glob("*.yaml"))


def load_manifest(name: str) -> Manifest:
    """Read the manifest of a data set.

    Raises:
        ManifestError: no manifest has that name, or the file is malformed.
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
