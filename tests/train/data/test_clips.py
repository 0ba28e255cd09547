from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from shared.conventions import REFERENCES, FrameSize, Reference
from shared.errors import UserError
from shared.schema import NEITHER
from shared.store.store import Store
from tests.train.spaces.clips import codec_options, stored
from tests.train.stores import LABELS, OPTIONS, SUBJECTS, make_store, write_store
from train.data.clips import (
    ClipBefore,
    Clips,
    chosen_frames,
    clips_before,
    normalise_frame,
    split_clips,
)


@pytest.mark.parametrize(("protocol", "column"), [("subjects", "subject"), ("videos", "video")])
def test_groups_are_whole_on_one_side(store: Store, protocol: str, column: str) -> None:
    train, test = split_clips(store, protocol)
    assert sorted([*train, *test]) == list(range(len(store)))
    assert len(train) > len(test) > 0
    groups = store.column(column)
    assert not set(groups[train]) & set(groups[test])


def test_the_first_protocol_is_the_default_and_repeats(store: Store) -> None:
    default = split_clips(store, None)
    for one, other in zip(default, split_clips(store, "subjects"), strict=True):
        assert one.tolist() == other.tolist()


def test_clips_that_a_protocol_leaves_out_are_on_neither_side(tmp_path: Path) -> None:
    store = make_store(tmp_path / "store")
    side = store.column("split")
    side[3, 0] = NEITHER
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Store, "column", lambda self, name: {"split": side}[name])
        train, test = split_clips(store, "subjects")
    assert sorted([*train, *test]) == [0, 1, 2, *range(4, 12)]


def test_an_unknown_protocol_lists_the_known(store: Store) -> None:
    with pytest.raises(UserError, match="no split 'subject'; it has: subjects, videos"):
        split_clips(store, "subject")


def test_a_side_without_clips_is_an_error(tmp_path: Path) -> None:
    store = make_store(tmp_path / "store", subjects=("alone",))
    with pytest.raises(UserError, match="'subjects' leaves no test clips of the 4 in the store"):
        split_clips(store, "subjects")
    assert len(split_clips(store, "videos")[1]) == 1


CPU = torch.device("cpu")


@given(
    st.sampled_from(REFERENCES),
    st.lists(st.lists(st.integers(0, 3), min_size=2, max_size=2), min_size=3, max_size=3),
)
def test_chosen_frames_are_those_of_the_whole_clips(
    reference: Reference, steps: list[list[int]]
) -> None:
    options = codec_options(reference=reference, unit=2, compensation="interpolated")
    batch, clips = stored(options, count=3)
    chosen = chosen_frames(batch, options, torch.tensor(steps))
    for frames, row, clip in zip(chosen, steps, clips, strict=True):
        assert torch.equal(frames, clip[row])


@pytest.mark.parametrize("reference", REFERENCES)
@pytest.mark.parametrize(
    ("size", "unit", "compensation"),
    [
        (16, 1, "block"),
        (13, 1, "block"),
        (16, 2, "block"),
        (13, 4, "block"),
        (13, 2, "overlapped"),
        (13, 1, "interpolated"),
    ],
)
def test_frames_are_the_original_clips(
    tmp_path: Path, size: int, unit: int, compensation: str, reference: Reference
) -> None:
    changes = {
        "size": FrameSize(size, size),
        "reference": reference,
        "vector_unit": unit,
        "compensation": compensation,
    }
    options = OPTIONS.model_copy(update=changes)
    originals = write_store(tmp_path / "store", options=options)
    clips = Clips(Store(tmp_path / "store"), None)
    batch = clips.batch(np.arange(len(originals)), CPU)
    assert np.array_equal(clips.frames(batch).numpy(), np.stack(originals))


def test_slots_that_are_not_valid_never_appear(store: Store) -> None:
    clips = Clips(store, None)
    count = len(SUBJECTS) * len(LABELS)
    assert store.attributes.clips == count + 2
    assert sorted([*clips.train, *clips.test]) == list(range(count))
    assert clips.label.tolist() == list(range(len(LABELS))) * len(SUBJECTS)
    batch = clips.batch(np.arange(count), CPU)
    assert int(batch.motion.abs().max()) <= OPTIONS.search_range
    assert batch.label.tolist() == clips.label.tolist()


def test_entries_read_twice_are_equal(store: Store) -> None:
    clips = Clips(store, None)
    first, again = clips.batch([3, 1, 3], CPU), clips.batch([3, 1, 3], CPU)
    assert first.residual.equal(again.residual)
    assert first.residual[0].equal(first.residual[2])
    assert not first.residual[0].equal(first.residual[1])
    first.residual.zero_()
    assert clips.batch([3, 1, 3], CPU).residual.equal(again.residual)


class Counted:
    """A store that counts what is read of it."""

    def __init__(self, store: Store) -> None:
        self._store, self.reads = store, 0

    def __getattr__(self, name: str) -> Any:
        return getattr(self._store, name)

    def __len__(self) -> int:
        return len(self._store)

    def clip(self, name: str, index: int, out: np.ndarray | None = None) -> np.ndarray:
        self.reads += 1
        return self._store.clip(name, index, out)


