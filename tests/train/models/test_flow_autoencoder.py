from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import Tensor

from tests.train.spaces.clips import codec_options
from train.data.batches import split_batch
from train.models.flow_autoencoder import (
    PREDICTORS,
    FlowAutoencoder,
    FlowAutoencoderOptions,
    total_variation,
)
from train.models.flow_predictors import (
    DenseFlow,
    DenseFlowOptions,
    FlowPredictor,
    StoreVectorsOptions,
)
from train.models.warp import resize_field, warp

CPU = torch.device("cpu")
SMALL = FlowAutoencoderOptions(
    widths=(8, 8, 16),
    dense=DenseFlowOptions(widths=(8, 8, 16)),
    store=StoreVectorsOptions(widths=(8, 8, 16)),
)


def network(options: FlowAutoencoderOptions = SMALL) -> FlowAutoencoder:
    torch.manual_seed(0)
    return FlowAutoencoder(options, 4, codec_options()).eval()


def scene(size: int, left: int, top: int, count: int = 1) -> Tensor:
    """A bright square of 8 x 8 pixels on a dark ramp, in [-1, 1]."""
    picture = torch.linspace(-0.9, -0.5, size).expand(count, 3, size, size).clone()
    picture[..., top : top + 8, left : left + 8] = 0.8
    return picture


def noise(*shape: int) -> Tensor:
    return torch.rand(*shape, generator=torch.Generator().manual_seed(1)) * 2 - 1


