"""What the page of `view` shows, without the page; tests/browser/test_view.py has that."""

from __future__ import annotations

from collections.abc import Iterator
from io import BytesIO
from itertools import product
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from preprocess.motion.encode import restore_clip
from preprocess.records import Reject, write_rejects
from preprocess.report.measure import psnr
from preprocess.view.browse import ALL, Browser, files_table, page_of, reasons_table
from shared.errors import StoreError, UserError
from shared.schema import LARGE
from shared.store.shards import ShardedArray
from shared.store.store import Store
from tests.s3 import new_place, s3_endpoint
from tests.stores import contents, damage_clip
from tests.train.stores import LABELS, OPTIONS, SUBJECTS, make_store

REJECTS = [
    Reject("a<b>.mp4", "cut short", "extract", 3, 1, 20),
    Reject("c.mp4", "cut short", "extract", 2, 0, 3),
    Reject("empty.mp4", "the file is empty", "discover"),
]


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Store:
    """3 subjects x 4 labels, two protocols, two slots not valid, three rejects. Not to change."""
    made = make_store(tmp_path_factory.mktemp("stores") / "store")
    write_rejects(made.path, REJECTS)
    return made


class Reads:
    """What is read of a store: its columns, their entries and clips' entries, in order."""

    def __init__(self, patch: pytest.MonkeyPatch) -> None:
        self.columns: list[str] = []
        self.entries: list[tuple[str, int]] = []
        column, small, large = Store.column, Store.entry, ShardedArray.read_into

        def read_column(store: Store, name: str) -> np.ndarray:
            self.columns.append(name)
            return column(store, name)

        def read_entry(store: Store, name: str, index: int) -> object:
            self.entries.append((name, int(store.indices[index])))
            return small(store, name, index)

        def read_into(array: ShardedArray, position: int, out: np.ndarray) -> None:
            self.entries.append((array.path.name, position))
            large(array, position, out)

        patch.setattr(Store, "column", read_column)
        patch.setattr(Store, "entry", read_entry)
        patch.setattr(ShardedArray, "read_into", read_into)


