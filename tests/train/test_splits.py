from __future__ import annotations

from pathlib import Path

import pytest

from shared.errors import UserError
from shared.schema import NEITHER
from shared.store import Store
from tests.train.stores import make_store
from train.splits import split_clips


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
