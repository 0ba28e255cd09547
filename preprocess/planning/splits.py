"""Sides of the planned clips by each split protocol of the data set."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable, Mapping, Sequence
from pathlib import PurePosixPath

import numpy as np

from preprocess.records import Performance
from shared.errors import UserError
from shared.manifest import ListSplit, Manifest, PathSplit, RandomSplit, Split, SubjectSplit
from shared.schema import NEITHER, TEST, TRAIN
from shared.store.paths import Location

Lists = dict[str, int]
"""Side by the name of a video, from the files of a `ListSplit`."""

Side = Callable[[Performance], int]


def read_lists(root: Location, splits: Mapping[str, Split]) -> dict[str, Lists]:
    """Read the list files of a data set, by protocol; missing files give no entry.

    Raises:
        UserError: a file cannot be read, or a video is on both lists of a protocol.
    """
    found = {}
    for name, split in splits.items():
        if isinstance(split, ListSplit) and not _missing(root, split):
            train, test = (_names(root / file) for file in (split.train, split.test))
            if both := train & test:
                raise UserError(
                    f"{root / split.train} and {split.test} both list {min(both)}; no video may be"
                    " on both sides of a split"
                )
            found[name] = {**dict.fromkeys(train, TRAIN), **dict.fromkeys(test, TEST)}
    return found


def usable_splits(root: Location, manifest: Manifest) -> dict[str, Split]:
    """Select the manifest's protocols, without those whose lists are missing.

    Raises:
        UserError: the first one, which training uses by default, lacks its lists.
    """
    missing = {name: _missing(root, split) for name, split in manifest.splits.items()}
    default = next(iter(manifest.splits), "")
    if missing.get(default):
        raise UserError(
            f"{manifest.title}: the split {default!r} needs {' and '.join(missing[default])} below"
            f" {root}. Obtain: {manifest.obtain.strip()}"
        )
    return {name: split for name, split in manifest.splits.items() if not missing[name]}


def _missing(root: Location, split: Split) -> list[str]:
    """Files that a protocol needs and that are not below the root."""
    if not isinstance(split, ListSplit):
        return []
    return [file for file in (split.train, split.test) if not (root / file).is_file()]


def sides(
    performances: Sequence[Performance], splits: Mapping[str, Split], lists: Mapping[str, Lists]
) -> list[tuple[int, ...]]:
    """Assign a side to every performance, by each protocol in its order.

    Args:
        performances: all that a store will hold clips of: random protocols draw from these.
        splits: protocols by name.
        lists: from `read_lists`.
    """
    rules = [_rule(performances, split, lists.get(name, {})) for name, split in splits.items()]
    # Few of them differ: equal ones are one tuple in memory.
    known: dict[tuple[int, ...], tuple[int, ...]] = {}
    found = (tuple(rule(performance) for rule in rules) for performance in performances)
    return [known.setdefault(side, side) for side in found]


def _rule(performances: Sequence[Performance], split: Split, listed: Lists) -> Side:
    if isinstance(split, RandomSplit):
        return _random(performances, split)
    if isinstance(split, SubjectSplit):
        by_subject = {**dict.fromkeys(split.test, TEST), **dict.fromkeys(split.train, TRAIN)}
        return lambda performance: by_subject.get(performance.subject or "", NEITHER)
    if isinstance(split, PathSplit):
        return lambda performance: _by_path(performance.video, split)
    return lambda performance: listed.get(_name(performance.video), NEITHER)


def _random(performances: Sequence[Performance], split: RandomSplit) -> Side:
    def group(performance: Performance) -> tuple[str, int]:
        if split.by == "subject":
            return performance.subject or "", 0
        return performance.video, performance.segment if split.by == "segment" else 0

    groups = sorted({group(performance) for performance in performances})
    # Neither side is empty if there are at least two groups.
    count = min(len(groups) - 1, max(1, round(split.share * len(groups))))
    order = np.random.default_rng(split.seed).permutation(len(groups))
    held_out = {groups[i] for i in order[:count]}
    return lambda performance: TEST if group(performance) in held_out else TRAIN


def _by_path(video: str, split: PathSplit) -> int:
    path = unicodedata.normalize("NFC", video)
    if re.search(split.train, path):
        return TRAIN
    return TEST if re.search(split.test, path) else NEITHER


def _names(path: Location) -> set[str]:
    """First word of every line, without folder and ending."""
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"{path} cannot be read as a list of videos: {error}") from None
    return {_name(line.split()[0]) for line in lines if line.strip()}


def _name(path: str) -> str:
    """Name without folder and ending, in lower case and NFC: lists and files differ in those."""
    return unicodedata.normalize("NFC", PurePosixPath(path).stem).lower()
