from __future__ import annotations

from pathlib import Path

import pytest

from shared.errors import UserError
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


def test_the_fraction_and_the_seed_decide(tmp_path: Path) -> None:
    splits = {
        f"{fraction}-{seed}": {"by": "video", "test_fraction": fraction, "seed": seed}
        for fraction in (0.0, 0.5, 1.0)
        for seed in range(4)
    }
    store = make_store(tmp_path / "store", splits=splits)
    sizes = {f: len(split_clips(store, f"{f}-0")[1]) for f in (0.0, 0.5, 1.0)}
    assert sizes == {0.0: 1, 0.5: 6, 1.0: 11}
    assert len({tuple(split_clips(store, f"0.5-{seed}")[1]) for seed in range(4)}) > 1


def test_an_unknown_protocol_lists_the_known(store: Store) -> None:
    with pytest.raises(UserError, match="no split 'subject'; it has: subjects, videos"):
        split_clips(store, "subject")


def test_one_group_cannot_be_divided(tmp_path: Path) -> None:
    store = make_store(tmp_path / "store", subjects=("alone",))
    with pytest.raises(UserError, match="needs at least two subjects, the store has 1"):
        split_clips(store, "subjects")
    assert len(split_clips(store, "videos")[1]) == 1
