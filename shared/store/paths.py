"""Files in a local folder or in an object store such as `s3://bucket/folder`.

A `Location` behaves like a pathlib path in both. Code outside this module should rarely need to
know which one it has: the functions here hide how a file appears whole or not at all (locally by a
rename, remotely by one PUT) and how many files are read with few requests.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import sys
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import IO, Any, TypeAlias

from upath import UPath

from shared.errors import UserError

Location: TypeAlias = Path | UPath


def location(text: str) -> Location:
    """The location that a command-line argument names; nothing is looked up yet.

    Args:
        text: a path, or a URL of a protocol that fsspec knows.

    Raises:
        UserError: the protocol is unknown, or its package is not installed.
    """
    if "://" not in text:
        return Path(text)
    protocol, _, rest = text.partition("://")
    if protocol == "file":
        return Path("/" + rest.lstrip("/"))
    if not rest.strip("/"):
        raise UserError(f"{text} names no bucket; give a folder, or s3://bucket/folder")
    try:
        # A cache of listings would hide the files that other processes write.
        found = UPath(text.rstrip("/"), use_listings_cache=False)
        _ = found.fs
    except ImportError as error:
        remedy = "; it is in the extra: pip install 'dvdm[s3]'" if protocol == "s3" else ""
        raise UserError(f"{text}: {error}{remedy}") from None
    except ValueError as error:
        raise UserError(f"{text}: {error}; give a folder, or s3://bucket/folder") from None
    return found


def require_reachable(path: Location) -> None:
    """Check that an object store can be used; local folders are not checked.

    Raises:
        UserError: no bucket of that name, no credentials, no permission, or no answer.
    """
    if isinstance(path, Path):
        return
    bucket = path.path.split("/")[0]
    try:
        path.fs.info(bucket)
    except FileNotFoundError:
        raise UserError(
            f"{path}: there is no bucket {bucket!r}; make it first, or correct the name"
        ) from None
    except Exception as error:  # each protocol's client raises its own kinds
        raise UserError(
            f"{path} cannot be reached: {error}. Credentials and endpoint come from the"
            " environment: AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY (or AWS_PROFILE),"
            " AWS_ENDPOINT_URL"
        ) from None


def storage_errors(*others: type[Exception]) -> tuple[type[Exception], ...]:
    """Exceptions of failing disks, networks and permissions, for an `except` clause, and others."""
    botocore: Any = sys.modules.get("botocore.exceptions")
    remote = (botocore.BotoCoreError, botocore.ClientError) if botocore else ()
    return (OSError, *remote, *others)


def write_whole(path: Location, content: bytes) -> None:
    """Write a file that readers never find half-written; a local folder must exist.

    A local file reaches the disk before it gets its name, so a power cut leaves the old or the new
    content.
    """
    if isinstance(path, Path):
        scratch = path.with_name(f".{path.name}.{os.getpid()}")
        scratch.write_bytes(content)
        put_in_place(scratch, path)
    else:
        path.fs.pipe_file(path.path, content)


@contextmanager
def scratch_folder(target: Location, prefix: str) -> Iterator[Path]:
    """A temporary local folder for files that `put_in_place` moves into a folder.

    Args:
        target: the folder; if it is local, the temporary one is inside it, so that renames are
            atomic.
        prefix: of the temporary folder's name.
    """
    inside = target if isinstance(target, Path) else None
    scratch = Path(tempfile.mkdtemp(prefix=prefix, dir=inside))
    try:
        yield scratch
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


def put_in_place(source: Path, target: Location) -> None:
    """Move a finished local file to its final place, where it appears as a whole.

    Args:
        source: on the file system of a local target, and gone afterwards.
        target: replaced if it exists; folders above it are made.
    """
    if isinstance(target, Path):
        target.parent.mkdir(parents=True, exist_ok=True)
        sync(source)
        source.replace(target)
        sync(target.parent)
    else:
        target.fs.put_file(str(source), target.path)


def sync(path: Path) -> None:
    """Flush a file or folder to disk, so that a power cut cannot undo it."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def read_existing(folder: Location, names: Iterable[str]) -> dict[str, bytes]:
    """Contents of those named files that exist, by name; remote ones are requested in parallel."""
    if isinstance(folder, Path):
        return {name: (folder / name).read_bytes() for name in names if (folder / name).is_file()}
    by_key = {f"{folder.path}/{name}": name for name in names}
    if not by_key:
        return {}
    found: Mapping[str, bytes | Exception] = folder.fs.cat([*by_key], on_error="return")
    contents = {by_key[key.lstrip("/")]: content for key, content in found.items()}
    for content in contents.values():
        if isinstance(content, Exception) and not isinstance(content, FileNotFoundError):
            raise content
    return {name: content for name, content in contents.items() if isinstance(content, bytes)}


