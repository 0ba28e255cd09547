"""Covariance of the coefficients of a linear model with random effects, by EM.

Observations r = A' a + noise, a ~ N(0, C), noise ~ N(0, s^2 I), each with its own pictures A
(Laird and Ware 1982; the same EM as that of Bayesian linear regression, Bishop 2006, 9.3.4).
"""

from __future__ import annotations

import torch
from torch import Tensor

_AT_ONCE = 1024


def fit_covariance(
    gram: Tensor, projection: Tensor, *, noise_variance: float, rounds: int
) -> Tensor:
    """Maximise the likelihood of C, from C = 0.01 I.

    Args:
        gram: A A' of each observation, shape (N, M, M).
        projection: A r of each, shape (N, M).
        noise_variance: s^2.
        rounds: of EM; each raises the likelihood.

    Returns:
        C, shape (M, M), symmetric and positive definite.
    """
    size = gram.shape[-1]
    identity = torch.eye(size, dtype=gram.dtype, device=gram.device)
    covariance = 1e-2 * identity
    for _ in range(rounds):
        precision = torch.linalg.inv(covariance + 1e-9 * identity)
        moments = torch.zeros_like(covariance)
        for grams, projections in zip(
            gram.split(_AT_ONCE), projection.split(_AT_ONCE), strict=True
        ):
            posterior = torch.linalg.inv(grams / noise_variance + precision)
            mean = (posterior @ projections[..., None])[..., 0] / noise_variance
            moments += posterior.sum(0) + mean.T @ mean
        covariance = (moments + moments.T) / (2 * len(gram))
    return covariance
