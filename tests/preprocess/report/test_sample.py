from __future__ import annotations

import time

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from preprocess.report.measure import (
    CLIPS_IN_ALL,
    CLIPS_PER_LABEL,
    MAX_LABELS,
    NO_LABEL,
    draw_sample,
)

NAMES = tuple(f"label {i}" for i in range(200))


@given(
    st.lists(st.tuples(st.integers(-1, 60), st.integers(-1, 5)), min_size=1, max_size=300),
    st.integers(1, 400),
    st.integers(0, 9),
)
def test_a_sample_is_of_the_store_and_of_its_labels(
    pairs: list[tuple[int, int]], count: int, seed: int
) -> None:
    label, subject = np.array(pairs, np.int16).T
    sample = draw_sample(label, subject, NAMES, count, seed)
    assert len(sample.measured) == min(count, len(label))
    assert (np.diff(sample.measured) > 0).all()
    assert set(sample.measured.tolist()) <= set(range(len(label)))
    assert sample.labels == len(np.unique(label))
    assert len(sample.shown) == min(sample.labels, MAX_LABELS)
    for name, clips in sample.shown.items():
        index = -1 if name == NO_LABEL else NAMES.index(name)
        there = np.count_nonzero(label == index)
        most = max(CLIPS_PER_LABEL, CLIPS_IN_ALL // sample.labels)
        assert len(set(clips.tolist())) == len(clips) == min(there, most)
        assert (label[clips] == index).all()
        people = len(np.unique(subject[label == index]))
        assert len(np.unique(subject[clips])) == min(people, len(clips))
    again = draw_sample(label, subject, NAMES, count, seed)
    assert np.array_equal(again.measured, sample.measured)
    assert all(np.array_equal(again.shown[n], clips) for n, clips in sample.shown.items())


def test_another_seed_draws_other_clips() -> None:
    label, subject = np.zeros((2, 1000), np.int16)
    one, other = (draw_sample(label, subject, NAMES, 20, seed) for seed in (0, 1))
    assert not np.array_equal(one.measured, other.measured)


def test_clips_without_label_come_last() -> None:
    label = np.array([-1, 1, 0], np.int16)
    sample = draw_sample(label, np.zeros(3, np.int16), NAMES, 3, 0)
    assert list(sample.shown) == ["label 0", "label 1", NO_LABEL]


def test_a_million_clips_are_sampled_in_seconds() -> None:
    rng = np.random.default_rng(0)
    label, subject = rng.integers(0, 200, (2, 1_000_000)).astype(np.int16)
    started = time.monotonic()
    sample = draw_sample(label, subject, NAMES, 256, 0)
    assert time.monotonic() - started < 10
    assert (len(sample.measured), len(sample.shown)) == (256, MAX_LABELS)
