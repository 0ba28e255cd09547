from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.fft import dctn
from torch import Tensor

from shared.errors import UserError
from tests.train.models.residuals import BLOCK, STORE, VALUES, residuals
from train.models.block_autoencoder import active, from_blocks, to_blocks
from train.models.linear_codes import (
    DctAutoencoder,
    DctOptions,
    KltAutoencoder,
    KltOptions,
    LinearAutoencoder,
    ZeroAutoencoder,
    ZeroOptions,
    dct_matrix,
)

KINDS = {
    "zero": lambda count: ZeroAutoencoder(ZeroOptions(latent_channels=count), BLOCK, STORE),
    "dct": lambda count: DctAutoencoder(DctOptions(latent_channels=count), BLOCK, STORE),
    "klt": lambda count: KltAutoencoder(KltOptions(latent_channels=count), BLOCK, STORE),
}


def code(kind: str, count: int = 6) -> LinearAutoencoder:
    network = KINDS[kind](count)
    if network.initial_fits:
        network.fit_initial(residuals())
    return network


def squared_error(restored: Tensor, picture: Tensor) -> float:
    return float((restored - picture).double().square().sum())


def test_blocks_are_in_raster_order_and_join_again() -> None:
    picture = torch.randn(2, 3, 8, 12)
    blocks = to_blocks(picture, BLOCK)
    assert blocks.shape == (2 * 2 * 3, VALUES)
    assert blocks[4].equal(picture[0, :, 4:8, 4:8].flatten())
    assert from_blocks(blocks, 2, 2, BLOCK).equal(picture)


@pytest.mark.parametrize("kind", KINDS)
def test_linear_codes_have_no_parameters_and_their_shapes_fit(kind: str) -> None:
    network = code(kind)
    assert not network.learns
    latent = network.encode(torch.randn(5, 3, 8, 12))
    assert latent.shape == (5, 6, 2, 3)
    assert network.decode(latent).shape == (5, 3, 8, 12)


@pytest.mark.parametrize("kind", ["dct", "klt"])
def test_a_block_has_its_latent_in_its_place(kind: str) -> None:
    network, picture = code(kind), torch.zeros(1, 3, 8, 12)
    picture[0, :, 4:, 8:] = residuals()[1, :, 4:, 4:] + 0.1
    assert network.encode(picture).abs().sum(dim=(0, 1)).nonzero().tolist() == [[1, 2]]


@pytest.mark.parametrize("kind", ["dct", "klt"])
def test_as_many_latents_as_values_lose_nothing(kind: str) -> None:
    network, picture = code(kind, VALUES), torch.randn(3, 3, 8, 8)
    assert torch.allclose(network.decode(network.encode(picture)), picture, atol=1e-5)


@pytest.mark.parametrize("kind", KINDS)
def test_more_latents_than_values_are_refused(kind: str) -> None:
    with pytest.raises(UserError, match="4x4 pixels has only 48 values"):
        KINDS[kind](VALUES + 1)


def test_the_zero_code_codes_and_decodes_zeros() -> None:
    network = code("zero")
    latent = network.encode(residuals())
    assert not latent.any()
    assert not network.decode(torch.ones_like(latent)).any()


def test_the_klt_equals_numpys_eigendecomposition() -> None:
    network = code("klt")
    blocks = active(to_blocks(residuals(), BLOCK)).double().numpy()
    energies, vectors = np.linalg.eigh(blocks.T @ blocks)
    projector = vectors[:, -6:] @ vectors[:, -6:].T
    assert np.allclose(network.synthesis @ network.analysis, projector, atol=1e-5)
    lost = squared_error(network.decode(network.encode(residuals())), residuals())
    assert lost == pytest.approx(energies[:-6].sum(), rel=1e-3)


@given(seed=st.integers(0, 2**31), count=st.integers(1, 12))
@settings(max_examples=25, deadline=None)
def test_no_linear_code_of_its_size_beats_the_klt_on_its_blocks(seed: int, count: int) -> None:
    """Against the best decoder of a random encoder, and of one near the KLT."""
    network = code("klt", count)
    blocks = active(to_blocks(residuals(), BLOCK)).double()
    best = squared_error(blocks @ (network.synthesis @ network.analysis).T.double(), blocks)
    generator = torch.Generator().manual_seed(seed)
    noise = torch.randn(count, VALUES, generator=generator, dtype=torch.float64)
    for analysis in (noise, network.analysis.double() + 0.01 * noise):
        latents = blocks @ analysis.T
        synthesis = torch.linalg.lstsq(latents, blocks).solution
        assert squared_error(latents @ synthesis, blocks) >= best * (1 - 1e-6)


def test_the_dct_equals_scipys() -> None:
    """For Y, Cb and Cr as JFIF defines them."""
    network = code("dct", 20)
    assert isinstance(network, DctAutoencoder)
    picture = residuals()
    red, green, blue = picture[0, :, :4, :4].double().numpy()
    luma = 0.299 * red + 0.587 * green + 0.114 * blue
    planes = np.stack([luma, (blue - luma) / 1.772, (red - luma) / 1.402])
    expected = np.stack([dctn(plane, norm="ortho") for plane in planes]).flatten()
    latent = network.encode(picture[:1])[0, :, 0, 0]
    assert np.allclose(latent, expected[network.chosen.numpy()], atol=1e-5)


def test_the_dct_matrix_is_orthonormal() -> None:
    assert torch.allclose(dct_matrix(7) @ dct_matrix(7).T, torch.eye(7).double(), atol=1e-12)


def test_the_dct_keeps_the_coefficients_with_most_energy() -> None:
    """Grey waves of falling strength are chosen in their order, and no colour."""
    waves = dct_matrix(BLOCK).float()
    pairs = [(0, 0), (3, 1), (0, 2), (2, 2)]
    strengths = [0.4, 0.3, 0.2, 0.1]
    blocks = [
        s * torch.outer(waves[k], waves[i]) for s, (k, i) in zip(strengths, pairs, strict=True)
    ]
    picture = torch.stack(blocks)[:, None].expand(-1, 3, -1, -1).contiguous()
    network = DctAutoencoder(DctOptions(latent_channels=4), BLOCK, STORE)
    network.fit_initial(picture)
    assert network.chosen.tolist() == [k * BLOCK + i for k, i in pairs]
    assert torch.allclose(network.decode(network.encode(picture)), picture, atol=1e-6)
