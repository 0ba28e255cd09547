"""Against a real HTTP server on this machine that can cut transfers short."""

from __future__ import annotations

import hashlib
import io
import shutil
import sys
import tarfile
import threading
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
import yaml

import preprocess.datasets.download
from preprocess.datasets.download import CHUNK_BYTES, FOLDER, RETRIES, DownloadError, download
from shared.console import Progress
from shared.errors import UserError
from shared.manifest import Manifest

Cli = Callable[..., tuple[int, str, str]]


@dataclass
class Site:
    """Files by path, and how they are served.

    Attributes:
        url: of the server.
        files: contents by path.
        cuts: how many bytes the next answers stop after; whole ones follow.
        ranges: whether parts are served.
        asked: path and Range of every GET.
    """

    url: str = ""
    files: dict[str, bytes] = field(default_factory=dict)
    cuts: list[int] = field(default_factory=list)
    ranges: bool = True
    asked: list[tuple[str, str | None]] = field(default_factory=list)


def handler(site: Site) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        def do_HEAD(self) -> None:
            self._head()

        def do_GET(self) -> None:
            site.asked.append((self.path, self.headers.get("Range")))
            body = self._head()
            if body and site.cuts:
                body = body[: site.cuts.pop(0)]
                self.close_connection = True
            self.wfile.write(body)

        def _head(self) -> bytes:
            content = site.files.get(self.path)
            if content is None:
                self.send_error(404)
                return b""
            tag, start = f'"{hashlib.md5(content).hexdigest()}"', 0
            if site.ranges and self.headers.get("If-Range") == tag:
                start = int(self.headers["Range"].removeprefix("bytes=").rstrip("-"))
            self.send_response(206 if start else 200)
            if start:
                self.send_header(
                    "Content-Range", f"bytes {start}-{len(content) - 1}/{len(content)}"
                )
            self.send_header("Content-Length", str(len(content) - start))
            self.send_header("ETag", tag)
            self.end_headers()
            return content[start:]

        def log_message(self, *arguments: object) -> None:
            """Be quiet."""

    return Handler


class Server(ThreadingHTTPServer):
    """Says nothing of those who hang up, as one does who was refused or has seen enough."""

    def handle_error(self, request: object, client_address: object) -> None:
        if not isinstance(sys.exception(), ConnectionError):
            super().handle_error(request, client_address)  # type: ignore[arg-type]


@pytest.fixture
def site(monkeypatch: pytest.MonkeyPatch) -> Iterator[Site]:
    site = Site()
    server = Server(("127.0.0.1", 0), handler(site))
    threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
    site.url = f"http://127.0.0.1:{server.server_port}"
    monkeypatch.setattr("pooch.core.time.sleep", lambda seconds: None)
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    yield site
    server.shutdown()
    server.server_close()


def zipped(names: dict[str, bytes]) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        for name, content in names.items():
            archive.writestr(name, content)
    return out.getvalue()


def tarred(names: dict[str, bytes]) -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as archive:
        for name, content in names.items():
            entry = tarfile.TarInfo(name)
            entry.size = len(content)
            archive.addfile(entry, io.BytesIO(content))
    return out.getvalue()


def manifest(site: Site, **known: object) -> Manifest:
    """Manifest of all the files on the site; `known` is added to the first."""
    files = [{"url": site.url + path} for path in site.files]
    files[0].update(known)  # type: ignore[arg-type]
    return Manifest.model_validate(
        {
            "name": "toy",
            "title": "Toys",
            "holds": "2 videos",
            "obtain": "ask",
            "layout": "a/*.avi",
            "glob": ["*.avi"],
            "pattern": ".*",
            "files": files,
        }
    )


CONTENT = bytes(range(256)) * 4000
ARCHIVE = zipped({"a/one.avi": CONTENT, "a/two.avi": b"two"})


