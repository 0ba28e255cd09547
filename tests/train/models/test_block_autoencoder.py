from __future__ import annotations

import numpy as np
import pytest
import torch

from tests.train.models.residuals import BLOCK, STORE, VALUES, residuals
from train.models.block_autoencoder import BlockAutoencoder, BlockAutoencoderOptions, active


def autoencoder(latent_channels: int = 6) -> BlockAutoencoder:
    torch.manual_seed(0)
    options = BlockAutoencoderOptions(latent_channels=latent_channels, hidden=16)
    return BlockAutoencoder(options, BLOCK, STORE)


def trained(network: BlockAutoencoder, steps: int = 20) -> list[float]:
    optimiser = torch.optim.Adam(network.parameters(), lr=1e-3)
    losses = []
    for _ in range(steps):
        loss = network.loss(residuals())["loss"]
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        losses.append(loss.item())
    return losses


def test_shapes() -> None:
    network = autoencoder()
    latent = network.encode(torch.zeros(5, 3, 8, 12))
    assert latent.shape == (5, 6, 2, 3)
    assert network.decode(latent).shape == (5, 3, 8, 12)


def test_a_block_has_its_latent_in_its_place() -> None:
    network = autoencoder(VALUES)
    network.fit_initial(residuals())
    one = torch.zeros(1, 3, 8, 12)
    one[0, :, 4:, 8:] = residuals()[1, :, 4:, 4:] + 0.1
    latent = network.encode(one)
    assert latent.abs().sum(dim=(0, 1)).nonzero().tolist() == [[1, 2]]
    assert torch.allclose(network.decode(latent), one, atol=1e-5)


def test_it_starts_at_the_karhunen_loeve_transform() -> None:
    """The error is the energy of the discarded eigenvectors, and no more."""
    network, sample = autoencoder(latent_channels=6), residuals()
    network.fit_initial(sample)
    blocks = sample.view(-1, 3, 2, BLOCK, 2, BLOCK).permute(0, 2, 4, 1, 3, 5).reshape(-1, VALUES)
    blocks = blocks[blocks.abs().amax(1) > 0].double().numpy()
    energies = np.linalg.eigvalsh(blocks.T @ blocks / len(blocks))
    with torch.no_grad():
        error = network.decode(network.encode(sample)) - sample
    lost = float(error.double().square().sum()) / len(blocks)
    assert lost == pytest.approx(energies[:-6].sum(), rel=1e-3)
    assert lost < energies[-6:].sum()


def test_latents_start_at_unit_scale() -> None:
    network, sample = autoencoder(), residuals()
    network.fit_initial(sample)
    with torch.no_grad():
        latents = active(network.encode(sample).permute(0, 2, 3, 1).reshape(-1, 6))
    assert float(latents.square().mean()) == pytest.approx(1, rel=1e-3)


def test_a_block_without_residual_stays_without_after_training() -> None:
    network, sample = autoencoder(), residuals()
    network.fit_initial(sample)
    trained(network)
    with torch.no_grad():
        latent = network.encode(sample)
        restored = network.decode(latent)
    empty = sample.view(-1, 3, 2, BLOCK, 2, BLOCK).abs().amax(dim=(1, 3, 5)) == 0
    assert empty.any()
    assert (latent.permute(0, 2, 3, 1)[~empty].abs().amax(1) > 0).all()
    assert latent.permute(0, 2, 3, 1)[empty].abs().max() < 1e-6
    where = empty.repeat_interleave(BLOCK, 1).repeat_interleave(BLOCK, 2)[:, None]
    assert (restored * where).abs().max() < 0.01 / 255


def test_training_lowers_the_loss() -> None:
    network = autoencoder()
    network.fit_initial(residuals())
    losses = trained(network, 60)
    assert losses[-1] < 0.9 * losses[0]


def test_the_loss_is_a_mean_over_active_blocks() -> None:
    network, sample = autoencoder(), residuals()
    network.fit_initial(sample)
    losses = network.loss(sample)
    assert float(losses["loss"].detach()) == pytest.approx(float(losses["l1"] + 4 * losses["l2"]))
    padded = torch.cat([sample, torch.zeros_like(sample)])
    assert network.loss(padded)["loss"].item() == pytest.approx(losses["loss"].item(), rel=1e-5)


def test_clips_without_residuals_have_no_loss() -> None:
    network = autoencoder()
    network.fit_initial(torch.zeros(2, 3, 8, 8))
    losses = network.loss(torch.zeros(2, 3, 8, 8))
    assert losses["loss"].item() == 0
    losses["loss"].backward()
