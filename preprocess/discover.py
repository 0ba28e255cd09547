"""Which files below the root belong to the data set, with their labels and subjects."""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from preprocess.datasets import read_segments
from preprocess.videos import Reject, Segment, Video
from shared.errors import UserError
from shared.manifest import Manifest
from shared.paths import Location, listing


@dataclass(frozen=True)
class Discovery:
    """Files that follow the layout, sorted by path, and those that do not."""

    videos: tuple[Video, ...]
    rejects: tuple[Reject, ...]


def discover(root: Location, manifest: Manifest) -> Discovery:
    """List the data set's files below a folder.

    Args:
        root: where the data set lies.
        manifest: its globs (compared without case, from the right) and its pattern.

    Raises:
        UserError: the folder is not there, or nothing in it looks like the data set.
    """
    if not root.is_dir():
        raise UserError(_absent(f"no folder {root}", manifest))
    found = _found(root, manifest)
    if not found:
        globs = ", ".join(manifest.glob)
        raise UserError(_absent(f"no file below {root} matches {globs}", manifest))
    return Discovery(
        tuple(sorted((f for f in found if isinstance(f, Video)), key=lambda video: video.path)),
        tuple(sorted((f for f in found if isinstance(f, Reject)), key=lambda reject: reject.file)),
    )


def _found(root: Location, manifest: Manifest) -> list[Video | Reject]:
    segments = read_segments(manifest, root)
    if not isinstance(root, Path):
        return [
            _describe(relative, _empty(size), size, mtime_ns, manifest, segments)
            for relative, (size, mtime_ns) in listing(root).items()
            if matches(relative, manifest.glob)
        ]
    found: list[Video | Reject] = []
    for relative, problem in _walk(root):
        if problem is not None:
            found.append(Reject(printable(relative), problem, "discover"))
        elif matches(relative, manifest.glob):
            found.append(_examine(root, relative, manifest, segments))
    return found


def matches(relative: str, globs: tuple[str, ...]) -> bool:
    """Whether a path fits one of the globs, compared from the right and without case."""
    path = PurePosixPath(relative.lower())
    return any(path.match(glob.lower()) for glob in globs)


def printable(path: str) -> str:
    """A path that can be written as UTF-8, whatever bytes the file's name is made of."""
    return os.fsencode(path).decode("utf-8", "backslashreplace")


def _walk(root: Path) -> Iterator[tuple[str, str | None]]:
    """Every file's relative path, or a folder's with the reason why it cannot be read."""
    unreadable: list[tuple[str, str | None]] = []

    def note(error: OSError) -> None:
        folder = PurePosixPath(os.path.relpath(error.filename, root)).as_posix()
        unreadable.append((folder, f"the folder cannot be read: {error.strerror}"))

    seen: set[tuple[int, int]] = set()
    for folder, subfolders, files in os.walk(root, onerror=note, followlinks=True):
        status = Path(folder).stat()
        if (status.st_dev, status.st_ino) in seen:
            subfolders.clear()  # a link back up the tree
            continue
        seen.add((status.st_dev, status.st_ino))
        for name in files + subfolders:
            yield PurePosixPath(os.path.relpath(Path(folder, name), root)).as_posix(), None
    yield from unreadable


def _examine(
    root: Path, relative: str, manifest: Manifest, segments: dict[str, tuple[Segment, ...]]
) -> Video | Reject:
    try:
        status = (root / relative).stat()
    except OSError as error:
        reason = "a dangling link" if (root / relative).is_symlink() else str(error.strerror)
        return Reject(printable(relative), reason, "discover")
    reason = _refusal(root / relative, status)
    return _describe(relative, reason, status.st_size, status.st_mtime_ns, manifest, segments)


def _describe(
    relative: str,
    reason: str,
    size_bytes: int,
    mtime_ns: int,
    manifest: Manifest,
    segments: dict[str, tuple[Segment, ...]],
) -> Video | Reject:
    """A file by what its name says, or why it is refused; `reason` is the file system's."""
    match = re.fullmatch(manifest.pattern, relative)
    groups = match.groupdict() if match else {}
    label = groups.get("label")
    if not reason and printable(relative) != relative:
        reason = "its name is not valid UTF-8"
    elif not reason and match is None:
        reason = "its name does not follow the data set's layout"
    elif not reason and manifest.labels and label not in manifest.labels:
        reason = f"label {label!r} is not in the manifest"
    elif not reason and manifest.segments != "none" and relative not in segments:
        reason = "the segmentation file does not mention it"
    if reason:
        return Reject(printable(relative), reason, "discover")
    return Video(
        path=relative,
        label=manifest.labels.get(label, label) if label is not None else None,
        subject=groups.get("subject"),
        size_bytes=size_bytes,
        mtime_ns=mtime_ns,
        segments=segments.get(relative, ()),
    )


def _refusal(path: Path, status: os.stat_result) -> str:
    if stat.S_ISDIR(status.st_mode):
        return "a folder, not a file"
    if not stat.S_ISREG(status.st_mode):
        return "not a regular file"
    if not os.access(path, os.R_OK):
        return "no permission to read it"
    return _empty(status.st_size)


def _empty(size_bytes: int) -> str:
    return "the file is empty" if size_bytes == 0 else ""


def _absent(what: str, manifest: Manifest) -> str:
    return (
        f"{manifest.title}: {what}.\n"
        f"Obtain: {manifest.obtain.strip()}\n"
        f"Layout below the root: {manifest.layout.strip()}\n"
        "Name another place with --root DIR."
    )
