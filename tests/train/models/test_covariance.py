from __future__ import annotations

import torch

from train.models.linear_codes import fit_covariance

NOISE = 0.05


def observed(count: int = 3000) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]:
    """Pictures A, coefficients' true covariance, A A' and A r of as many observations."""
    generator = torch.Generator().manual_seed(0)
    half = torch.tensor([[0.3, 0.0, 0.0], [0.1, 0.2, 0.0], [-0.1, 0.0, 0.05]])
    pictures = torch.randn(count, 3, 10, generator=generator)
    coefficients = torch.randn(count, 3, generator=generator) @ half.T
    noise = NOISE * torch.randn(count, 10, generator=generator)
    values = (pictures.mT @ coefficients[..., None])[..., 0] + noise
    return (
        values,
        half @ half.T,
        pictures @ pictures.mT,
        (pictures @ values[..., None])[..., 0],
    )


def log_likelihood(covariance: torch.Tensor, gram: torch.Tensor, projection: torch.Tensor) -> float:
    """Up to a constant, by the identities of Woodbury and of determinants."""
    inner = torch.linalg.inv(covariance) + gram / NOISE**2
    determinant = torch.logdet(inner) + torch.logdet(covariance)
    explained = projection[:, None] @ torch.linalg.inv(inner) @ projection[..., None] / NOISE**4
    return float((explained[:, 0, 0] - determinant).sum())


def test_it_finds_the_covariance_that_made_the_data() -> None:
    _, truth, gram, projection = observed()
    found = fit_covariance(gram, projection, noise_variance=NOISE**2, rounds=20)
    assert torch.allclose(found, truth, atol=0.006)
    assert torch.linalg.eigvalsh(found).min() > 0


def test_each_round_raises_the_likelihood() -> None:
    _, _, gram, projection = observed(200)
    values = [
        log_likelihood(
            fit_covariance(gram, projection, noise_variance=NOISE**2, rounds=rounds),
            gram,
            projection,
        )
        for rounds in range(1, 6)
    ]
    assert values == sorted(values)
    assert values[-1] > values[0] + 1
