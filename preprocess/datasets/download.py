"""Download a data set's files: resume, check and unpack them, each only once."""

from __future__ import annotations

import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

import pooch
import requests

from shared.console import Progress
from shared.errors import UserError
from shared.manifest import Manifest, RemoteFile

FOLDER = ".download"
"""Folder below the root for fetched files, and a marker for each that is unpacked."""

RETRIES = 3
"""Times that a broken transfer is resumed before the command fails."""

CHUNK_BYTES = 2**16
"""Unit in which a transfer is written; a broken one keeps whole chunks."""

_TIMEOUT_S = 60
_MB = 1e6

_RAR_TOOLS = (("unrar", "x", "-o+", "-y"), ("7z", "x", "-y"), ("bsdtar", "-xf"))
"""Programs that unpack RAR, which Python cannot; each works in the current folder."""


class DownloadError(Exception):
    """A file could not be fetched, or has the wrong content; the message has the remedy."""


@dataclass(frozen=True)
class Fetched:
    """Names of the files fetched now, and of those fetched before."""

    now: tuple[str, ...]
    before: tuple[str, ...]


def download(manifest: Manifest, root: Path, progress: Progress) -> Fetched:
    """Fetch, check and unpack what is missing.

    Args:
        manifest: names the files.
        root: folder for the data set.
        progress: shows the progress.

    Raises:
        UserError: the data set has no files to download, the disk is too small, or no program
            unpacks them.
        DownloadError: a transfer failed, or a file has the wrong size or checksum.
    """
    if not manifest.files:
        raise UserError(
            f"{manifest.title} cannot be downloaded by a program.\n"
            f"Obtain: {manifest.obtain.strip()}\nLayout below the root: {manifest.layout.strip()}"
        )
    folder = root / FOLDER
    missing = [file for file in manifest.files if not _marker(folder, file).exists()]
    try:
        folder.mkdir(parents=True, exist_ok=True)
        require_space(root, missing)
        for file in missing:
            unpack(_fetch(file, folder, progress), root / file.to)
            _marker(folder, file).touch()
    except OSError as error:
        if isinstance(error, requests.exceptions.RequestException):
            raise
        raise UserError(f"cannot write to {root}: {error.strerror or error}") from error
    names = [file.name for file in manifest.files]
    now = [file.name for file in missing]
    return Fetched(tuple(now), tuple(name for name in names if name not in now))


def require_space(root: Path, files: list[RemoteFile]) -> None:
    """Refuse a disk that is too small before anything is fetched.

    Raises:
        UserError: archives and their contents would not fit; unknown sizes count as 0.
    """
    needed = 0
    for file in files:
        there = sum(
            path.stat().st_size
            for path in (_part(root / FOLDER, file), root / FOLDER / file.name)
            if path.exists()
        )
        # Video does not compress: the contents take as much again.
        needed += 2 * (file.size_bytes or _stated_size(file.url)) - there
    free = shutil.disk_usage(root).free
    if needed > free:
        raise UserError(
            f"{root} has {free / 1e9:.1f} GB free; archives and their contents take"
            f" {needed / 1e9:.1f} GB. Make room, or name another place with --root DIR"
        )


def unpack(archive: Path, target: Path) -> None:
    """Unpack an archive; other files are copied.

    Raises:
        UserError: it is RAR, and no program that unpacks it is installed.
        DownloadError: it is damaged.
    """
    target.mkdir(parents=True, exist_ok=True)
    if archive.suffix == ".rar":
        _unpack_rar(archive, target)
    elif any(archive.name.endswith(ending) for ending in _archive_endings()):
        try:
            if archive.suffix == ".zip":
                shutil.unpack_archive(archive, target)
            else:  # a tar could name devices, or places outside the target
                shutil.unpack_archive(archive, target, filter="data")
        except Exception as error:  # each format has errors of its own
            if isinstance(error, OSError) and not isinstance(error, shutil.ReadError):
                raise  # of the disk, not of the archive
            archive.unlink()
            raise DownloadError(
                f"{archive.name} does not unpack ({error}) and was removed; run the same command"
                " again to fetch it anew"
            ) from error
    else:
        shutil.copyfile(archive, target / archive.name)


def _fetch(file: RemoteFile, folder: Path, progress: Progress) -> Path:
    """Fetch a file into a folder, complete and checked."""
    pooch.get_logger().setLevel("WARNING")  # the bar says as much
    store = pooch.create(
        folder,
        base_url="",
        registry={file.name: None},
        urls={file.name: file.url},
        retry_if_failed=RETRIES,
    )
    try:
        path = Path(store.fetch(file.name, downloader=_Transfer(file, folder, progress)))
    except requests.exceptions.RequestException as error:
        part = _part(folder, file)
        kept = f"; {part.stat().st_size:,} bytes are kept" if part.exists() else ""
        raise DownloadError(
            f"{file.url}: {error}{kept}. Run the same command again to go on from there, or fetch"
            f" it by other means and put it into {folder}"
        ) from error
    _check(path, file)
    return path


