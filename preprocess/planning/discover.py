"""Find the files of a data set, with their labels and subjects; and list the data sets."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from rich.console import Console
from rich.table import Table
from upath import UPath

from preprocess.datasets.natops import read_segments
from preprocess.records import Found, Reject, Segment, Video, printable
from preprocess.sources import SOURCES
from shared.errors import UserError
from shared.manifest import Manifest, load_manifest, manifest_names
from shared.store.paths import Location, listing


@dataclass(frozen=True)
class Discovery:
    """Videos that follow the layout, sorted by path, and the files that do not."""

    videos: tuple[Video, ...]
    rejects: tuple[Reject, ...]


def discover(root: Location, manifest: Manifest) -> Discovery:
    """Find the data set's videos below a folder.

    Args:
        root: folder of the data set.
        manifest: its globs (compared without case, from the right) and its pattern.

    Raises:
        UserError: the folder is not there, or nothing in it looks like the data set.
    """
    if not root.is_dir():
        raise UserError(_absent(f"no folder {root}", manifest))
    segments = read_segments(root) if manifest.segments == "natops" else {}
    items = _below(root, manifest) if isinstance(root, Path) else _remote(root, manifest)
    found = [
        item if isinstance(item, Reject) else _describe(item, manifest, segments) for item in items
    ]
    if not found:
        globs = ", ".join(manifest.glob)
        raise UserError(_absent(f"no file below {root} matches {globs}", manifest))
    return Discovery(
        tuple(sorted((f for f in found if isinstance(f, Video)), key=lambda video: video.path)),
        tuple(sorted((f for f in found if isinstance(f, Reject)), key=lambda reject: reject.file)),
    )


def _below(root: Path, manifest: Manifest) -> Iterator[Found | Reject]:
    files = []
    for relative, problem in walk(root):
        if problem:
            yield Reject(printable(relative), problem, "discover")
        elif matches(relative, manifest.glob):
            files.append(relative)
    yield from SOURCES[manifest.source].find(root, files)


def _remote(root: UPath, manifest: Manifest) -> Iterator[Found | Reject]:
    """Find video files in an object store, from a single listing."""
    if manifest.source != "video":
        raise UserError(
            f"{manifest.name}: its frames are read from folders and records on a disk only; copy"
            f" {root} there and name the copy with --root DIR"
        )
    for relative, (size_bytes, mtime_ns) in listing(root).items():
        if matches(relative, manifest.glob):
            empty = Reject(printable(relative), "the file is empty", "discover")
            yield Found(relative, size_bytes, mtime_ns) if size_bytes else empty


def matches(relative: str, globs: tuple[str, ...]) -> bool:
    """Test whether a path matches one of the globs, from the right and without case."""
    path = PurePosixPath(relative.lower())
    return any(path.match(glob.lower()) for glob in globs)


def walk(root: Path) -> Iterator[tuple[str, str | None]]:
    """Yield every file's relative path, and unreadable folders with the reason."""
    unreadable: list[tuple[str, str | None]] = []

    def note(error: OSError) -> None:
        folder = PurePosixPath(os.path.relpath(error.filename, root)).as_posix()
        unreadable.append((folder, f"the folder cannot be read: {error.strerror}"))

    visited: set[tuple[int, int]] = set()
    for folder, subfolders, files in os.walk(root, onerror=note, followlinks=True):
        status = Path(folder).stat()
        if (status.st_dev, status.st_ino) in visited:
            subfolders.clear()  # a link back up the tree
            continue
        visited.add((status.st_dev, status.st_ino))
        for name in files + subfolders:
            yield PurePosixPath(os.path.relpath(Path(folder, name), root)).as_posix(), None
    yield from unreadable


def _describe(
    found: Found, manifest: Manifest, segments: dict[str, tuple[Segment, ...]]
) -> Video | Reject:
    """Read label and subject from a video's name."""
    match = re.fullmatch(manifest.pattern, found.path)
    groups = match.groupdict() if match else {}
    label, subject, name = (
        groups.get("label"),
        groups.get("subject"),
        PurePosixPath(found.path).name,
    )
    excluded = [why for how, why in manifest.exclude.items() if re.search(how, found.path)]
    if printable(found.path) != found.path:
        reason = "its name is not valid UTF-8"
    elif excluded:
        reason = excluded[0]
    elif match is None:
        reason = "its name does not follow the data set's layout"
    elif manifest.labels and label not in manifest.labels:
        reason = f"label {label!r} is not in the manifest"
    elif manifest.subject_names and subject not in manifest.subject_names:
        reason = f"subject {subject!r} is not in the manifest"
    elif manifest.segments != "none" and name not in segments:
        reason = "the segmentation file does not mention it"
    else:
        return Video(
            path=found.path,
            label=manifest.labels.get(label, label) if label is not None else None,
            subject=manifest.subject_names.get(subject, subject) if subject is not None else None,
            size_bytes=found.size_bytes,
            mtime_ns=found.mtime_ns,
            segments=segments.get(name, ()),
        )
    return Reject(printable(found.path), reason, "discover")


def _absent(problem: str, manifest: Manifest) -> str:
    dataset = manifest.name if manifest.name in manifest_names() else f"{manifest.name}.yaml"
    fetch = f"\nOr: python -m preprocess download {dataset}" if manifest.files else ""
    return (
        f"{manifest.title}: {problem}.\n"
        f"Obtain: {manifest.obtain.strip()}{fetch}\n"
        f"Layout below the root: {manifest.layout.strip()}\n"
        "Name another place with --root DIR."
    )


def catalogue(data: Path, names: Sequence[str] = ()) -> list[dict[str, Any]]:
    """List data sets, with plain facts.

    Args:
        data: folder that holds the data sets, each in a folder of its own name.
        names: of the data sets, or paths of manifests; none for every data set with a name.

    Raises:
        ManifestError: one is not known, or malformed.
    """
    manifests = [load_manifest(name) for name in names or manifest_names()]
    return [_facts(manifest, data / manifest.name) for manifest in manifests]


def print_catalogue(console: Console, facts: list[dict[str, Any]]) -> None:
    """Print a table with one row for each data set."""
    table = Table(show_lines=True)
    for column in ("data set", "where", "present"):
        table.add_column(column, no_wrap=True)
    table.add_column("what and how many", overflow="fold")
    for entry in facts:
        present = "yes" if entry["present"] else "no"
        what = f"{entry['title']}: {entry['holds']}. {_fetching(entry)}"
        table.add_row(entry["name"], entry["root"], present, what)
    console.print(table)
    console.print("Get one: python -m preprocess download NAME", highlight=False)


def _facts(manifest: Manifest, root: Path) -> dict[str, Any]:
    sizes = [file.size_bytes for file in manifest.files]
    return {
        "name": manifest.name,
        "title": manifest.title,
        "holds": manifest.holds,
        "homepage": manifest.homepage,
        "licence": manifest.licence,
        "citation": manifest.citation,
        "obtain": manifest.obtain,
        "splits": list(manifest.splits),
        "files": len(sizes),
        "bytes": sum(size for size in sizes if size) if sizes and all(sizes) else None,
        "root": str(root),
        "present": root.is_dir()
        and any(problem is None and matches(name, manifest.glob) for name, problem in walk(root)),
    }


def _fetching(entry: dict[str, Any]) -> str:
    if not entry["files"]:
        return "By hand." if entry["homepage"] != "none" else "Nothing to fetch."
    size = f"{entry['bytes'] / 1e9:.1f} GB" if entry["bytes"] else "size not stated"
    return f"{entry['files']} {'file' if entry['files'] == 1 else 'files'} to fetch, {size}."
