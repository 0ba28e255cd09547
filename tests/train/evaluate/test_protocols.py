"""Plans of protocols: which windows, which first frames, which seeds."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.errors import UserError
from train.evaluate.protocols import (
    PROTOCOLS,
    Candidates,
    Protocol,
    choose_clips,
    draw_windows,
    make_plan,
    protocol_named,
)


def windows_of(*counts: int) -> Candidates:
    """Videos with these numbers of windows, later ones first; two labels, three subjects."""
    rows = [(v, k) for v, count in enumerate(counts) for k in reversed(range(count))]
    video = np.array([v for v, _ in rows])
    return Candidates(
        clip=100 + np.arange(len(rows)),
        video=tuple((f"v{v}", 0) for v, _ in rows),
        start=np.array([k for _, k in rows]),
        label=video % 2,
        subject=video % 3,
    )


def protocol(**changes: object) -> Protocol:
    return Protocol(**{"name": "p", "follows": "f", "count": 4, "real": 4} | changes)  # type: ignore[arg-type]


@given(st.lists(st.integers(1, 5), min_size=1, max_size=8), st.integers(1, 30), st.integers(0, 99))
def test_every_video_gives_a_window_before_any_gives_another(
    counts: list[int], wanted: int, seed: int
) -> None:
    test = windows_of(*counts)
    rows = draw_windows(test, wanted, seed).tolist()
    assert len(rows) == len(set(rows)) == min(wanted, sum(counts))
    taken = Counter(test.video[row] for row in rows)
    rounds = max(taken.values())
    for video, count in enumerate(counts):
        assert taken[(f"v{video}", 0)] >= min(count, rounds - 1)


def test_windows_and_seeds_depend_on_the_seed_alone() -> None:
    test = windows_of(5, 5, 5, 5, 5, 5)
    first, again, other = (make_plan(protocol(), test, seed) for seed in (3, 3, 4))
    for name in ("windows", "clip", "seed"):
        assert (getattr(first, name) == getattr(again, name)).all()
    assert (first.windows != other.windows).any()
    assert first.seed.tolist() == [3, 4, 5, 6]
    starts = {
        int(test.start[k - 100]) for s in range(40) for k in make_plan(protocol(), test, s).windows
    }
    assert starts == set(range(5))


def test_generated_clips_start_from_the_real_windows_in_turn() -> None:
    plan = make_plan(protocol(count=7, real=20), windows_of(1, 1, 1), 0)
    assert len(plan.windows) == plan.videos == 3
    assert plan.clip.tolist() == np.resize(plan.windows, 7).tolist()
    assert len(set(plan.seed.tolist())) == 7


def test_reconstructed_clips_are_the_windows_and_none_is_taken_twice() -> None:
    plan = make_plan(protocol(count=7, real=20, reconstruct=True), windows_of(2, 2), 0)
    assert plan.clip.tolist() == plan.windows.tolist()
    assert plan.videos == 2


def test_samples_start_from_the_first_window_of_every_video() -> None:
    test = windows_of(3, 2, 4)
    plan = make_plan(protocol(count=2, samples=3, start="first"), test, 0)
    assert len(plan.clip) == 6
    assert plan.clip.tolist() == plan.clip[:2].tolist() * 3
    assert (test.start[plan.clip - 100] == 0).all()
    assert len(set(plan.seed.tolist())) == 6


def test_labels_take_turns_among_subjects() -> None:
    test = windows_of(1, 1, 1, 1, 1, 1)
    plan = make_plan(protocol(start="labels", count=48), test, 0)
    assert test.label[plan.clip - 100].tolist() == [0, 1]
    assert test.subject[plan.clip - 100].tolist() == [0, 1]
    bare = Candidates(test.clip, test.video, test.start, test.label * 0 - 1, test.subject)
    assert make_plan(protocol(start="labels", count=4), bare, 0).clip.tolist() == [
        100, 101, 102, 103,
    ]  # fmt: skip


@given(st.data())
def test_chosen_clips_are_of_every_label_and_of_different_people(data: st.DataObject) -> None:
    labels, people, each = (data.draw(st.integers(1, 4)) for _ in range(3))
    label = np.tile(np.repeat(np.arange(labels), each), people)
    subject = np.repeat(np.arange(people), labels * each)
    test = np.flatnonzero(subject < max(1, people - 1))
    per_label = data.draw(st.integers(1, each * max(1, people - 1)))
    chosen = choose_clips(label, subject, test, per_label, alternate=True)
    assert len(set(chosen.tolist())) == len(chosen) == labels * per_label
    assert set(chosen.tolist()) <= set(test.tolist())
    for one in range(labels):
        own = subject[chosen[label[chosen] == one]]
        assert len(set(own.tolist())) == min(per_label, max(1, people - 1))


def test_labels_begin_with_different_people() -> None:
    """Two people with two clips of each of two labels: 0 to 3 are the first's."""
    label, subject = np.tile([0, 0, 1, 1], 2), np.repeat([0, 1], 4)
    chosen = choose_clips(label, subject, np.arange(8), 2, alternate=True)
    assert chosen.tolist() == [0, 4, 6, 3]


def test_a_label_with_too_few_clips_is_named() -> None:
    label, subject = np.array([0, 0, 1]), np.zeros(3, np.int64)
    with pytest.raises(UserError, match="label 1 has 1 clips to choose from; 2 of each"):
        choose_clips(label, subject, np.arange(3), 2)
    assert not len(choose_clips(np.full(3, -1), subject, np.arange(3), 2))


def test_a_smaller_protocol_says_so() -> None:
    bair = protocol_named("bair")
    assert bair.videos == 25_600
    assert bair.with_fewer(None) == bair
    assert bair.with_fewer(500, 100) == bair
    few = bair.with_fewer(8, 2)
    assert (few.videos, few.shrunk) == (16, True)
    assert bair.with_fewer(None, 5).videos == 256 * 5


def test_protocols_are_what_their_papers_say() -> None:
    """Counts, frames and splits; a change here is a change of what a published name means."""
    assert {
        p.name: (p.count, p.samples, p.real, p.frames, p.split) for p in PROTOCOLS.values()
    } == {
        "dvdm": (2048, 1, 2048, 16, "random"),
        "lfdm": (10_000, 1, 10_000, 40, "subjects"),
        "bair": (256, 100, 2048, 16, "any"),
        "reconstruction": (2048, 1, 2048, 16, "any"),
        "demo": (48, 1, None, None, "any"),
    }
    with pytest.raises(UserError, match="choose from dvdm, lfdm, bair, reconstruction, demo"):
        protocol_named("fvd")
