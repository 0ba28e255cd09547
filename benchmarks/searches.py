"""Figures of the search, against FFmpeg's and brute force, over block sizes and processes."""

from __future__ import annotations

import multiprocessing
import time
from collections.abc import Callable, Iterator

import numpy as np
from numpy.typing import NDArray

from benchmarks import clips, ffmpeg
from benchmarks.measure import Figure, cpu_seconds, least_in_turn
from preprocess.motion import exhaustive, search, vector_penalty
from shared.conventions import Codec, Reference

Luma = NDArray[np.uint8]
ROUNDS = 5


def search_figures(lumas: dict[int, list[Luma]]) -> Iterator[Figure]:
    """Yield all figures; `lumas` are those of real clips by size."""
    for size, of_size in lumas.items():
        for search_range in (16, 7):
            targets = {"esa": 100 if search_range == 16 else 40, "epzs": 2, "hexbs": 1.2}
            yield from _against_ffmpeg(of_size, size, search_range, targets, "previous")
        for search_range in (24, 32):
            yield from _against_ffmpeg(of_size, size, search_range, {"esa": 100}, "first")
        yield _agreement(of_size, size)
        yield from _worst_case(size)
        yield from _blocks(of_size, size)
    yield _two_processes(lumas[128][0])


def _seconds_a_search(lumas: list[Luma], codec: Codec, search_range: int, repeat: int = 1) -> float:
    """CPU seconds to search one frame."""

    def all_of_them() -> None:
        for _ in range(repeat):
            for luma in lumas:
                search(luma, codec, search_range=search_range)

    return cpu_seconds(all_of_them) / repeat / sum(len(luma) - 1 for luma in lumas)


def _against_ffmpeg(
    lumas: list[Luma], size: int, search_range: int, targets: dict[str, float], reference: Reference
) -> Iterator[Figure]:
    """FFmpeg's pipeline with its filter less the same without, halved: it searches both ways.

    FFmpeg has no first-frame reference: ours is compared with what it does at the same range.
    """
    together = np.concatenate(lumas)
    searches = 2 * len(together)
    methods = [*targets]
    measures: list[Callable[[], float]] = [
        lambda: _seconds_a_search(lumas, Codec(16, reference), search_range, 4),
        lambda: ffmpeg.pipeline_seconds(together, "null"),
    ]
    for method in methods:
        filters = ffmpeg.mestimate(method, search_range)
        measures.append(lambda f=filters: ffmpeg.pipeline_seconds(together, f))
    ours, baseline, *theirs = least_in_turn(ROUNDS if search_range <= 16 else 1, *measures)
    note = "" if reference == "previous" else ", first frame"
    for method, total in zip(methods, theirs, strict=True):
        peer = (total - baseline) / searches
        name = f"{size}², ±{search_range}{note}: CPU a search against {method}"
        yield Figure(name, ours * 1e6, peer * 1e6, "µs", peer / ours, targets[method])


def _agreement(lumas: list[Luma], size: int) -> Figure:
    """Fraction of blocks with the vector that esa finds."""
    same = total = 0
    for luma in lumas:
        theirs = ffmpeg.vectors(luma, "esa", 16)
        ours = search(luma, Codec(16), search_range=16)[:-1]
        same += int((theirs == ours).all(axis=1).sum())
        total += theirs[:, 0].size
    return Figure(f"{size}²: blocks with the vector of esa", same, total, "", same / total, 1)


def _worst_case(size: int) -> Iterator[Figure]:
    for name, luma in (("noise", clips.noise(size)), ("flat", clips.flat(size))):
        for search_range in (16, 7):
            penalty = vector_penalty(search_range, 1, 0.0)

            def run(
                brute_force: bool, luma: Luma = luma, penalty: NDArray[np.int64] = penalty
            ) -> float:
                seconds = cpu_seconds(
                    lambda: exhaustive.search(luma, Codec(16), penalty, brute_force=brute_force)
                )
                return seconds / (len(luma) - 1)

            ours, peer = least_in_turn(2 * ROUNDS, lambda: run(False), lambda: run(True))
            yield Figure(
                f"{size}², ±{search_range}, {name}: against our brute force",
                ours * 1e6, peer * 1e6, "µs", ours / peer, 1.5, at_most=True,
            )  # fmt: skip


def _blocks(lumas: list[Luma], size: int) -> Iterator[Figure]:
    for search_range in (16, 7):
        eight, sixteen, thirty_two = least_in_turn(
            ROUNDS,
            *(
                lambda b=b, r=search_range: _seconds_a_search(lumas, Codec(b), r, 2)
                for b in (8, 16, 32)
            ),
        )
        for block, seconds in ((8, eight), (32, thirty_two)):
            yield Figure(
                f"{size}², ±{search_range}: block {block} against 16",
                seconds * 1e6, sixteen * 1e6, "µs", seconds / sixteen, 2, at_most=True,
            )  # fmt: skip


def _rate(luma: Luma, start: float, seconds: float) -> float:
    """Searches a CPU second, starting at a given time."""
    search(luma, Codec(16), search_range=16)
    time.sleep(max(0.0, start - time.time()))
    done, begun = 0, time.process_time()
    while time.process_time() < begun + seconds:
        search(luma, Codec(16), search_range=16)
        done += len(luma) - 1
    return done / (time.process_time() - begun)


def _two_processes(luma: Luma) -> Figure:
    """Compare by CPU time, so that other processes do not count, but shared caches do."""
    rates = {1: 0.0, 2: 0.0}
    with multiprocessing.get_context("spawn").Pool(2) as pool:
        for _ in range(2 * ROUNDS):
            for count in rates:
                tasks = [(luma, time.time() + 0.5, 0.5)] * count
                rates[count] = max(rates[count], sum(pool.starmap(_rate, tasks, 1)))
    return Figure(
        "two processes against one, searches a CPU second of each",
        rates[2],
        rates[1],
        "/s",
        rates[2] / rates[1],
        1.8,
    )