def test_arrays_that_fit_stay_in_memory_and_others_do_not(store: Store) -> None:
    clips_bytes = len(store) * 3 * OPTIONS.size.pixels
    for limit, reads in ((0, 8), (clips_bytes - 1, 8), (clips_bytes, 4), (2**30, 4)):
        counted = Counted(store)
        clips = Clips(counted, None, in_memory_bytes=limit)
        for _ in range(2):
            clips.read("first_frame", [0, 1, 2, 7])
        assert counted.reads == reads
        assert np.array_equal(clips.read("motion", [5])[0], store.clip("motion", 5))


def test_other_arrays_of_the_same_clips_are_read_alike(store: Store) -> None:
    class Positions:
        shape, dtype = (2,), np.dtype("<f2")

        def read_into(self, index: int, out: np.ndarray) -> None:
            out[:] = index

    tensors = Clips(store, None, {"place": Positions()}).tensors(("motion", "place"), [4, 0])
    assert tensors["place"].tolist() == [[4, 4], [0, 0]]
    assert tensors["place"].dtype == torch.float16
    assert list(tensors) == ["motion", "place", "label"]


def test_the_stride_is_the_mean_distance_between_frames(tmp_path: Path) -> None:
    store = make_store(tmp_path / "store")
    index = np.array([[5, 6, 7, 8], [0, 3, 6, 9], [2, 2, 4, 7]], np.int32).repeat(4, axis=0)
    with pytest.MonkeyPatch.context() as patch:
        columns = {"split": store.column("split"), "label": store.column("label")}
        patch.setattr(Store, "column", lambda _, name: (columns | {"frame_index": index})[name])
        read = Clips(store, None).read("stride", [8, 0, 4])
    assert read.tolist() == [[pytest.approx(5 / 3)], [1], [3]]


def test_frames_are_scaled_to_minus_one_to_one() -> None:
    grey = torch.tensor([0, 127, 128, 255], dtype=torch.uint8)
    assert normalise_frame(grey).tolist() == pytest.approx([-1, -1 / 255, 1 / 255, 1], abs=1e-6)


FRAMES = 3


@dataclass
class Columns:
    """A store, as far as columns go."""

    columns: dict[str, NDArray[Any]]

    def column(self, name: str) -> NDArray[Any]:
        return self.columns[name]


Row = tuple[str, int, int, int, int]

rows = st.lists(
    st.tuples(
        st.sampled_from("ab"), st.integers(0, 1), st.integers(0, 12), st.integers(1, 2),
        st.integers(0, 1),
    ),
    min_size=1,
    max_size=30,
)  # fmt: skip


def store_of(clips: list[Row]) -> Columns:
    video, segment, start, stride, side = zip(*clips, strict=True)
    index = np.array(start)[:, None] + np.arange(FRAMES) * np.array(stride)[:, None]
    split = np.array(side, np.int8)[:, None].repeat(2, axis=1)
    return Columns(
        {
            "video": np.array(video),
            "segment": np.array(segment),
            "frame_index": index,
            "split": split,
        }
    )


def before(clips: list[Row]) -> NDArray[np.int64]:
    return clips_before(cast(Any, store_of(clips)))


@given(rows)
def test_a_naive_search_finds_the_same(clips: list[Row]) -> None:
    found = before(clips)
    for n, (video, segment, start, stride, side) in enumerate(clips):
        candidates = [
            k
            for k, other in enumerate(clips)
            if other == (video, segment, start - FRAMES * stride, stride, side)
        ]
        assert (found[n] in candidates) if candidates else found[n] == -1


def test_both_lie_on_one_side_of_every_split() -> None:
    clips: list[Row] = [("a", 0, 0, 1, 0), ("a", 0, 3, 1, 1), ("a", 0, 3, 1, 0)]
    assert before(clips).tolist() == [-1, -1, 0]
    columns = store_of(clips)
    columns.columns["split"][2, 1] = 1
    assert clips_before(cast(Any, columns)).tolist() == [-1, -1, -1], "of the second protocol"


def test_frames_at_uneven_distances_have_no_clip_before() -> None:
    columns = store_of([("a", 0, 0, 1, 0), ("a", 0, 3, 1, 0)])
    columns.columns["frame_index"][0] = [0, 1, 3]
    assert clips_before(cast(Any, columns)).tolist() == [-1, -1]


class Squares:
    """Entries of two numbers, n and n squared."""

    shape = (2,)
    dtype = np.dtype(np.float16)

    def read_into(self, index: int, out: np.ndarray) -> None:
        out[:] = index, index**2


@pytest.mark.parametrize(("index", "expected"), [(0, (0, 0)), (1, (3, 9))])
def test_the_entry_of_the_clip_before_is_read(index: int, expected: tuple[int, int]) -> None:
    array = ClipBefore(Squares(), np.array([-1, 3]))
    out = np.full(array.shape, 7, array.dtype)
    array.read_into(index, out)
    assert tuple(out) == expected
