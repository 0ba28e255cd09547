from __future__ import annotations

import pytest
import torch

from tests.train.models.residuals import STORE
from train.models.kl_autoencoder import KlAutoencoder, KlAutoencoderOptions

OPTIONS = KlAutoencoderOptions(latent_channels=4, channels=(8, 8, 8, 8, 8), layers_per_block=1)


@pytest.mark.parametrize("block", [4, 8, 16, 32])
def test_latents_are_smaller_by_the_block(block: int) -> None:
    network = KlAutoencoder(OPTIONS, block, STORE).eval()
    with torch.no_grad():
        latent = network.encode(torch.randn(2, 3, 32, 64))
        assert latent.shape == (2, 4, 32 // block, 64 // block)
        assert network.decode(latent).shape == (2, 3, 32, 64)


@pytest.mark.parametrize("channels", [(4, 8, 16, 16, 16), (64, 64, 64, 64, 64)])
def test_group_norms_fit_any_widths(channels: tuple[int, ...]) -> None:
    options = KlAutoencoderOptions(channels=channels, layers_per_block=1)
    network = KlAutoencoder(options, 4, STORE).eval()
    with torch.no_grad():
        latent = network.encode(torch.randn(1, 3, 8, 12))
        assert latent.shape == (1, 16, 2, 3)
        assert network.decode(latent).shape == (1, 3, 8, 12)


def test_the_loss_is_l1_and_weighted_kl() -> None:
    options = KlAutoencoderOptions(
        latent_channels=4, channels=(8, 8, 8), layers_per_block=1, kl_weight=0.5
    )
    torch.manual_seed(0)
    network = KlAutoencoder(options, 4, STORE)
    losses = network.loss(torch.randn(2, 3, 8, 8))
    loss = losses["loss"]
    assert float(loss.detach()) == pytest.approx(float(losses["l1"] + 0.5 * losses["kl"]), rel=1e-5)
    loss.backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in network.parameters())


def test_training_lowers_the_loss_and_encoding_is_deterministic() -> None:
    torch.manual_seed(0)
    network, residual = KlAutoencoder(OPTIONS, 4, STORE), torch.randn(4, 3, 8, 8) / 10
    optimiser = torch.optim.Adam(network.parameters(), lr=3e-3)
    losses = []
    for _ in range(20):
        loss = network.loss(residual)["loss"]
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        losses.append(loss.item())
    assert sum(losses[-5:]) < 0.7 * sum(losses[:5])
    assert network.encode(residual).equal(network.encode(residual))
