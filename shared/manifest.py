"""The manifest of a data set: one YAML file with its source, licence, layout and split protocols.

A manifest names split protocols, `preprocess` applies them to the clips it plans, and the store
holds the side of every clip, so that training needs the store alone. The manifests of this
software are known by name, a user's own by its path; they are read and checked alike.
"""

from __future__ import annotations

import hashlib
import re
import unicodedata
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any, Literal

import yaml
from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    ValidationError,
    ValidationInfo,
    field_validator,
    model_validator,
)

from shared.conventions import FrameSize, normalised
from shared.errors import ManifestError
from shared.schema import ClipPolicy, CodecOptions, FitName, SourceKind


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

    @field_validator("train", "test")
    @classmethod
    def _normalise(cls, names: tuple[str, ...]) -> tuple[str, ...]:
        return tuple(map(normalised, names))

    @model_validator(mode="after")
    def _one_side_each(self) -> SubjectSplit:
        if both := sorted(set(self.train) & set(self.test)):
            raise ValueError(f"{', '.join(both)} on both sides; a subject is on one of them")
        return self


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
    """Return a valid regular expression, in Unicode's NFC as are the paths it is matched against.

    Raises:
        ValueError: it is not valid.
    """
    try:
        re.compile(pattern)
    except re.error as error:
        raise ValueError(f"not a regular expression: {error}") from None
    return unicodedata.normalize("NFC", pattern)


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
    glob: tuple[str, ...] = Field(min_length=1)
    """Patterns of its files; of the images, if each video is a folder of images."""
    pattern: str
    exclude: dict[str, str] = {}
    """Reason for leaving files out, by a regular expression that is searched in their paths."""
    segments: Literal["none", "natops"] = "none"
    """Layout code that divides a file into labelled repetitions, if any."""
    labels: dict[str, str] = {}
    """Text of each value of the `label` group; if empty, the value is the text."""
    subject_names: dict[str, str] = {}
    """Name for each value of the `subject` group; if empty, the value is the name."""
    subjects: int | None = None
    """Number of people in it."""
    size: FrameSize = FrameSize(128, 128)
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

    @field_validator("name")
    @classmethod
    def _names_folders(cls, name: str) -> str:
        if not re.fullmatch(r"[A-Za-z0-9][\w.-]*", name, re.ASCII):
            raise ValueError("must be of letters, digits, `_`, `-` and `.`: folders are named so")
        return name

    @field_validator("pattern")
    @classmethod
    def _known_groups(cls, pattern: str) -> str:
        unknown = set(re.compile(check_pattern(pattern)).groupindex) - {"label", "subject"}
        if unknown:
            raise ValueError(f"group {', '.join(sorted(unknown))} must be `label` or `subject`")
        return check_pattern(pattern)

    @field_validator("exclude")
    @classmethod
    def _check(cls, exclude: dict[str, str]) -> dict[str, str]:
        return {check_pattern(pattern): reason for pattern, reason in exclude.items()}

    @field_validator("size", "frames", "stride", "hop", "fps", "crop")
    @classmethod
    def _allowed_option(cls, value: Any, info: ValidationInfo) -> Any:
        try:
            CodecOptions.model_validate({str(info.field_name): value})
        except ValidationError as error:
            raise ValueError(error.errors()[0]["msg"].removeprefix("Value error, ")) from None
        return value

    @field_validator("labels", "subject_names")
    @classmethod
    def _normalise(cls, names: dict[str, str]) -> dict[str, str]:
        found = {normalised(value): normalised(text) for value, text in names.items()}
        if len(found) < len(names):
            raise ValueError("two of its values are the same but for blanks or composed letters")
        return found

    @field_validator("labels", "subject_names", "splits")
    @classmethod
    def _groups_in_use(cls, value: dict[str, Any], info: ValidationInfo) -> dict[str, Any]:
        groups = re.compile(info.data.get("pattern", "")).groupindex
        group = "label" if info.field_name == "labels" else "subject"
        using = [
            name
            for name, entry in value.items()
            if info.field_name != "splits"
            or isinstance(entry, SubjectSplit)
            or getattr(entry, "by", None) == "subject"
        ]
        if using and group not in groups and "pattern" in info.data:
            raise ValueError(f"{using[0]} needs a group (?P<{group}>...) in the pattern")
        return value

    @property
    def hash(self) -> str:
        """Short hash of the whole manifest."""
        # Fields that came later count where they are used: stores made before keep their hash.
        unused = {name for name in ("exclude", "subject_names") if not getattr(self, name)}
        return hashlib.sha256(self.model_dump_json(exclude=unused).encode()).hexdigest()[:16]


def manifest_names() -> list[str]:
    """Names of the data sets that have a manifest."""
    return sorted(path.stem for folder in _FOLDERS for path in folder.glob("*.yaml"))


