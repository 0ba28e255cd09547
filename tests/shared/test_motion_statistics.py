from __future__ import annotations

import math
from collections import Counter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from numpy.typing import NDArray
from scipy.spatial.distance import jensenshannon
from scipy.stats import wasserstein_distance

from shared.motion_statistics import (
    SEARCH,
    STATISTICS,
    directions,
    divergences,
    entropies,
    histogram,
    jensen_shannon,
    lengths,
    mean_values,
    places,
    sums,
    wasserstein,
)
from shared.schema import CodecOptions

GRID = (5, 6)
vectors = st.integers(1, 3).flatmap(
    lambda clips: arrays.arrays(np.int8, (clips, 3, 2, *GRID), elements=st.integers(-8, 8))
)
samples = st.lists(st.integers(-5, 5), min_size=1, max_size=12).map(lambda x: np.array(x, float))


def field(x: int, y: int, rows: slice = slice(None)) -> NDArray[np.int8]:
    """One clip of three fields in which the blocks of some rows have the vector (x, y)."""
    found = np.zeros((1, 3, 2, *GRID), np.int8)
    found[:, :, 0, rows], found[:, :, 1, rows] = x, y
    return found


def test_the_search_is_one_that_a_store_may_have() -> None:
    options = CodecOptions(**SEARCH)
    assert {name: getattr(options, name) for name in SEARCH} == SEARCH


@given(vectors)
def test_values_are_those_of_a_slow_count(found: NDArray[np.int8]) -> None:
    expected: dict[str, list[float]] = {name: [] for name in STATISTICS}
    for frame in found.reshape(-1, 2, *GRID):
        blocks = [tuple(frame[:, i, j].tolist()) for i in range(GRID[0]) for j in range(GRID[1])]
        expected["length"] += [math.sqrt(x * x + y * y) for x, y in blocks]
        expected["sum"].append(sum(math.sqrt(x * x + y * y) for x, y in blocks) / len(blocks))
        counts = Counter(blocks).values()
        parts = [count / len(blocks) for count in counts]
        expected["entropy"].append(sum(part * math.log2(1 / part) for part in parts))
        for number, (x, y) in enumerate(blocks):
            i, j = divmod(number, GRID[1])
            place = (4 * i // GRID[0]) * 4 + 4 * j // GRID[1]
            degrees = math.degrees(math.atan2(y, x)) % 360
            sector = int((degrees + 22.5) // 45) % 8
            if (x, y) != (0, 0):
                expected["direction"].append(sector)
            expected["place"].append(9 * place + (0 if (x, y) == (0, 0) else 1 + sector))
    for name, statistic in STATISTICS.items():
        np.testing.assert_allclose(statistic.values(found), expected[name], atol=1e-12)


def test_known_fields_have_known_values() -> None:
    still, right = field(0, 0), field(3, 4, slice(0, 1))
    assert (lengths(still) == 0).all() and (entropies(still) == 0).all()
    assert (sums(right) == 5 / GRID[0]).all()
    np.testing.assert_allclose(entropies(right), [0.2 * math.log2(5) + 0.8 * math.log2(1.25)] * 3)
    assert len(directions(still)) == 0
    for sector, (x, y) in enumerate(
        [(1, 0), (1, 1), (0, 1), (-1, 1), (-1, 0), (-1, -1), (0, -1), (1, -1)]
    ):
        assert set(directions(field(x, y))) == {sector}
    assert set(places(still)) == {9.0 * place for place in range(16)}
    assert set(places(field(0, -2, slice(4, 5)))) & set(range(9 * 12, 9 * 16)) == {
        9.0 * place + 7 for place in range(12, 16)
    }


@given(samples, samples)
def test_distances_are_those_of_scipy(one: NDArray[np.float64], other: NDArray[np.float64]) -> None:
    assert wasserstein(one, other) == pytest.approx(wasserstein_distance(one, other), abs=1e-12)
    p, q = (histogram(side, np.arange(-4.5, 5)) for side in (one, other))
    assert p.sum() == pytest.approx(1)
    expected = jensenshannon(p, q, base=2) ** 2
    assert jensen_shannon(p, q) == pytest.approx(expected, abs=1e-9)


@given(vectors, vectors)
def test_divergences_are_symmetric_bounded_and_zero_for_equal_sets(
    one: NDArray[np.int8], other: NDArray[np.int8]
) -> None:
    assert divergences(one, other) == divergences(other, one)
    for found in divergences(one, other).values():
        assert found.jensen_shannon is None or 0 <= found.jensen_shannon <= 1 + 1e-12
        assert found.wasserstein is None or found.wasserstein >= 0
    # Neither the order of clips nor how often all of them occur matters.
    for found in divergences(one, np.concatenate([one[::-1]] * 2)).values():
        assert found.jensen_shannon in (None, pytest.approx(0, abs=1e-12))
        assert found.wasserstein in (None, pytest.approx(0, abs=1e-12))


def test_a_histogram_puts_a_value_on_an_edge_above_it() -> None:
    assert histogram(np.array([-9.0, 1, 1.5, 2, 99]), np.array([1.0, 2])).tolist() == [
        0.2,
        0.4,
        0.4,
    ]


def test_opposite_vectors_are_seen_by_directions_and_places_alone() -> None:
    """Playing backwards does no more than that, and nothing where motion goes both ways."""
    forwards = np.concatenate([field(2, 0, slice(0, 1)), field(2, 1, slice(2, 4))])
    found = divergences(forwards, -forwards)
    for name in ("length", "sum", "entropy"):
        assert (found[name].jensen_shannon, found[name].wasserstein) == (0, 0)
    assert found["direction"].jensen_shannon == 1
    assert found["place"].jensen_shannon > 0.1  # type: ignore[operator]
    to_and_fro = np.concatenate([forwards, -forwards])
    for same in divergences(to_and_fro, -to_and_fro).values():
        assert same.jensen_shannon == pytest.approx(0, abs=1e-12)


def test_the_same_directions_in_other_places_are_seen_by_places_alone() -> None:
    found = divergences(field(2, 0, slice(0, 1)), field(2, 0, slice(4, 5)))
    assert {name for name, each in found.items() if each.jensen_shannon} == {"place"}


def test_where_nothing_moves_there_is_no_direction() -> None:
    found = divergences(field(0, 0), field(1, 0))
    assert found["direction"].jensen_shannon is None
    assert found["length"].jensen_shannon == 1
    assert found["length"].wasserstein == found["sum"].wasserstein == 1
    assert mean_values(field(1, 0)) == {"length": 1, "sum": 1, "entropy": 0}


@pytest.mark.parametrize("other", [np.zeros((1, 3, 2, 4, 4), np.int8), field(0, 0)[:0]])
def test_other_grids_and_empty_sets_are_refused(other: NDArray[np.int8]) -> None:
    with pytest.raises(ValueError, match="same grid, and not empty"):
        divergences(field(0, 0), other)