def read_range(path: Location, offset: int, count: int) -> bytes:
    """`count` bytes of a file from `offset`; fewer at its end."""
    if not isinstance(path, Path):
        content: bytes = path.fs.cat_file(path.path, start=offset, end=offset + count)
        return content
    with path.open("rb", buffering=0) as file:
        return os.pread(file.fileno(), count, offset)


def read_tail(path: Location, count: int) -> bytes:
    """The last `count` bytes of a file; all of them if it has fewer."""
    if not isinstance(path, Path):
        content: bytes = path.fs.cat_file(path.path, start=-count)
        return content
    with path.open("rb", buffering=0) as file:
        end = os.fstat(file.fileno()).st_size
        return os.pread(file.fileno(), count, max(0, end - count))


def checksum(path: Location) -> str:
    """SHA-256 of a file, hexadecimal."""
    if not isinstance(path, Path):
        return hashlib.sha256(path.fs.cat_file(path.path)).hexdigest()
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def missing_files(folder: Location, names: Iterable[str]) -> list[str]:
    """The named files that do not exist below a folder; one listing for a remote folder."""
    if isinstance(folder, Path):
        return [name for name in names if not (folder / name).is_file()]
    present = sizes(folder)
    return [name for name in names if name not in present]


def sizes(folder: Location) -> dict[str, int]:
    """Bytes of every file below a folder, by path relative to it."""
    if isinstance(folder, Path):
        return {
            path.relative_to(folder).as_posix(): path.stat().st_size
            for path in folder.rglob("*")
            if path.is_file()
        }
    found = folder.fs.find(folder.path, detail=True)
    return {key.removeprefix(f"{folder.path}/"): entry["size"] for key, entry in found.items()}


def listing(folder: UPath) -> dict[str, tuple[int, int]]:
    """Size and time of change, ns, of every file below a remote folder, by path, sorted."""

    def changed_ns(entry: dict[str, Any]) -> int:
        stamp = entry.get("LastModified") or entry.get("mtime")
        return int(stamp.timestamp() * 1e9) if isinstance(stamp, datetime) else 0

    found = folder.fs.find(folder.path, detail=True)
    return {
        key.removeprefix(f"{folder.path}/"): (entry["size"], changed_ns(entry))
        for key, entry in sorted(found.items())
    }


def openable(path: Location) -> str | IO[bytes]:
    """An argument for a media library: an absolute path, or a file object that reads remotely."""
    if isinstance(path, Path):
        return str(path.absolute())  # a relative path with a colon would be read as a protocol
    file: Any = path.open("rb", block_size=2**22)
    file.name = f"/{path.name}"  # libraries also judge the format by the suffix
    return file


def remove(folder: Location) -> None:
    """Remove a folder and everything in it."""
    if isinstance(folder, Path):
        shutil.rmtree(folder)
    else:
        folder.fs.rm(folder.path, recursive=True)


def as_zarr(path: Location) -> dict[str, Any]:
    """Keyword arguments with which zarr opens a group at a location."""
    if isinstance(path, Path):
        return {"store": path}
    return {"store": str(path), "storage_options": dict(path.storage_options)}