def load_manifest(name: str) -> Manifest:
    """Read the manifest of a data set.

    Args:
        name: of a data set of this software; or the path of another manifest, known by its `/` or
            its ending, `.yaml` or `.yml`.

    Raises:
        ManifestError: there is no such manifest, or it is malformed; line and field are named.
    """
    if "/" in name or name.endswith((".yaml", ".yml")):
        return _own_manifest(Path(name))
    for folder in _FOLDERS:
        if name in manifest_names() and (folder / f"{name}.yaml").is_file():
            return _read(folder / f"{name}.yaml")
    raise ManifestError(
        f"unknown data set {name!r}; known: {', '.join(manifest_names())}."
        " For your own videos use: folder --root DIR, or the path of your own manifest: ./mine.yaml"
    )


def _own_manifest(path: Path) -> Manifest:
    manifest = _read(path)
    if manifest.name != path.stem:
        raise ManifestError(
            f"{path}: its field `name` is {manifest.name}, and the file is called {path.name};"
            " give both the same name"
        )
    if manifest.name in manifest_names() and manifest != load_manifest(manifest.name):
        raise ManifestError(
            f"{path}: {manifest.name} is a data set of this software, and this manifest differs"
            " from its own; give field and file another name"
        )
    return manifest


def _read(path: Path) -> Manifest:
    try:
        loader = yaml.SafeLoader(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        reason = getattr(error, "strerror", None) or error
        raise ManifestError(f"manifest {path} cannot be read: {reason}") from None
    try:
        root = loader.get_single_node()
        _refuse_repeated(root)
        content = loader.construct_document(root) if root else None
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark
        line = f", line {mark.line + 1}" if mark else ""
        raise ManifestError(f"manifest {path}{line}: {error.problem}") from None
    except (yaml.YAMLError, ValueError) as error:
        raise ManifestError(f"manifest {path}: {error}") from None
    try:
        return Manifest.model_validate(content)
    except ValidationError as error:
        found = "\n".join(f"  {_explain(dict(e), root)}" for e in error.errors())
        raise ManifestError(f"manifest {path} is malformed:\n{found}") from None


def _refuse_repeated(node: yaml.Node | None) -> None:
    """Refuse a field that is there twice: YAML would keep the last one without a word."""
    children = node.value if isinstance(node, yaml.CollectionNode) else []
    seen = set()
    for child in children:
        key, value = child if isinstance(child, tuple) else (None, child)
        if isinstance(key, yaml.ScalarNode):
            if key.value in seen:
                problem = f"{key.value} is there twice; keep one of them"
                raise yaml.MarkedYAMLError(problem=problem, problem_mark=key.start_mark)
            seen.add(key.value)
        _refuse_repeated(value)


def _explain(error: dict[str, Any], root: yaml.Node | None) -> str:
    """Describe one error of a manifest: line, field, value there, and the allowed ones."""
    place: tuple[Any, ...] = error["loc"]
    fields: dict[str, Any] = Manifest.model_fields
    if place[:1] == ("files",):
        fields = RemoteFile.model_fields
    if place[:1] == ("splits",) and place[2:3] and place[2] in _PROTOCOLS:  # the split's kind
        fields = _PROTOCOLS[place[2]].model_fields
        place = place[:2] + place[3:]
    line, node = [(1, root), *_steps(root, place)][-1]
    name = ".".join(str(part) for part in place if part != "[key]")
    where = f"line {line}, {name}: " if name else f"line {line}: "
    if error["type"] == "missing":
        return where + "is missing"
    if error["type"] == "extra_forbidden":
        return f"{where}no such field; the fields are {', '.join(fields)}"
    if error["type"].startswith("union_tag"):
        return f"{where}its kind must be one of {', '.join(_PROTOCOLS)}"
    reason = error["msg"].removeprefix("Value error, ").replace("Input should be", "must be")
    reason = reason.replace("a valid tuple", "a list").replace("Tuple should", "must")
    reason = re.sub("a valid dictionary.*", "a mapping, `field: value`", reason)
    if not isinstance(node, yaml.ScalarNode):
        return where + reason
    reason = reason.replace("a valid string", "a text; put it in quotes")
    return f"{where}got {node.value or 'nothing'}; {reason}"


def _steps(node: yaml.Node | None, place: tuple[Any, ...]) -> Iterator[tuple[int, yaml.Node]]:
    """Yield line and node of each part of a place in a document, as far as it is there."""
    key = node
    for part in place:
        if part == "[key]":
            found = [(key, key)]
        elif isinstance(node, yaml.MappingNode):
            known = yaml.SafeLoader("")  # that knows what an unquoted name is, 01 the number 1
            found = [kv for kv in node.value if known.construct_object(kv[0], deep=True) == part]
        elif isinstance(node, yaml.SequenceNode) and isinstance(part, int):
            found = [(item, item) for item in node.value[part : part + 1]]
        else:
            return
        if not found:
            return
        key, node = found[0]
        assert key is not None and node is not None
        yield key.start_mark.line + 1, node


_PROTOCOLS: dict[str, type[_Protocol]] = {
    "random": RandomSplit,
    "subjects": SubjectSplit,
    "paths": PathSplit,
    "lists": ListSplit,
}
