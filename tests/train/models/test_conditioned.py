from __future__ import annotations

import pytest
import torch

from train.models.block_autoencoder import BlockAutoencoder, BlockAutoencoderOptions
from train.models.conditioned import ConditionedAutoencoder


def network() -> ConditionedAutoencoder:
    torch.manual_seed(0)
    plain = BlockAutoencoder(BlockAutoencoderOptions(latent_channels=2, hidden=8), 4)
    return ConditionedAutoencoder(plain, width=8)


def test_it_starts_as_the_plain_autoencoder() -> None:
    autoencoder = network()
    picture, prediction = torch.rand(2, 3, 8, 12) / 10, torch.rand(2, 3, 8, 12)
    latent = autoencoder.encode(picture)
    assert latent.equal(autoencoder.plain.encode(picture))
    assert autoencoder.decode(latent, prediction).equal(autoencoder.plain.decode(latent))


def test_a_decoder_without_its_prediction_is_a_mistake() -> None:
    with pytest.raises(AssertionError, match="needs the prediction"):
        network().decode(torch.zeros(1, 2, 2, 2))


def test_what_the_prediction_tells_is_learned() -> None:
    """The residual is a pattern that two latents cannot hold, but the prediction shows it."""
    autoencoder = network()
    generator = torch.Generator().manual_seed(0)
    prediction = torch.rand(4, 3, 16, 16, generator=generator) * 2 - 1
    picture = 0.1 * prediction.sign()
    optimiser = torch.optim.Adam(autoencoder.parameters(), lr=1e-2)
    first = last = 0.0
    for step in range(60):
        losses = autoencoder.loss(picture, prediction)
        optimiser.zero_grad()
        losses["loss"].backward()
        optimiser.step()
        first, last = (first if step else float(losses["corrected"])), float(losses["corrected"])
    assert last < 0.5 * first