@pytest.mark.parametrize("size", [16, 22, 64])
@torch.no_grad()
def test_an_identity_flow_gives_the_picture_back_to_the_last_grey_level(size: int) -> None:
    reference = (noise(2, 3, size, size) * 127.5).round() / 127.5
    cells = -(-size // 4)
    still = torch.cat([torch.zeros(2, 2, cells, cells), torch.ones(2, 1, cells, cells)], dim=1)
    found = network().decode(still, reference)
    assert ((found - reference).abs() * 127.5).max() < 0.5


@torch.no_grad()
def test_a_uniform_flow_moves_a_square_exactly() -> None:
    """Content 4 to the right and 8 down of where it was comes from (-4, -8)."""
    reference, driving = scene(32, 8, 4), scene(32, 12, 12)
    latent = torch.cat(
        [torch.full((1, 1, 8, 8), -4.0), torch.full((1, 1, 8, 8), -8.0), torch.ones(1, 1, 8, 8)], 1
    )
    found = network().decode(latent, reference)
    square = (driving == 0.8) | (found > 0)
    assert torch.allclose(found[square], driving[square], atol=1e-4)


def test_it_decodes_alike_where_it_learns_and_where_it_does_not() -> None:
    latent, reference = noise(6, 3, 8, 8), noise(2, 3, 32, 32)
    learning = network().decode(latent, reference)
    with torch.no_grad():
        assert torch.allclose(network().decode(latent, reference), learning, atol=1e-5)


@torch.no_grad()
def test_what_is_occluded_is_decoded_and_what_is_visible_is_warped() -> None:
    reference = noise(1, 3, 32, 32)
    visible = torch.ones(1, 1, 8, 8)
    visible[..., 4:] = 0
    latent = torch.cat([torch.zeros(1, 2, 8, 8), visible], dim=1)
    found, other = (network().decode(latent, picture) for picture in (reference, -reference))
    assert torch.allclose(found[..., :14], reference[..., :14], atol=1e-4)
    assert (found + other)[..., 18:].abs().max() > 1e-3, "no copy of the reference's pixels"


@torch.no_grad()
def test_without_skips_only_features_are_warped() -> None:
    bare = network(FlowAutoencoderOptions(widths=(8, 8, 16), dense=SMALL.dense, skips=False))
    reference, moved = noise(1, 3, 32, 32), noise(1, 3, 32, 32)
    moved[..., 8:24] = -moved[..., 8:24]
    zeros = torch.zeros(1, 3, 8, 8)  # all occluded: equation 5 leaves nothing of the reference
    assert torch.allclose(bare.decode(zeros, reference), bare.decode(zeros, moved), atol=1e-6)


@pytest.mark.parametrize("kind", PREDICTORS)
@pytest.mark.parametrize("size", [32, 44])
@torch.no_grad()
def test_predictors_start_from_the_picture_itself(kind: str, size: int) -> None:
    torch.manual_seed(0)
    small = {"regions": {"reduction": 2, "halvings": 2, "max_width": 32}}.get(kind, {})
    predictor: FlowPredictor = PREDICTORS[kind](PREDICTORS[kind].options_type(**small))
    still = torch.zeros(2, 2, size // 4, size // 4)  # what some take for flow
    flow, visible = predictor(noise(2, 3, size, size), noise(2, 3, size, size).flip(-1), still)
    assert flow.shape == (2, 2, size // 4, size // 4)
    assert visible.shape == (2, 1, size // 4, size // 4)
    assert flow.dtype == visible.dtype == torch.float32
    assert flow.abs().max() < 1
    assert 0 <= visible.min() <= visible.max() <= 1


def test_flow_stays_within_its_reach() -> None:
    torch.manual_seed(0)
    predictor = DenseFlow(DenseFlowOptions(widths=(8, 8, 8), reach=5))
    with torch.no_grad():
        predictor.output[-1].weight.normal_(std=100)
        flow, _ = predictor(noise(1, 3, 16, 16), noise(1, 3, 16, 16))
    assert 4 < flow.abs().max() <= 5


def test_total_variation_is_the_mean_step_between_neighbours() -> None:
    field = torch.zeros(1, 2, 4, 5)
    field[:, 0, :, 2:] = 3.0  # 4 of 16 steps across of channel 0
    assert total_variation(field).tolist() == pytest.approx([3.0 * 4 / 32])


def pair_losses(rows: slice, step: int = 0, weight: float = 0.1) -> dict[str, Tensor]:
    options = FlowAutoencoderOptions(
        widths=(8, 8, 16),
        dense=SMALL.dense,
        vector_weight=weight,
        vector_steps=10,
        drawn_weight=0.5,
    )
    learner = network(options)
    with torch.no_grad():
        for parameter in learner.predictor.parameters():
            parameter.add_(0.02)
    [part] = split_batch(step, 4, 1)
    generators = part.generators(0, CPU)[rows]
    vectors = torch.zeros(4, 2, 8, 8)
    vectors[:, 0, 2:4, 2:4] = torch.arange(1.0, 5)[:, None, None]
    pair = noise(4, 3, 32, 32)[rows], noise(4, 3, 32, 32).flip(0)[rows]
    return learner.pair_loss(*pair, generators, vectors=vectors[rows], step=step)


def test_losses_are_means_over_pairs_however_they_are_shared_out() -> None:
    whole = pair_losses(slice(None))
    parts = [pair_losses(slice(0, 1)), pair_losses(slice(1, 4))]
    for name, value in whole.items():
        mean = (parts[0][name] + 3 * parts[1][name]) / 4
        assert float(value) == pytest.approx(float(mean), rel=1e-4), name
    total = sum(float(value) for name, value in whole.items() if name != "loss")
    assert float(whole["loss"]) == pytest.approx(total, rel=1e-5)


def test_the_pull_towards_vectors_fades_and_ends() -> None:
    pulls = [float(pair_losses(slice(None), step)["vectors"]) for step in (0, 5, 10, 20)]
    assert pulls[1] == pytest.approx(pulls[0] / 2)
    assert pulls[2:] == [0, 0]
    assert "vectors" not in pair_losses(slice(None), weight=0.0)


@pytest.mark.parametrize("weight", [0.0, 0.5])
def test_what_is_drawn_learns_where_the_warp_shows_all_with_its_own_weight_alone(
    weight: float,
) -> None:
    options = FlowAutoencoderOptions(
        widths=(8, 8, 16), predictor="store", store=SMALL.store, drawn_weight=weight
    )
    learner = network(options)
    with torch.no_grad():
        learner.predictor.output[-1].bias.fill_(30.0)  # visible everywhere
    reference, vectors = noise(2, 3, 32, 32), torch.zeros(2, 2, 8, 8)
    losses = learner.pair_loss(reference, reference, [], vectors=vectors, step=0)
    losses["loss"].backward()
    gradient = learner.decoder.output.weight.grad
    assert gradient is not None
    assert (float(gradient.abs().max()) > 1e-4) == (weight > 0)
    assert float(losses["loss"]) == pytest.approx(
        float(losses["reconstruction"] + losses.get("drawn", torch.zeros(()))), rel=1e-5
    )


@pytest.mark.parametrize("errors", [False, True])
def test_with_errors_the_occlusion_depends_on_the_frame_and_how_far_the_vectors_fail(
    errors: bool,
) -> None:
    """Two references whose predictions are as far from the frame, above and below it."""
    options = replace(SMALL, predictor="store", store=replace(SMALL.store, errors=errors))
    learner = network(options)
    torch.nn.init.normal_(learner.predictor.output[-1].weight)
    driving, error = noise(1, 3, 32, 32) / 2, noise(1, 3, 32, 32) / 4
    above, below = (
        learner.encode(driving, driving + sign * error, torch.zeros(1, 2, 8, 8)) for sign in (1, -1)
    )
    assert torch.equal(above[:, :2], torch.zeros(1, 2, 8, 8))
    assert torch.allclose(above, below, atol=1e-4) == errors
    exact = learner.encode(driving, driving, torch.zeros(1, 2, 8, 8))
    assert not torch.allclose(above, exact, atol=1e-2)


def test_it_learns_the_flow_of_a_square_that_moves() -> None:
    """Restored within some tens of steps better than the first frame repeated, by its flow."""
    torch.manual_seed(0)
    options = FlowAutoencoderOptions(
        widths=(8, 16, 16), dense=DenseFlowOptions(widths=(16, 16, 24))
    )
    learner = FlowAutoencoder(options, 4, codec_options())
    optimiser = torch.optim.AdamW(learner.parameters(), 4e-3)
    reference = torch.cat([scene(32, 8, 8), scene(32, 16, 8), scene(32, 8, 16)])
    driving = torch.cat([scene(32, 11, 10), scene(32, 14, 12), scene(32, 12, 13)])
    repeated = float((reference - driving).square().mean())
    for step in range(120):
        losses = learner.pair_loss(
            reference, driving, [torch.Generator()] * 3, vectors=None, step=step
        )
        optimiser.zero_grad()
        losses["loss"].backward()
        optimiser.step()
    with torch.no_grad():
        latent = learner.encode(driving, reference)
        made = learner.decode(latent, reference)
        warped = warp(reference, resize_field(latent[:, :2], 4))
    assert float((made - driving).square().mean()) < 0.1 * repeated
    assert float((warped - driving).square().mean()) < 0.4 * repeated


def test_options_that_contradict_each_other_are_refused() -> None:
    with pytest.raises(ValueError, match="pixel_weight"):
        FlowAutoencoderOptions(pixel_weight=1.0)
    with pytest.raises(ValueError, match=r"drawn_weight.*skips"):
        FlowAutoencoderOptions(drawn_weight=0.5, skips=False)
