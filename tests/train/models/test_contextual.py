"""The contextual Karhunen-Loeve transform, and the EM that fits its covariance."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from shared.errors import UserError
from tests.train.models.residuals import STORE, VALUES, residuals
from train.models.contextual import (
    ContextualAutoencoder,
    ContextualOptions,
    context_names,
    fit_covariance,
    gradients,
    smooth_waves,
)
from train.models.linear_codes import KltAutoencoder, KltOptions

BLOCK = 4
PICTURES = len(context_names(STORE.reference))
NOISE = 0.05


def pictures(count: int, seed: int) -> Tensor:
    """A smooth random context in [-1, 1], shape (count, 3 * PICTURES, 16, 16)."""
    noise = torch.randn(count, 3 * PICTURES, 16, 16, generator=torch.Generator().manual_seed(seed))
    return torch.nn.functional.avg_pool2d(noise, 3, 1, 1).clamp(-1, 1)


def moved(context: Tensor, seed: int) -> Tensor:
    """Residuals, to first order, of blocks displaced by a small amount each."""
    generator = torch.Generator().manual_seed(seed)
    shift = 0.1 * torch.randn(2, len(context), 1, 4, 4, generator=generator)
    across, down = (each.repeat_interleave(4, -1).repeat_interleave(4, -2) for each in shift)
    by_x, by_y = gradients(context[:, :3])
    return across * by_x + down * by_y


def network(channels: int = 2, **options: float) -> ContextualAutoencoder:
    chosen = ContextualOptions(latent_channels=channels, fixed=4, **options)
    return ContextualAutoencoder(chosen, BLOCK, STORE)


def fitted(channels: int = 2, **options: float) -> ContextualAutoencoder:
    code, context = network(channels, **options), pictures(20, 0)
    code.fit_initial(moved(context, 1), context)
    return code


def relative_error(
    code: KltAutoencoder | ContextualAutoencoder, residual: Tensor, context: Tensor
) -> float:
    restored = code.decode(code.encode(residual, context), context)
    return float((restored - residual).square().mean() / residual.square().mean())


def test_gradients_of_a_ramp() -> None:
    ramp = (3 * torch.arange(6.0)[:, None] + torch.arange(5.0)).expand(1, 3, -1, -1)
    across, down = gradients(ramp)
    assert across[..., 1:-1].unique().tolist() == [1]
    assert down[..., 1:-1, :].unique().tolist() == [3]
    assert across[..., 0].unique().tolist() == [0.5]


def test_waves_are_orthonormal_and_start_with_the_constant() -> None:
    waves = smooth_waves(8, 3)
    assert waves.shape == (6, 64)
    assert torch.allclose(waves @ waves.T, torch.eye(6).double(), atol=1e-9)
    assert waves[0].unique().numel() == 1


def test_two_latents_code_the_displacements_of_unseen_pictures() -> None:
    """The fixed code of that size cannot: every block's gradients look different."""
    code, context = fitted(), pictures(6, 7)
    residual = moved(context, 8)
    klt = KltAutoencoder(KltOptions(latent_channels=2), BLOCK, STORE)
    klt.fit_initial(moved(pictures(20, 0), 1))
    assert relative_error(code, residual, context) < 0.02
    assert relative_error(klt, residual, context) > 0.5


def test_its_rows_are_orthonormal_and_coding_is_a_projection() -> None:
    code, context = fitted(3), pictures(2, 3)
    basis = code.basis(context)
    assert basis.shape == (2 * 16, 3, VALUES)
    assert torch.allclose(basis @ basis.mT, torch.eye(3).expand(32, -1, -1), atol=1e-3)
    once = code.decode(code.encode(moved(context, 4), context), context)
    twice = code.decode(code.encode(once, context), context)
    assert torch.allclose(once, twice, atol=1e-4)


