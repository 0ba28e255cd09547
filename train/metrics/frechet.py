"""The Fréchet distance between Gaussians fitted to features (Heusel et al. 2017).

d² = |m₁ − m₂|² + tr(C₁ + C₂ − 2 (C₁ C₂)^½); covariances divide by N, not N − 1, as StyleGAN-V's
evaluation does (Skorokhodov et al. 2022, `src/metrics`).
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from shared.errors import UserError

_IMAGINARY = 1e-3
"""Share of the root's trace that may come out imaginary, by rounding, before it is not trusted."""


@dataclass(frozen=True)
class Gaussian:
    """Mean, shape (d,), and covariance over N, shape (d, d), of `count` feature vectors."""

    mean: NDArray[np.float64]
    covariance: NDArray[np.float64]
    count: int


def fit_gaussian(features: NDArray[np.floating]) -> Gaussian:
    """Mean and covariance of features, shape (N, d); sums in float64."""
    values = np.asarray(features, np.float64)
    mean = values.mean(axis=0)
    centred = values - mean
    return Gaussian(mean, centred.T @ centred / len(values), len(values))


def samples_needed(dimensions: int) -> int:
    """Fewest samples whose covariance can have full rank."""
    return dimensions + 1


def why_too_few(what: str, count: int, dimensions: int) -> str | None:
    """The complaint about too few samples, with its remedies; None where they suffice."""
    needed = samples_needed(dimensions)
    if count >= needed:
        return None
    return (
        f"{what}: {count} clips for {dimensions} features; a covariance of full rank needs at least"
        f" {needed}: take more clips (--count), extract more windows of each video"
        " (preprocess run --hop), or compare fewer features"
    )


def frechet_distance(generated: Gaussian, real: Gaussian) -> float:
    """Squared Fréchet distance, as FID and FVD report it.

    Raises:
        UserError: there are no more samples than dimensions on either side.
    """
    for name, side in (("generated", generated), ("real", real)):
        if complaint := why_too_few(name, side.count, len(side.mean)):
            raise UserError(complaint)
    apart = np.square(generated.mean - real.mean).sum()
    spread = np.trace(generated.covariance) + np.trace(real.covariance)
    return float(apart + spread - 2 * _trace_of_root(generated.covariance, real.covariance))


def _trace_of_root(one: NDArray[np.float64], other: NDArray[np.float64]) -> float:
    """tr (C₁ C₂)^½, by scipy; from symmetric matrices where C₁ C₂ is singular.

    The product of singular covariances need not have a root, but its eigenvalues are those of
    C₁^½ C₂ C₁^½, which always has.
    """
    from scipy.linalg import LinAlgWarning, sqrtm

    with warnings.catch_warnings():
        warnings.simplefilter("error", LinAlgWarning)
        try:
            trace = complex(np.trace(sqrtm(one @ other)))
        except LinAlgWarning:
            trace = complex("nan")
    if np.isfinite(trace) and abs(trace.imag) <= _IMAGINARY * abs(trace.real):
        return trace.real
    values, vectors = np.linalg.eigh(one)
    root = (vectors * np.sqrt(values.clip(0))) @ vectors.T
    return float(np.sqrt(np.linalg.eigvalsh(root @ other @ root).clip(0)).sum())
