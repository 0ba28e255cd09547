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


@dataclass(frozen=True)
class Discovery:
    """Files that follow the layout, sorted by path, and those that do not."""

    videos: tuple[Video, ...]
    rejects: tuple[Reject, ...]


def discover(root: Path, manifest: Manifest) -> Discovery:
    """List the data set's files below a folder.

    Args:
        root: where the data set lies.
        manifest: its globs (compared without case, from the right) and its pattern.

    Raises:
        UserError: the folder is not there, or nothing in it looks like the data set.
    """
    if not root.is_dir():
        raise UserError(_absent(f"no folder {root}", manifest))
    segments = read_segments(manifest, root)
    found: list[Video | Reject] = []
    for relative, problem in _walk(root):
        if problem is None and not matches(relative, manifest.glob):
            continue
        found.append(
            Reject(printable(relative), problem, "discover")
            if problem
            else _examine(root, relative, manifest, segments)
        )
    if not found:
        globs = ", ".join(manifest.glob)
        raise UserError(_absent(f"no file below {root} matches {globs}", manifest))
    return Discovery(
        tuple(sorted((f for f in found if isinstance(f, Video)), key=lambda video: video.path)),
        tuple(sorted((f for f in found if isinstance(f, Reject)), key=lambda reject: reject.file)),
    )


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
    match = re.fullmatch(manifest.pattern, relative)
    reason = _refusal(root / relative, status, relative, match is not None)
    if reason or match is None:
        return Reject(printable(relative), reason, "discover")
    groups = match.groupdict()
    label = groups.get("label")
    if manifest.labels and label not in manifest.labels:
        return Reject(relative, f"label {label!r} is not in the manifest", "discover")
    if manifest.segments != "none" and relative not in segments:
        return Reject(relative, "the segmentation file does not mention it", "discover")
    return Video(
        path=relative,
        label=manifest.labels.get(label, label) if label is not None else None,
        subject=groups.get("subject"),
        size_bytes=status.st_size,
        mtime_ns=status.st_mtime_ns,
        segments=segments.get(relative, ()),
    )


def _refusal(path: Path, status: os.stat_result, relative: str, named_right: bool) -> str:
    if stat.S_ISDIR(status.st_mode):
        return "a folder, not a file"
    if not stat.S_ISREG(status.st_mode):
        return "not a regular file"
    if printable(relative) != relative:
        return "its name is not valid UTF-8"
    if not named_right:
        return "its name does not follow the data set's layout"
    if not os.access(path, os.R_OK):
        return "no permission to read it"
    return "the file is empty" if status.st_size == 0 else ""


def _absent(what: str, manifest: Manifest) -> str:
    return (
        f"{manifest.title}: {what}.\n"
        f"Obtain: {manifest.obtain.strip()}\n"
        f"Layout below the root: {manifest.layout.strip()}\n"
        "Name another place with --root DIR."
    )