def test_with_a_flat_context_it_is_the_klt() -> None:
    """Flat pictures have no gradients and differ in nothing: only fixed pictures are left."""
    flat = torch.zeros(6, 3 * PICTURES, 8, 8)
    code = network(4, em_rounds=30, noise=0.05)
    code.fit_initial(residuals(), flat)
    klt = KltAutoencoder(KltOptions(latent_channels=4), BLOCK, STORE)
    klt.fit_initial(residuals())
    assert torch.allclose(code.encode(residuals(), flat), klt.encode(residuals()), atol=1e-4)


def test_a_block_without_residual_stays_without() -> None:
    code, context = fitted(), pictures(2, 3)
    nothing = torch.zeros(2, 3, 16, 16)
    assert not code.decode(code.encode(nothing, context), context).any()


def test_a_block_depends_on_its_own_and_adjacent_pixels_alone() -> None:
    """Frames next to it in a batch, and blocks further away, change nothing."""
    code, context = fitted(), pictures(11, 5)
    residual = moved(context, 6)
    whole = code.encode(residual, context)
    assert torch.allclose(code.encode(residual[9:10], context[9:10]), whole[9:10], atol=1e-4)
    other = context.clone()
    other[..., 8:] = pictures(11, 6)[..., 8:]
    assert torch.allclose(code.encode(residual, other)[..., :1], whole[..., :1], atol=1e-4)


def test_long_batches_are_split_and_a_new_fit_forgets_old_bases() -> None:
    code, context = fitted(), pictures(20, 5)
    residual = moved(context, 6)
    whole = code.decode(code.encode(residual, context), context)
    for n in (0, 15, 16, 19):
        one = slice(n, n + 1)
        alone = code.decode(code.encode(residual[one], context[one]), context[one])
        assert torch.allclose(alone, whole[one], atol=1e-4)
    few = context[:4]
    before = code.basis(few)
    assert code.basis(few) is before
    code.fit_initial(residual.flip(0), context.flip(0))
    assert code.basis(few) is not before


def test_fits_to_the_same_pictures_are_equal() -> None:
    assert fitted().factor.equal(fitted().factor)
    assert not fitted().learns


def test_latents_beyond_the_fixed_pictures_are_refused() -> None:
    with pytest.raises(UserError, match="at most the number of fixed pictures, 4"):
        network(5)


def observed(count: int = 3000) -> tuple[Tensor, Tensor, Tensor]:
    """The coefficients' true covariance, and A A' and A r of as many observations."""
    generator = torch.Generator().manual_seed(0)
    half = torch.tensor([[0.3, 0.0, 0.0], [0.1, 0.2, 0.0], [-0.1, 0.0, 0.05]])
    rows = torch.randn(count, 3, 10, generator=generator)
    coefficients = torch.randn(count, 3, generator=generator) @ half.T
    noise = NOISE * torch.randn(count, 10, generator=generator)
    values = (rows.mT @ coefficients[..., None])[..., 0] + noise
    return half @ half.T, rows @ rows.mT, (rows @ values[..., None])[..., 0]


def log_likelihood(covariance: Tensor, gram: Tensor, projection: Tensor) -> float:
    """Up to a constant, by the identities of Woodbury and of determinants."""
    inner = torch.linalg.inv(covariance) + gram / NOISE**2
    determinant = torch.logdet(inner) + torch.logdet(covariance)
    explained = projection[:, None] @ torch.linalg.inv(inner) @ projection[..., None] / NOISE**4
    return float((explained[:, 0, 0] - determinant).sum())


def test_em_finds_the_covariance_that_made_the_data() -> None:
    truth, gram, projection = observed()
    found = fit_covariance(gram, projection, noise_variance=NOISE**2, rounds=20)
    assert torch.allclose(found, truth, atol=0.006)
    assert torch.linalg.eigvalsh(found).min() > 0


def test_each_em_round_raises_the_likelihood() -> None:
    _, gram, projection = observed(200)
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
