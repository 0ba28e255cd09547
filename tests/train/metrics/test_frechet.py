"""The Fréchet distance against closed forms, and against the eigenvalues of the product."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from shared.errors import UserError
from train.metrics.frechet import Gaussian, fit_gaussian, frechet_distance, samples_needed

MANY = 10_000
"""Samples, as far as the guard is concerned."""


def gaussian(mean: NDArray[np.float64], covariance: NDArray[np.float64]) -> Gaussian:
    return Gaussian(mean, covariance, MANY)


def random_covariance(rng: np.random.Generator, dimensions: int, rank: int) -> NDArray[np.float64]:
    factor = rng.normal(size=(dimensions, rank))
    return factor @ factor.T / rank


def by_eigenvalues(one: Gaussian, other: Gaussian) -> float:
    """tr (C₁ C₂)^½ is the sum of the roots of the eigenvalues of C₁ C₂, which are not negative."""
    values = np.linalg.eigvals(one.covariance @ other.covariance)
    root = np.sqrt(values.astype(complex)).sum().real
    apart = ((one.mean - other.mean) ** 2).sum()
    return float(apart + np.trace(one.covariance + other.covariance) - 2 * root)


def test_shifted_means_alone() -> None:
    """Equal covariances: the squared distance of the means."""
    rng = np.random.default_rng(0)
    covariance = random_covariance(rng, 6, 12)
    shift = np.array([3.0, -4.0, 0, 0, 0, 0])
    one, other = gaussian(np.zeros(6), covariance), gaussian(shift, covariance)
    assert frechet_distance(one, other) == pytest.approx(25, rel=1e-6)
    assert frechet_distance(one, one) == pytest.approx(0, abs=1e-6)


def test_commuting_covariances() -> None:
    """Where they commute it is the sum of (σ₁ − σ₂)² over common axes, however those are turned."""
    turn, _ = np.linalg.qr(np.random.default_rng(1).normal(size=(4, 4)))
    deviations = np.array([1.0, 2.0, 3.0, 0.5]), np.array([2.0, 0.1, 3.0, 4.0])
    sides = [gaussian(np.ones(4), turn @ np.diag(d**2) @ turn.T) for d in deviations]
    expected = ((deviations[0] - deviations[1]) ** 2).sum()
    assert frechet_distance(*sides) == pytest.approx(expected, rel=1e-6)


def test_one_dimension() -> None:
    features = np.array([[0.0], [2.0]]), np.array([[10.0], [14.0]])  # deviations over N: 1 and 2
    sides = [fit_gaussian(side) for side in features]
    assert frechet_distance(*sides) == pytest.approx(11**2 + 1, rel=1e-9)


@settings(max_examples=40, deadline=None)
@given(st.integers(1, 12), st.integers(0, 2**32 - 1))
def test_it_agrees_with_the_eigenvalues_of_the_product(dimensions: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    sides = [
        gaussian(rng.normal(size=dimensions), random_covariance(rng, dimensions, 2 * dimensions))
        for _ in range(2)
    ]
    found = frechet_distance(*sides)
    assert found == pytest.approx(by_eigenvalues(*sides), rel=1e-4, abs=1e-6)
    assert found == pytest.approx(frechet_distance(*sides[::-1]), rel=1e-4, abs=1e-6)


@pytest.mark.parametrize("rank", [0, 1, 3])
def test_constant_features_are_no_trouble(rank: int) -> None:
    """Singular covariances, such as those of clips that do not move."""
    rng = np.random.default_rng(rank)
    flat = gaussian(np.zeros(5), random_covariance(rng, 5, max(1, rank)) * (rank > 0))
    full = gaussian(np.zeros(5), random_covariance(rng, 5, 10))
    found = frechet_distance(flat, full)
    assert found == pytest.approx(by_eigenvalues(flat, full), rel=1e-3)
    if not rank:
        assert found == pytest.approx(np.trace(full.covariance), rel=1e-6)


def test_covariance_is_over_n() -> None:
    features = np.random.default_rng(2).normal(size=(50, 3)).astype(np.float32)
    fitted = fit_gaussian(features)
    assert fitted.covariance == pytest.approx(np.cov(features.T, ddof=0), rel=1e-5)
    assert fitted.mean == pytest.approx(features.mean(axis=0), rel=1e-4)
    assert fitted.count == 50


def test_too_few_samples_are_refused_with_what_to_do() -> None:
    rng = np.random.default_rng(3)
    few, enough = (fit_gaussian(rng.normal(size=(count, 8))) for count in (8, samples_needed(8)))
    with pytest.raises(UserError, match=r"generated: 8 clips for 8 features.*at least 9.*--count"):
        frechet_distance(few, enough)
    with pytest.raises(UserError, match=r"real: 8 clips.*more windows of each video"):
        frechet_distance(enough, few)
    assert frechet_distance(enough, enough) == pytest.approx(0, abs=1e-4)
