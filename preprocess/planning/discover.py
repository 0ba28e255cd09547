"""Find the files of a data set, with their labels and subjects; and list the data sets."""

from __future__ import annotations

import os
import re
import unicodedata
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any, NamedTuple

from rich.console import Console
from rich.table import Table
from upath import UPath

from preprocess.datasets.natops import read_segments
from preprocess.records import Found, Reject, Segment, Video, printable
from preprocess.sources import SOURCES
from shared.conventions import normalised
from shared.errors import UserError
from shared.manifest import Manifest, load_manifest, manifest_names
from shared.store.paths import Location, listing


@dataclass
class LeftOut:
    """Files and folders that were not taken for videos, by the reason.

    Attributes:
        hidden: number of files and folders whose name begins with a dot.
        unknown: number of files that the manifest's globs do not match, by ending.
        linked: links to folders read under another name: name of the link, that name.
    """

    hidden: int = 0
    unknown: Counter[str] = field(default_factory=Counter)
    linked: list[tuple[str, str]] = field(default_factory=list)

    def count_unknown(self, relative: str) -> None:
        """Count a file that no glob matches."""
        self.unknown[PurePosixPath(relative).suffix.lower() or "without ending"] += 1

    def notes(self, remedy: str) -> list[tuple[str, str]]:
        """Heading and text of each kind that there is, for the summary.

        Args:
            remedy: text behind the number of files of unknown endings.
        """
        found = []
        if self.unknown:
            by_ending = sorted(self.unknown.items(), key=lambda item: (-item[1], item[0]))
            listed = ", ".join(f"{count} {ending}" for ending, count in by_ending[:_EXAMPLES])
            more = ", …" if len(by_ending) > _EXAMPLES else ""
            files = _count(self.unknown.total(), "file")
            found.append(("not looked at", f"{files}, by name: {listed}{more}{remedy}"))
        if self.hidden:
            hidden = _count(self.hidden, "hidden file or folder", "hidden files and folders")
            found.append(("left out", hidden))
        if self.linked:
            listed = ", ".join(f"{link!r} is {name!r}" for link, name in self.linked[:_EXAMPLES])
            more = ", …" if len(self.linked) > _EXAMPLES else ""
            links = _count(len(self.linked), "link to a folder", "links to folders")
            found.append(("left out", f"{links} read under another name: {listed}{more}"))
        return found


_EXAMPLES = 4


@dataclass(frozen=True)
class Discovery:
    """Videos that follow the layout, sorted by path, and everything that does not.

    Attributes:
        videos: sorted by path.
        rejects: files that are no usable videos of the layout.
        notes: heading and text of what else was found, for the summary.
    """

    videos: tuple[Video, ...]
    rejects: tuple[Reject, ...]
    notes: tuple[tuple[str, str], ...] = ()


def discover(root: Location, manifest: Manifest, *, any_name: bool = False) -> Discovery:
    """Find the data set's videos below a folder.

    Args:
        root: folder of the data set.
        manifest: its globs (compared without case, from the right) and its pattern.
        any_name: take every file for a video, whatever its name.

    Raises:
        UserError: the folder is not there, or nothing in it looks like the data set.
    """
    if any_name and manifest.source == "images":
        raise UserError(
            f"--any-name: frames of {manifest.name} are known by the ends of their names"
        )
    if not root.is_dir():
        raise UserError(_absent(f"no folder {root}", manifest))
    segments = read_segments(root) if manifest.segments == "natops" else {}
    globs = ("*",) if any_name else manifest.glob
    left_out = LeftOut()
    items = (
        _below(root, manifest, globs, left_out)
        if isinstance(root, Path)
        else _remote(root, manifest, globs, left_out)
    )
    found = [
        item if isinstance(item, Reject) else _describe(item, manifest, segments) for item in items
    ]
    remedy = "" if manifest.source == "images" else "; --any-name looks at them"
    notes = left_out.notes(remedy)
    if not found:
        listed = "; ".join(text for _, text in notes)
        problem = f"no file below {root} matches {', '.join(globs)}"
        raise UserError(_absent(f"{problem} ({listed})" if notes else problem, manifest))
    videos = sorted((f for f in found if isinstance(f, Video)), key=lambda video: video.path)
    rejects = sorted((f for f in found if isinstance(f, Reject)), key=lambda reject: reject.file)
    return Discovery(tuple(videos), tuple(rejects), tuple(notes))


def _below(
    root: Path, manifest: Manifest, globs: tuple[str, ...], left_out: LeftOut
) -> Iterator[Found | Reject]:
    files = []
    for entry in walk(root, left_out):
        if entry.problem:
            yield Reject(printable(entry.path), entry.problem, "discover")
        elif matches(entry.path, manifest.glob) or (globs == ("*",) and not entry.is_folder):
            files.append(entry.path)
        elif not entry.is_folder:
            left_out.count_unknown(entry.path)
    yield from SOURCES[manifest.source].find(root, files)