def test_archives_are_fetched_unpacked_and_not_fetched_again(site: Site, tmp_path: Path) -> None:
    site.files = {"/a.zip": ARCHIVE, "/b.tar": tarred({"b/x.avi": b"x"}), "/list.txt": b"list"}
    toys = manifest(site, size_bytes=len(ARCHIVE), sha256=hashlib.sha256(ARCHIVE).hexdigest())
    fetched = download(toys, tmp_path, Progress())
    assert (fetched.now, fetched.before) == (("a.zip", "b.tar", "list.txt"), ())
    assert (tmp_path / "a/one.avi").read_bytes() == CONTENT
    assert (tmp_path / "b/x.avi").read_bytes() == b"x"
    assert (tmp_path / "list.txt").read_bytes() == b"list"
    site.asked.clear()
    assert download(toys, tmp_path, Progress()).before == ("a.zip", "b.tar", "list.txt")
    assert site.asked == []


def test_a_cut_transfer_goes_on_where_it_was(site: Site, tmp_path: Path) -> None:
    # One cut before a whole chunk came, one within a chunk, one at the end of one.
    site.files, site.cuts = {"/a.zip": ARCHIVE}, [1000, 3 * CHUNK_BYTES + 1, CHUNK_BYTES]
    download(manifest(site), tmp_path, Progress())
    assert (tmp_path / "a/one.avi").read_bytes() == CONTENT
    assert site.asked == [
        ("/a.zip", part)
        for part in (None, None, f"bytes={3 * CHUNK_BYTES}-", f"bytes={4 * CHUNK_BYTES}-")
    ]


def test_a_server_without_ranges_is_asked_for_all_of_it(site: Site, tmp_path: Path) -> None:
    site.files, site.cuts, site.ranges = {"/a.zip": ARCHIVE}, [CHUNK_BYTES], False
    download(manifest(site), tmp_path, Progress())
    assert (tmp_path / "a/one.avi").read_bytes() == CONTENT


def test_a_file_that_changed_meanwhile_is_not_pasted_together(site: Site, tmp_path: Path) -> None:
    site.files, site.cuts = {"/a.zip": ARCHIVE}, [CHUNK_BYTES] * (RETRIES + 1)
    with pytest.raises(DownloadError):
        download(manifest(site), tmp_path, Progress())
    site.files = {"/a.zip": zipped({"a/one.avi": b"new"})}
    download(manifest(site), tmp_path, Progress())
    assert (tmp_path / "a/one.avi").read_bytes() == b"new"


def test_a_transfer_that_is_always_cut_is_an_error_that_can_be_resumed(
    site: Site, tmp_path: Path
) -> None:
    site.files, site.cuts = {"/a.zip": ARCHIVE}, [CHUNK_BYTES] * (RETRIES + 1)
    with pytest.raises(DownloadError, match=r"/a\.zip: .*262,144 bytes are kept\. Run the same"):
        download(manifest(site), tmp_path, Progress())
    assert not (tmp_path / "a").exists()
    site.asked.clear()
    download(manifest(site), tmp_path, Progress())
    assert site.asked == [("/a.zip", "bytes=262144-")]
    assert (tmp_path / "a/two.avi").read_bytes() == b"two"


@pytest.mark.parametrize(
    ("known", "message"),
    [
        ({"sha256": "0" * 64}, "sha256 [0-9a-f]{64}, not 0000"),
        ({"md5": "0" * 32}, "md5 [0-9a-f]{32}, not 0000"),
        ({"size_bytes": 7}, "size 1,024,2.. bytes, not 7 bytes"),
    ],
)
def test_a_file_that_is_another_is_removed(
    site: Site, tmp_path: Path, known: dict[str, object], message: str
) -> None:
    site.files = {"/a.zip": ARCHIVE}
    with pytest.raises(DownloadError, match=message):
        download(manifest(site, **known), tmp_path, Progress())
    assert not (tmp_path / "a").exists()
    assert [path.name for path in (tmp_path / FOLDER).iterdir()] == []


