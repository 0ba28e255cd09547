from __future__ import annotations

import pickle
import threading
from collections.abc import Iterator
from hashlib import sha256
from pathlib import Path

import pytest

from shared.errors import UserError
from shared.store.paths import (
    Location,
    checksum,
    listing,
    location,
    missing_files,
    openable,
    put_in_place,
    read_existing,
    remove,
    require_reachable,
    scratch_folder,
    sizes,
    write_whole,
)
from tests.s3 import new_place, s3_endpoint

ODD = ("a 100%d.mp4", "b#?:c*[1].mp4", "emoji 🎬.mp4", "-dash", 'quote\'s "x"')


@pytest.fixture(scope="module")
def bucket() -> Iterator[str]:
    with s3_endpoint() as name:
        yield name


@pytest.fixture(params=["local", "s3"])
def place(request: pytest.FixtureRequest, bucket: str, tmp_path: Path) -> Location:
    return tmp_path / "folder" if request.param == "local" else new_place(bucket)


@pytest.mark.parametrize("text", ["a", "/a/b", "a:colon.mp4", "file:///a/b", "C/100%"])
def test_text_without_a_protocol_is_a_path(text: str) -> None:
    assert location(text) == Path(text.removeprefix("file://"))


def test_a_url_keeps_its_form() -> None:
    found = location("s3://bucket/a/b/")
    assert str(found) == "s3://bucket/a/b"
    assert str(found.absolute() / "c") == "s3://bucket/a/b/c"
    assert location(str(found)) == pickle.loads(pickle.dumps(found)) == found


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("s3://", "names no bucket"),
        ("s3:///", "names no bucket"),
        ("nonsense://a/b", "nonsense.*give a folder, or s3://bucket/folder"),
    ],
)
def test_bad_urls_are_refused(text: str, message: str) -> None:
    with pytest.raises(UserError, match=message):
        location(text)


def test_files_behave_alike_locally_and_remotely(place: Location) -> None:
    if isinstance(place, Path):
        place.mkdir()
    for number, name in enumerate(ODD):
        write_whole(place / name, bytes(number))
    assert sizes(place) == {name: number for number, name in enumerate(ODD)}
    assert read_existing(place, [ODD[2], "not there"]) == {ODD[2]: bytes(2)}
    assert read_existing(place, []) == {}
    assert missing_files(place, [*ODD, "not there"]) == ["not there"]

    with scratch_folder(place, ".part-") as scratch:
        (scratch / "made").write_bytes(b"made")
        put_in_place(scratch / "made", place / "deep/er/made")
    assert not scratch.exists()
    assert (place / "deep/er/made").read_bytes() == b"made"
    assert checksum(place / "deep/er/made") == sha256(b"made").hexdigest()
    # No cached listing hides the files that another process writes.
    write_whole(place / "later", b"x")
    assert (place / "later").exists()
    assert "later" in sizes(place)
    opened = openable(place / "deep/er/made")
    with open(opened, "rb") if isinstance(opened, str) else opened as file:  # noqa: PTH123
        file.seek(2)
        assert file.read() == b"de"
    remove(place)
    assert not place.exists()


def test_a_file_is_never_seen_half_written(place: Location) -> None:
    """A thread that reads all the time gets the whole old or the whole new content."""
    if isinstance(place, Path):
        place.mkdir()
    old, new, seen = b"a" * 200_000, b"b" * 200_000, []
    write_whole(place / "file", old)
    stop = threading.Event()

    def read() -> None:
        while not stop.is_set():
            seen.append(read_existing(place, ["file"])["file"])

    reader = threading.Thread(target=read)
    reader.start()
    for _ in range(10):
        write_whole(place / "file", new)
        write_whole(place / "file", old)
    stop.set()
    reader.join()
    assert seen
    assert set(seen) <= {old, new}


def test_a_listing_has_size_and_time(bucket: str) -> None:
    place = new_place(bucket)
    write_whole(place / "a/b", b"four")
    [(name, (size, changed_ns))] = listing(place).items()  # type: ignore[arg-type]
    assert (name, size) == ("a/b", 4)
    assert changed_ns > 10**18


def test_a_missing_bucket_is_named(bucket: str, tmp_path: Path) -> None:
    require_reachable(tmp_path / "not there yet")
    require_reachable(new_place(bucket))
    with pytest.raises(UserError, match="there is no bucket 'elsewhere'"):
        require_reachable(location("s3://elsewhere/folder"))
