"""Statistics of motion vectors, and divergences of two sets of clips in them.

A reading of our own of the family of Cakiroglu et al. 2025 (arXiv 2511.13897), who compare real and
generated videos by the entropy, sum, length and direction of codec motion vectors: definitions,
bins and search are ours, and no number compares with a published one.

Vectors are searched anew in every clip, real or generated, and always alike (`SEARCH`): 8x8 blocks,
whole pixels, at most 8 to each side, into the frame before, at the least sum of absolute luma
differences with 0.3 grey levels a block pixel for each pixel of length, so that they follow motion
and not noise. All statistics are in pixels a frame: two sets compare at one size and frame rate.

A video played backwards has much the same vectors with the opposite sign. Lengths, sums and
entropies cannot see that; directions and places do, unless motion goes both ways equally often at
each place, as arms that are raised and lowered do. Frames in a wrong order are seen by all.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Values = NDArray[np.floating[Any]]
"""One number for each block, moving block or frame of a set of clips, shape (N,)."""

SEARCH: dict[str, Any] = {
    "block": 8,
    "search_range": 8,
    "vector_unit": 1,
    "reference": "previous",
    "motion_cost": 0.3,
    "method": "exhaustive",
}
"""Options of the search, as `shared.schema.CodecOptions` names them."""

SECTORS = 8
"""Directions that are told apart, 45 degrees each; sector 0 is centred on x, to the right."""

PLACES = 4
"""Rows and columns of equal places that a frame is divided into."""


@dataclass(frozen=True)
class Statistic:
    """One statistic of motion vectors.

    Attributes:
        meaning: in words.
        values: computes it from vectors, int8, shape (N, T-1, 2, h, w).
        edges: between the bins of its histogram, ascending; a value on an edge is in the bin above.
            The first and the last bin are open.
        unit: of the values; None where they are categories, which have no distance.
    """

    meaning: str
    values: Callable[[NDArray[np.int8]], Values]
    edges: Values
    unit: str | None = None


@dataclass(frozen=True)
class Divergence:
    """Divergences of two sets in one statistic.

    Attributes:
        jensen_shannon: of the histograms, bits, 0 (equal) to 1 (disjoint); None where a set has no
            value, such as directions where nothing moves.
        wasserstein: 1-Wasserstein distance of the values, in their unit; None for categories.
    """

    jensen_shannon: float | None
    wasserstein: float | None


def lengths(vectors: NDArray[np.int8]) -> Values:
    """Length of every block's vector, pixels a frame."""
    return _lengths(vectors).ravel()


def sums(vectors: NDArray[np.int8]) -> Values:
    """Sum of the lengths in each frame over its number of blocks, pixels a frame."""
    return _lengths(vectors).mean(axis=(-2, -1)).ravel()


def entropies(vectors: NDArray[np.int8]) -> Values:
    """Entropy of each frame's vectors, bits: -sum p log2 p, p the part of its blocks with a vector.

    0 where all blocks have the same vector; at most log2 of the number of blocks.
    """
    # One number a vector: (N, T-1, h, w) -> (N T-1, h w), sorted, so that equal ones are together.
    codes = vectors[:, :, 0].astype(np.int32) * 256 + vectors[:, :, 1]
    frames = np.sort(codes.reshape(-1, codes[0, 0].size), axis=1)
    starts = np.ones(frames.shape, bool)
    starts[:, 1:] = frames[:, 1:] != frames[:, :-1]
    counts = np.diff(np.append(np.flatnonzero(starts), frames.size))  # of each vector of each frame
    part = counts / frames.shape[1]
    frame = np.repeat(np.arange(len(frames)), starts.sum(axis=1))
    # Not -0.0 for a part of 1.
    return np.bincount(frame, -part * np.log2(part), minlength=len(frames)) + 0.0


def directions(vectors: NDArray[np.int8]) -> Values:
    """Sector of the direction of every block that moves, 0...7, clockwise as y points down."""
    moving = vectors.any(axis=2)
    return _sectors(vectors)[moving].astype(np.float64)


def places(vectors: NDArray[np.int8]) -> Values:
    """Place of every block and what it does there, jointly: 9 place + (0 if still, 1 + sector).

    The 4x4 places are counted row by row; block (i, j) of an h x w grid is in row floor(4 i / h)
    and column floor(4 j / w).
    """
    height, width = vectors.shape[-2:]
    row, column = np.arange(height) * PLACES // height, np.arange(width) * PLACES // width
    place = row[:, None] * PLACES + column  # (h, w)
    does = np.where(vectors.any(axis=2), 1 + _sectors(vectors), 0)  # (N, T-1, h, w)
    return ((SECTORS + 1) * place + does).ravel().astype(np.float64)