def _remote(
    root: UPath, manifest: Manifest, globs: tuple[str, ...], left_out: LeftOut
) -> Iterator[Found | Reject]:
    """Find video files in an object store, from a single listing."""
    if manifest.source != "video":
        raise UserError(
            f"{manifest.name}: its frames are read from folders and records on a disk only; copy"
            f" {root} there and name the copy with --root DIR"
        )
    for relative, (size_bytes, mtime_ns) in listing(root).items():
        if any(part.startswith(".") for part in relative.split("/")):
            left_out.hidden += 1
        elif not matches(relative, globs):
            left_out.count_unknown(relative)
        else:
            empty = Reject(printable(relative), "the file is empty", "discover")
            yield Found(relative, size_bytes, mtime_ns) if size_bytes else empty


def matches(relative: str, globs: tuple[str, ...]) -> bool:
    """Test whether a path matches one of the globs, from the right and without case."""
    path = PurePosixPath(unicodedata.normalize("NFC", relative).lower())
    return any(path.match(unicodedata.normalize("NFC", glob).lower()) for glob in globs)


class Entry(NamedTuple):
    """A file or folder below a root.

    Attributes:
        path: relative to the root, `/` between folders.
        is_folder: or a link to one.
        problem: reason why a folder cannot be read; empty for all else.
    """

    path: str
    is_folder: bool = False
    problem: str = ""


def walk(root: Path, left_out: LeftOut | None = None) -> Iterator[Entry]:
    """Yield everything below a folder that is not hidden, in an order that is always the same.

    A folder that several names lead to is read once: under its own name if that is below the
    root, else under the first of the links to it, those nearest to the root coming first.

    Args:
        root: folder to start from.
        left_out: receives what is hidden, and links to folders read under another name.
    """
    left_out = left_out or LeftOut()
    names: dict[tuple[int, int], str] = {}  # of the folders that were read, by device and inode
    starts = ["."]
    while starts:
        links: list[str] = []
        for start in sorted(starts, key=lambda link: (link.count("/"), link)):
            yield from _walk_tree(root, start, names, links, left_out)
        starts = links


def _walk_tree(
    root: Path, start: str, names: dict[tuple[int, int], str], links: list[str], left_out: LeftOut
) -> Iterator[Entry]:
    """Yield what is below one folder; links to folders in it are noted, not followed."""
    unreadable: list[Entry] = []

    def note(error: OSError) -> None:
        reason = f"the folder cannot be read: {error.strerror}"
        unreadable.append(Entry(_relative(Path(error.filename), root), True, reason))

    for folder, subfolders, files in os.walk(root / start, onerror=note):
        place = _relative(Path(folder), root)
        status = Path(folder).stat()
        name = names.setdefault((status.st_dev, status.st_ino), place)
        if name != place:
            left_out.linked.append((place, name))
            subfolders.clear()
            continue
        shown = sorted(name for name in files + subfolders if not name.startswith("."))
        left_out.hidden += len(files) + len(subfolders) - len(shown)
        folders = {name for name in subfolders if not name.startswith(".")}
        linked = {name for name in folders if Path(folder, name).is_symlink()}
        links += [_relative(Path(folder, name), root) for name in linked]
        subfolders[:] = sorted(folders - linked)
        for name in shown:
            yield Entry(_relative(Path(folder, name), root), name in folders)
    yield from unreadable


def _relative(path: Path, root: Path) -> str:
    return PurePosixPath(os.path.relpath(path, root)).as_posix()


def _count(count: int, one: str, several: str = "") -> str:
    return f"{count} {one if count == 1 else several or one + 's'}"


def _describe(
    found: Found, manifest: Manifest, segments: dict[str, tuple[Segment, ...]]
) -> Video | Reject:
    """Read label and subject from a video's name."""
    path = unicodedata.normalize("NFC", found.path)
    match = re.fullmatch(manifest.pattern, path)
    groups = {k: normalised(v) for k, v in match.groupdict().items() if v} if match else {}
    label, subject, name = groups.get("label"), groups.get("subject"), PurePosixPath(path).name
    excluded = [why for how, why in manifest.exclude.items() if re.search(how, path)]
    if printable(found.path) != found.path:
        reason = "its name is not valid UTF-8"
    elif excluded:
        reason = excluded[0]
    elif match is None:
        reason = "its name does not follow the data set's layout"
    elif "" in groups.values():
        reason = f"its {'label' if label == '' else 'subject'} is blank"
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
    fetch = f"\nOr: dvdm-preprocess download {dataset}" if manifest.files else ""
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
    console.print("Get one: dvdm-preprocess download NAME", highlight=False)


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
        and any(not entry.problem and matches(entry.path, manifest.glob) for entry in walk(root)),
    }


def _fetching(entry: dict[str, Any]) -> str:
    if not entry["files"]:
        return "By hand." if entry["homepage"] != "none" else "Nothing to fetch."
    size = f"{entry['bytes'] / 1e9:.1f} GB" if entry["bytes"] else "size not stated"
    return f"{entry['files']} {'file' if entry['files'] == 1 else 'files'} to fetch, {size}."