def test_an_archive_that_does_not_unpack_is_removed(site: Site, tmp_path: Path) -> None:
    site.files = {"/a.zip": ARCHIVE[:-30]}
    with pytest.raises(DownloadError, match=r"a\.zip does not unpack .* again to fetch it anew"):
        download(manifest(site), tmp_path, Progress())
    site.files = {"/a.zip": ARCHIVE}
    download(manifest(site), tmp_path, Progress())
    assert (tmp_path / "a/two.avi").exists()


def test_a_tar_cannot_write_elsewhere(site: Site, tmp_path: Path) -> None:
    site.files = {"/b.tar": tarred({"../../escaped.avi": b"x"})}
    with pytest.raises(DownloadError, match="outside"):
        download(manifest(site), tmp_path / "deep/root", Progress())
    assert not (tmp_path / "escaped.avi").exists()


def test_a_missing_file_is_named(site: Site, tmp_path: Path) -> None:
    site.files = {"/a.zip": ARCHIVE}
    toys = manifest(site)
    site.files = {}
    with pytest.raises(DownloadError, match=r"404 .*/a\.zip"):
        download(toys, tmp_path, Progress())


def test_a_disk_that_is_too_small_is_noticed_before(
    site: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    site.files = {"/a.zip": ARCHIVE}
    usage = shutil.disk_usage(tmp_path)._replace(free=2 * len(ARCHIVE) - 1)
    monkeypatch.setattr(preprocess.datasets.download.shutil, "disk_usage", lambda path: usage)
    with pytest.raises(UserError, match=r"0\.0 GB free; .* or name another place with --root"):
        download(manifest(site), tmp_path, Progress())
    assert site.asked == []
    usage = usage._replace(free=2 * len(ARCHIVE))
    download(manifest(site), tmp_path, Progress())


def test_rar_names_the_tools_that_unpack_it(
    site: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    site.files = {"/a.rar": b"not for Python"}
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(UserError, match="install one of unrar, 7z, bsdtar and run the same"):
        download(manifest(site), tmp_path / "root", Progress())
    tool = tmp_path / "bsdtar"
    tool.write_text('#!/bin/sh\nread content < "$2"\necho "$content" > unpacked.avi\n')
    tool.chmod(0o755)
    site.asked.clear()
    download(manifest(site), tmp_path / "root", Progress())
    assert (tmp_path / "root/unpacked.avi").read_text() == "not for Python\n"
    assert site.asked == []


def test_the_command_line(
    site: Site, tmp_path: Path, cli: Cli, monkeypatch: pytest.MonkeyPatch
) -> None:
    site.files = {"/a.zip": ARCHIVE}
    (tmp_path / "manifests").mkdir()
    content = manifest(site).model_dump(mode="json", exclude={"splits"})
    (tmp_path / "manifests/toy.yaml").write_text(yaml.safe_dump(content))
    monkeypatch.setattr("shared.manifest._FOLDERS", (tmp_path / "manifests",))
    root = tmp_path / "root"
    code, out, err = cli("download", "toy", "--root", root)
    assert code == 0, err
    assert f"Toys in {root}: 1 files fetched, 0 were there" in out
    assert "a.zip" in err
    site.files = {}
    shutil.rmtree(root)
    code, out, err = cli("download", "toy", "--root", root)
    assert (code, out) == (1, "")
    assert "404" in err and "Traceback" not in err


@pytest.mark.parametrize("name", ["mug", "sky", "folder", "gestures"])
def test_what_is_not_to_be_fetched_says_how_to_get_it(name: str, cli: Cli, tmp_path: Path) -> None:
    code, out, err = cli("download", name, "--root", tmp_path / "root")
    assert (code, out) == (2, "")
    assert "cannot be downloaded by a program" in err
    assert "Obtain:" in err and "Layout below the root:" in err
    assert not (tmp_path / "root").exists()
