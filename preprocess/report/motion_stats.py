"""Compare the motion of two sets of videos by the statistics of `shared.motion_statistics`."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table

from preprocess.executor import ExecutorOptions
from preprocess.motion.encode import find_motion
from preprocess.options import codec_options
from preprocess.pipeline import Extraction, run
from preprocess.records import read_rejects
from preprocess.report.measure import read_clip
from shared.console import Progress
from shared.conventions import FrameSize
from shared.errors import UserError
from shared.manifest import load_manifest
from shared.motion_statistics import SEARCH, STATISTICS, divergences, mean_values
from shared.report.pictures import evenly_spaced
from shared.schema import CodecOptions
from shared.store.layout import METADATA
from shared.store.paths import Location
from shared.store.store import Store

MOST_CLIPS = 2048
"""Clips of a set that are measured, evenly spaced over it, at most."""


@dataclass(frozen=True)
class MotionSet:
    """Motion of one set of videos.

    Attributes:
        name: of the folder or store, as given.
        vectors: of the search `SEARCH`, int8, shape (N, T-1, 2, h, w).
        video: of each clip, shape (N,).
        size: of the frames.
        rejects: videos that gave fewer clips than planned.
    """

    name: str
    vectors: NDArray[np.int8]
    video: NDArray[Any]
    size: FrameSize
    rejects: int

    @property
    def halves(self) -> tuple[NDArray[np.int8], NDArray[np.int8]]:
        """Vectors of the first, third ... of its videos by name, and of the others."""
        names = np.unique(self.video)
        odd = np.isin(self.video, names[1::2])
        return self.vectors[~odd], self.vectors[odd]


def compare_motion(
    places: Sequence[Location],
    given: dict[str, Any],
    executor: ExecutorOptions,
    limit: int | None,
    progress: Progress,
) -> dict[str, Any]:
    """Measure two folders of videos or stores, and compare them.

    Args:
        places: two folders or stores; a folder next to a store takes its size.
        given: options of the clips of folders, by name; None where the user gave none.
        executor: place where videos are decoded.
        limit: number of videos of each folder at most, evenly spaced; None: all.
        progress: shows the progress.

    Returns:
        Plain facts: the sets, and of each statistic the means and divergences.

    Raises:
        UserError: a set has no clip, or the two have frames of different sizes.
    """
    sizes = [Store(place).options.size for place in places if _is_store(place)]
    given = given | {"size": given["size"] or next(iter(sizes), None)}
    one, other = (_measure(place, given, executor, limit, progress) for place in places)
    if one.size != other.size:
        raise UserError(
            f"{one.name} has frames of {one.size} pixels and {other.name} of {other.size}: pixels a"
            f" frame do not compare; extract one of them anew with --size {other.size.option} or"
            f" {one.size.option}"
        )
    means = mean_values(one.vectors), mean_values(other.vectors)
    between = divergences(one.vectors, other.vectors)
    halves = one.halves
    within = divergences(*halves) if all(map(len, halves)) else None
    return {
        "search": SEARCH,
        "size": one.size.option,
        "sets": [
            {
                "name": each.name,
                "videos": len(np.unique(each.video)),
                "clips": len(each.vectors),
                "frames": each.vectors.shape[1] + 1,
                "rejects": each.rejects,
            }
            for each in (one, other)
        ],
        "statistics": {
            name: {
                "meaning": statistic.meaning,
                "unit": statistic.unit,
                "means": [side[name] for side in means] if statistic.unit else None,
                "between": asdict(between[name]),
                "halves_of_the_first": asdict(within[name]) if within else None,
            }
            for name, statistic in STATISTICS.items()
        },
    }


def print_motion(console: Console, facts: dict[str, Any]) -> None:
    """Print one line a set, and a table with one row for each statistic."""
    for letter, each in zip("AB", facts["sets"], strict=True):
        rejected = f"; {each['rejects']} videos not or only partly used" * bool(each["rejects"])
        line = f"{letter}: {each['name']}: {each['clips']} clips of {each['frames']} frames from"
        console.print(f"{line} {each['videos']} videos{rejected}", markup=False, highlight=False)
    table = Table()
    table.add_column("statistic")
    for heading in ("mean A", "mean B", "Wasserstein", "halves of A", "JS, bits", "halves of A"):
        table.add_column(heading, justify="right")
    for each in facts["statistics"].values():
        unit = f", {each['unit']}" if each["unit"] else ""
        means, within = each["means"] or (None, None), each["halves_of_the_first"] or {}
        figures = [*means]
        for kind in ("wasserstein", "jensen_shannon"):
            figures += [each["between"][kind], within.get(kind)]
        texts = ("–" if figure is None else f"{figure:.4f}" for figure in figures)
        table.add_row(f"{each['meaning']}{unit}", *texts)
    console.print(table)


def _measure(
    place: Location,
    given: dict[str, Any],
    executor: ExecutorOptions,
    limit: int | None,
    progress: Progress,
) -> MotionSet:
    with _as_store(place, given, executor, limit, progress) as store:
        if not len(store):
            raise UserError(f"{place} has no clip to measure")
        chosen = evenly_spaced(len(store), MOST_CLIPS)
        with progress.bar("Measuring motion", len(chosen), "clips", patience_seconds=2) as advance:
            vectors = []
            for index in chosen.tolist():
                vectors.append(_vectors(store, index))
                advance()
        video, rejects = (
            store.column("video")[chosen],
            len({r.file for r in read_rejects(store.path)}),
        )
        return MotionSet(str(place), np.stack(vectors), video, store.options.size, rejects)


def _is_store(place: Location) -> bool:
    return (place / METADATA).exists()


@contextmanager
def _as_store(
    place: Location,
    given: dict[str, Any],
    executor: ExecutorOptions,
    limit: int | None,
    progress: Progress,
) -> Iterator[Store]:
    """A store as it is, and a folder extracted into a temporary one by the search `SEARCH`."""
    if _is_store(place):
        yield Store(place)
        return
    manifest = load_manifest("folder")
    options = codec_options(manifest, given | SEARCH)
    with TemporaryDirectory(prefix="dvdm-motion-") as scratch:
        store = Path(scratch, "store")
        run(Extraction(manifest, place, store, options, executor, limit), progress)
        yield Store(store)


def _vectors(store: Store, index: int) -> NDArray[np.int8]:
    """Vectors of a clip: the store's own where its search is `SEARCH`, else found anew."""
    options, wanted = store.options, CodecOptions(**SEARCH)
    same = all(getattr(options, name) == value for name, value in SEARCH.items())
    if same and not options.removed_options:
        return store.clip("motion", index)
    return find_motion(read_clip(store, index).frames, wanted, wanted.method)
