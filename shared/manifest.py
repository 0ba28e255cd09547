"""The manifest of a data set: one YAML file that says what it is and how it lies on disk."""

from __future__ import annotations

import hashlib
import re
from pathlib import Path
from typing import Literal

import yaml
from pydantic import BaseModel, ConfigDict, ValidationError, field_validator

from shared.errors import ManifestError

# In a checkout the manifests lie beside the packages, in an installed wheel inside `shared`.
_FOLDERS = (
    Path(__file__).parent.parent / "data_manifests",
    Path(__file__).parent / "data_manifests",
)


class Split(BaseModel):
    """A protocol that divides clips into training and test."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    by: Literal["subject", "video"]
    """What is never on both sides."""
    test_fraction: float = 0.2
    seed: int = 0


class Manifest(BaseModel):
    """A data set: what it is, where it comes from, how labels and subjects are found.

    `pattern` is a regular expression matched against the path relative to the root, with `/`
    between folders; its named groups `label` and `subject` say what a video shows and who.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
    title: str
    homepage: str = "none"
    licence: str = "not stated"
    citation: str = "none"
    obtain: str
    """How a person gets the data, in a sentence or two."""
    layout: str
    """What the files must look like below the root."""
    glob: tuple[str, ...]
    pattern: str
    segments: Literal["none", "natops"] = "none"
    """Which layout code, if any, divides a file into labelled repetitions."""
    labels: dict[str, str] = {}
    """Text by the `label` group's value; empty: the group's value is the text."""
    size: int = 128
    frames: int = 16
    stride: int = 1
    splits: dict[str, Split] = {"random": Split(by="video")}

    @field_validator("pattern")
    @classmethod
    def _compiles(cls, pattern: str) -> str:
        try:
            re.compile(pattern)
        except re.error as error:
            raise ValueError(f"not a regular expression: {error}") from None
        return pattern

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
                return Manifest.model_validate(yaml.safe_load(path.read_text()))
            except (yaml.YAMLError, ValidationError) as error:
                raise ManifestError(f"manifest {path.name} is malformed: {error}") from None
    raise ManifestError(
        f"unknown data set {name!r}; known: {', '.join(manifest_names())}."
        " For your own videos use: folder --root DIR"
    )