class _Transfer:
    """Downloader for pooch that resumes a broken transfer."""

    def __init__(self, file: RemoteFile, folder: Path, progress: Progress) -> None:
        self._file, self._progress = file, progress
        self._part = _part(folder, file)
        self._version = self._part.with_suffix(".version")

    def __call__(self, url: str, output_file: str, pooch: object) -> None:
        with requests.get(url, headers=self._ask(), stream=True, timeout=_TIMEOUT_S) as response:
            if response.status_code == requests.codes.requested_range_not_satisfiable:
                self._part.unlink()  # it is not the start of the present file
                raise requests.exceptions.ConnectionError("the file has changed since")
            response.raise_for_status()
            self._receive(response)
        self._part.replace(output_file)
        self._version.unlink(missing_ok=True)

    def _ask(self) -> dict[str, str]:
        # A compressed transfer could not be resumed, nor counted.
        plain = {"Accept-Encoding": "identity"}
        have = self._part.stat().st_size if self._part.exists() else 0
        if not have or not self._version.exists():
            return plain
        # If it has changed, the server sends all of it instead of the rest.
        return {
            **plain,
            "Range": f"bytes={have}-",
            "If-Range": self._version.read_text(encoding="utf-8"),
        }

    def _receive(self, response: requests.Response) -> None:
        resumed = response.status_code == requests.codes.partial_content
        have = self._part.stat().st_size if resumed else 0
        length = response.headers.get("Content-Length")
        total = have + int(length) if length else self._file.size_bytes
        version = response.headers.get("ETag") or response.headers.get("Last-Modified")
        if version and not version.startswith("W/"):
            self._version.write_text(version, encoding="utf-8")
        else:
            self._version.unlink(missing_ok=True)
        with (
            self._part.open("ab" if resumed else "wb") as out,
            self._progress.bar(self._file.name, (total or 1) / _MB, "MB", done=have / _MB) as bar,
        ):
            for chunk in response.iter_content(CHUNK_BYTES):
                out.write(chunk)
                bar(len(chunk) / _MB)
                have += len(chunk)
        if total is not None and have != total:
            cut = f"the transfer ended after {have:,} of {total:,} bytes"
            raise requests.exceptions.ConnectionError(cut)


def _check(path: Path, file: RemoteFile) -> None:
    """Compare size and checksums, if they are known; removes a file that differs."""
    size = path.stat().st_size
    found = {"size": f"{size:,} bytes"} if file.size_bytes not in (None, size) else {}
    wanted = {"size": f"{file.size_bytes or 0:,} bytes"}
    for kind in ("sha256", "md5"):
        if expected := getattr(file, kind):
            wanted[kind], actual = expected, pooch.file_hash(str(path), alg=kind)
            if actual != expected:
                found[kind] = actual
    if found:
        path.unlink()
        difference = "; ".join(
            f"{kind} {value}, not {wanted[kind]}" for kind, value in found.items()
        )
        raise DownloadError(
            f"{file.url} is not the file it should be: {difference}. It was removed; try again,"
            " and if that changes nothing, the file has been replaced by another"
        )


def _stated_size(url: str) -> int:
    """Bytes that the server states; 0 if it does not."""
    try:
        answer = requests.head(url, allow_redirects=True, timeout=_TIMEOUT_S)
        answer.raise_for_status()
    except requests.exceptions.RequestException:
        return 0  # fetching it will report the error
    return int(answer.headers.get("Content-Length", 0))


def _unpack_rar(archive: Path, target: Path) -> None:
    for tool, *arguments in _RAR_TOOLS:
        if program := shutil.which(tool):
            command = [program, *arguments, str(archive.absolute())]
            done = subprocess.run(command, cwd=target, capture_output=True, text=True, check=False)
            if done.returncode:
                raise DownloadError(f"{' '.join(command)}: {done.stderr.strip()}")
            return
    tools = ", ".join(tool for tool, *_ in _RAR_TOOLS)
    raise UserError(
        f"{archive} is there, but Python does not unpack RAR: install one of {tools} and run the"
        f" same command again, or unpack it yourself in {target}"
    )


def _archive_endings() -> list[str]:
    return [ending for _, endings, _ in shutil.get_unpack_formats() for ending in endings]


def _part(folder: Path, file: RemoteFile) -> Path:
    return folder / f"{file.name}.part"


def _marker(folder: Path, file: RemoteFile) -> Path:
    return folder / f"{file.name}.done"