def _lengths(vectors: NDArray[np.int8]) -> Values:
    """Lengths of vectors, shape (N, T-1, h, w)."""
    x, y = np.moveaxis(vectors.astype(np.float64), 2, 0)
    return np.hypot(x, y)


def _sectors(vectors: NDArray[np.int8]) -> NDArray[np.int64]:
    """Sector of each vector, shape (N, T-1, h, w); 0 of the zero vector."""
    x, y = np.moveaxis(vectors.astype(np.float64), 2, 0)
    return np.rint(np.arctan2(y, x) * SECTORS / (2 * np.pi)).astype(np.int64) % SECTORS


def _categories(count: int) -> Values:
    """Edges between `count` integers from 0 on."""
    return np.arange(1, count) - 0.5


_RATE = "px a frame"

STATISTICS: dict[str, Statistic] = {
    "length": Statistic(
        "length of every block's vector", lengths, np.arange(0.5, 11), _RATE
    ),  # 0, about 1, about 2 ... 11 and more pixels
    "sum": Statistic(
        "sum of a frame's lengths over its blocks", sums, np.arange(1, 17) / 8, _RATE
    ),  # eighths of a pixel up to 2, and more
    "entropy": Statistic(
        "entropy of a frame's vectors", entropies, np.arange(1, 17) / 2, "bits"
    ),  # halves of a bit up to 8, and more
    "direction": Statistic("direction of every moving block", directions, _categories(SECTORS)),
    "place": Statistic(
        "place of every block with its direction, or still",
        places,
        _categories(PLACES**2 * (SECTORS + 1)),
    ),
}
"""All statistics by name."""


def divergences(one: NDArray[np.int8], other: NDArray[np.int8]) -> dict[str, Divergence]:
    """Compare two sets of clips by each statistic; symmetric.

    All blocks or frames of a set are pooled. Of a few clips only, two sets of the same kind diverge
    too: read a number next to that of two real sets of as many clips.

    Args:
        one: vectors of the search `SEARCH`, int8, pixels, shape (N, T-1, 2, h, w).
        other: likewise, of any N and T.

    Raises:
        ValueError: a set is empty, or the grids differ.
    """
    if one.shape[2:] != other.shape[2:] or not one.size or not other.size:
        raise ValueError(f"vectors {one.shape} and {other.shape}: same grid, and not empty")
    return {name: _divergence(statistic, one, other) for name, statistic in STATISTICS.items()}


def mean_values(vectors: NDArray[np.int8]) -> dict[str, float]:
    """Mean of each statistic that has a unit, in that unit."""
    return {
        name: float(statistic.values(vectors).mean())
        for name, statistic in STATISTICS.items()
        if statistic.unit
    }


def _divergence(statistic: Statistic, one: NDArray[np.int8], other: NDArray[np.int8]) -> Divergence:
    values = statistic.values(one), statistic.values(other)
    if not all(map(len, values)):
        return Divergence(None, None)
    histograms = (histogram(side, statistic.edges) for side in values)
    distance = wasserstein(*values) if statistic.unit else None
    return Divergence(jensen_shannon(*histograms), distance)


def histogram(values: Values, edges: Values) -> Values:
    """Part of the values in each bin, shape (len(edges) + 1,)."""
    bins = np.searchsorted(edges, values, side="right")
    return np.bincount(bins, minlength=len(edges) + 1) / len(values)


def jensen_shannon(p: Values, q: Values) -> float:
    """Jensen-Shannon divergence of two distributions, bits: H((p + q) / 2) - (H(p) + H(q)) / 2.

    Lin 1991, with logarithms to base 2; the divergence itself, not its root.
    """
    return max(0.0, _entropy((p + q) / 2) - (_entropy(p) + _entropy(q)) / 2)


def _entropy(p: Values) -> float:
    positive = p[p > 0]
    return float(-(positive * np.log2(positive)).sum())


def wasserstein(one: Values, other: Values) -> float:
    """1-Wasserstein distance of two samples: the integral of |F - G| of their distributions."""
    one, other = np.sort(one), np.sort(other)
    steps = np.sort(np.concatenate([one, other]))
    f, g = (np.searchsorted(side, steps[:-1], side="right") / len(side) for side in (one, other))
    return float((np.abs(f - g) * np.diff(steps)).sum())
