from __future__ import annotations

from dataclasses import dataclass
from typing import Any, cast

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from train.data.consecutive import ClipBefore, clips_before

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