def test_only_what_is_shown_is_read(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """A store of a million clips opens with a few bytes a clip, and no clip but one is decoded."""
    reads = Reads(monkeypatch)
    browser = Browser(Store(store.path))
    assert reads.columns == ["label", "subject", "split"]
    for choice in (browser.labels, browser.subjects, browser.sides, browser.reasons):
        assert choice
    shown = browser.matching(label=2).tolist()
    assert reads.entries == []
    browser.tiles(shown)
    slots = store.indices[shown].tolist()
    assert reads.entries == [("first_frame", slot) for slot in slots]
    reads.entries.clear()
    browser.clip(shown[1])
    expected = {(name, slots[1]) for name in (*LARGE, "video", "frame_index")}
    assert set(reads.entries) == expected
    assert reads.columns == ["label", "subject", "split"]


def test_choices_count_valid_clips(store: Store) -> None:
    browser = Browser(store)
    assert browser.labels == [(f"{name} (3)", index) for index, name in enumerate(LABELS)]
    assert browser.subjects == [(f"{name} (4)", index) for index, name in enumerate(SUBJECTS)]
    assert [text for text, _ in browser.sides] == [
        "subjects: train (8)", "subjects: test (4)", "videos: train (9)", "videos: test (3)",
    ]  # fmt: skip
    assert browser.reasons == [("cut short (2)", 0), ("the file is empty (1)", 1)]


def test_matching_clips_are_those_that_a_loop_finds(store: Store) -> None:
    browser = Browser(store)
    columns = [store.column(name).tolist() for name in ("label", "subject", "split")]
    sides = {ALL: None} | {value: text for text, value in browser.sides}
    for label, subject, side in product((ALL, 0, 3), (ALL, 1), sides):
        expected = []
        for index, (of_label, of_subject, of_split) in enumerate(zip(*columns, strict=True)):
            text = sides[side]
            on_side = text is None or (
                of_split["videos" in text] == {"train": 0, "test": 1}[text.split()[1]]
            )
            if label in (ALL, of_label) and subject in (ALL, of_subject) and on_side:
                expected.append(index)
        assert browser.matching(label, subject, side).tolist() == expected


def test_clips_without_label_or_subject_have_a_choice(tmp_path: Path) -> None:
    browser = Browser(make_store(tmp_path / "store", labels=(), splits={}))
    assert browser.labels == [("(no label) (12)", -1)]
    assert len(browser.matching(label=-1)) == 12
    assert browser.sides == []
    assert browser.tiles([4])[0].caption == "4, b"


def test_tiles_are_first_frames(store: Store) -> None:
    first, other = Browser(store).tiles([0, 7])
    assert (first.caption, other.caption) == ("0, Go, a", "7, Turn Right, b")
    factor = len(first.picture) // OPTIONS.size.height
    assert factor > 1
    frame = store.clip("first_frame", 0).transpose(1, 2, 0)
    assert np.array_equal(first.picture[::factor, ::factor], frame)


def test_a_clip_as_films_and_figures(store: Store) -> None:
    report = Browser(store).clip(7)
    facts = dict(report.facts)
    assert (facts["label"], facts["subject"], facts["video"]) == ("Turn Right", "b", "v8.mp4")
    assert facts["frames"] == "4, from 0 to 3 of the video"
    assert (facts["split subjects"], facts["split videos"]) == ("train", "train")
    first_frame, motion, residual = (store.clip(name, 7) for name in LARGE)
    frames = restore_clip(first_frame, motion, residual, OPTIONS.codec).astype(float)
    left = (residual.astype(float) ** 2).sum() / ((frames[1:] - frames[0]) ** 2).sum()
    assert facts["energy left by vectors"] == f"{100 * left:.1f}% of the change's"
    alone = psnr(np.square(residual.astype(float)).mean())
    assert facts["PSNR of vectors alone"] == f"{alone:.2f} dB"
    assert "PSNR of frame 0 repeated" in facts
    lengths = [Image.open(BytesIO(film)).n_frames for _, film in report.films]
    assert lengths == [4, 3, 3]
    assert report.html.count("<img") == 3


def test_long_clips_are_shown_in_part(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("preprocess.view.browse.MAX_FRAMES", 2)
    films = Browser(store).clip(0).films
    assert [Image.open(BytesIO(film)).n_frames for _, film in films] == [2, 2, 2]


@pytest.mark.parametrize("number", [-1, 12, float("nan"), float("inf"), -0.5])
def test_clips_that_are_not_there_are_refused(store: Store, number: float) -> None:
    with pytest.raises(UserError, match=r"clip .*: give 0 to 11"):
        Browser(store).clip(number)


def test_a_damaged_clip_leaves_the_others_on_their_page(tmp_path: Path) -> None:
    store = make_store(tmp_path / "store")
    damage_clip(store, "first_frame", 1)
    damage_clip(store, "residual", 2)
    browser = Browser(store)
    assert [tile.caption for tile in browser.tiles(range(3))] == [
        "0, Go, a", "1 damaged, Halt, a", "2, Turn Left, a",
    ]  # fmt: skip
    for index in (1, 2):
        with pytest.raises(StoreError, match=f"clip {index} of .* restore those files"):
            browser.clip(index)
    assert browser.clip(3).films


@pytest.mark.parametrize("column", ["label", "split", "valid"])
def test_a_damaged_column_is_an_error_with_its_name(tmp_path: Path, column: str) -> None:
    path = make_store(tmp_path / "store").path
    file = next(file for file in (path / column / "c").rglob("0") if file.is_file())
    file.write_bytes(b"damaged")
    with pytest.raises(StoreError, match=f"array `{column}` of .* cannot be read"):
        Browser(Store(path))


@pytest.mark.parametrize("line", ["{", "[1]", '{"file": "a"}', '"a"'])
def test_a_damaged_list_of_rejects_is_an_error(tmp_path: Path, line: str) -> None:
    store = make_store(tmp_path / "store")
    (store.path / "rejected.jsonl").write_text(f"{line}\n")
    with pytest.raises(StoreError, match=r"rejected\.jsonl is damaged"):
        Browser(store)


def test_rejected_files_by_reason(store: Store) -> None:
    browser = Browser(store)
    assert browser.files() == REJECTS
    assert browser.files(0) == REJECTS[:2]
    shown = files_table(browser.files(0))
    assert "a&lt;b&gt;.mp4" in shown and "1 of 3" in shown and "empty" not in shown
    assert "1 of 5" in reasons_table(REJECTS)


@given(st.integers(0, 10**6), st.one_of(st.floats(), st.integers(-5, 5)), st.integers(1, 100))
def test_every_wanted_page_leads_to_one(total: int, wanted: float, size: int) -> None:
    page, positions, line = page_of(total, wanted, size)
    shown = range(total)[positions]
    assert 0 < len(shown) <= size or total == 0
    assert shown.start == (page - 1) * size
    if shown:
        assert line.startswith(f"{shown.start + 1:,} to {shown.stop:,} of {total:,}, page {page:,}")
    if 1 <= wanted <= max(1, -(-total // size)):
        assert page == int(wanted)


@pytest.fixture(scope="module")
def bucket() -> Iterator[str]:
    with s3_endpoint() as name:
        yield name


def test_a_store_on_s3_is_browsed_like_a_local_one(bucket: str, store: Store) -> None:
    there = new_place(bucket)
    for name, content in contents(store.path).items():
        (there / name).write_bytes(content)
    near, far = Browser(store), Browser(Store(there))
    assert near.sides == far.sides and near.rejects == far.rejects
    assert near.clip(7) == far.clip(7)
    assert [tile.caption for tile in far.tiles([3])] == ["3, Turn Right, a"]
