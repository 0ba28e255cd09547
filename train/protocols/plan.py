"""Which clips a protocol takes of a store, and the seed of each: pure, from the seed alone."""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from train.protocols.base import Protocol


@dataclass(frozen=True)
class Candidates:
    """The test clips of a split, as far as planning needs them; arrays of shape (M,).

    Attributes:
        clip: positions in the store.
        video: what each is a window of: the video, and the repetition in it.
        start: index of each clip's first frame in the video.
        label, subject: of each; -1 = none.
    """

    clip: NDArray[np.int64]
    video: tuple[Hashable, ...]
    start: NDArray[np.int64]
    label: NDArray[np.int64]
    subject: NDArray[np.int64]


@dataclass(frozen=True)
class Plan:
    """What is compared.

    Attributes:
        windows: real clips, positions in the store, shape (M,).
        videos: how many videos they are from.
        clip: what each generated clip starts from (or the real clip that is restored), shape (N,).
        seed: of each generated clip, shape (N,).
    """

    windows: NDArray[np.int64]
    videos: int
    clip: NDArray[np.int64]
    seed: NDArray[np.int64]


def make_plan(protocol: Protocol, test: Candidates, seed: int) -> Plan:
    """Lay out what a protocol takes.

    Where there are fewer first frames than the protocol asks for, they are taken in turn.
    """
    count = len(test.clip) if protocol.real is None else protocol.real
    windows = draw_windows(test, count, seed)
    starts = {
        "windows": lambda: test.clip[windows],
        "first": lambda: first_windows(test, seed),
        "labels": lambda: one_a_label(test),
    }[protocol.start]()
    if protocol.start == "windows" and not protocol.reconstruct:
        firsts = np.resize(starts, protocol.count)
    else:
        firsts = starts[: protocol.count]
    clip = np.tile(firsts, protocol.samples)
    videos = len({test.video[k] for k in windows})
    return Plan(test.clip[windows], videos, clip, seed + np.arange(len(clip)))


def draw_windows(test: Candidates, count: int, seed: int) -> NDArray[np.int64]:
    """Rows of `test`: a random window of each video, videos in random order, round after round."""
    rng = np.random.default_rng([seed, 1])
    windows: dict[Hashable, list[int]] = {}
    for row in rng.permutation(len(test.clip)).tolist():
        windows.setdefault(test.video[row], []).append(row)
    rounds = max(map(len, windows.values()))
    order = [rows[k] for k in range(rounds) for rows in windows.values() if k < len(rows)]
    return np.array(order[:count], np.int64)


def first_windows(test: Candidates, seed: int) -> NDArray[np.int64]:
    """The earliest clip of every video, in random order."""
    earliest: dict[Hashable, int] = {}
    for row in np.argsort(test.start, kind="stable").tolist():
        earliest.setdefault(test.video[row], row)
    rows = np.array(sorted(earliest.values()), np.int64)
    return test.clip[np.random.default_rng([seed, 2]).permutation(rows)]


def one_a_label(test: Candidates) -> NDArray[np.int64]:
    """One clip of each label, subjects taking turns; all clips, in their order, without labels."""
    chosen = []
    for turn, label in enumerate(np.unique(test.label[test.label >= 0])):
        rows = np.flatnonzero(test.label == label)
        order = rows[np.argsort(test.subject[rows], kind="stable")]
        chosen.append(test.clip[order[turn % len(order)]])
    return np.array(chosen, np.int64) if chosen else test.clip
