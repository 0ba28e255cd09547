from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from shared.errors import UserError
from train.models.equivariance import random_deformation
from train.models.regions import (
    _ROUND,
    RegionPredictor,
    Regions,
    RegionsOptions,
    affine_between,
    cell_centres,
    region_displacements,
)

SMALL = RegionsOptions(
    regions=4,
    reduction=2,
    region_width=8,
    background_width=8,
    mix_width=8,
    halvings=2,
    max_width=16,
)


def rng(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def predictor(options: RegionsOptions = SMALL) -> RegionPredictor:
    torch.manual_seed(0)
    return RegionPredictor(options).eval()


def trained() -> RegionPredictor:
    """A predictor whose masks and background are not as before training."""
    network = predictor()
    with torch.no_grad():
        for layer in (network.masks, network.background):
            layer.weight += 0.1 * torch.randn(layer.weight.shape, generator=rng(1))
            layer.bias.copy_(0.1 * torch.randn(layer.bias.shape, generator=rng(2)))
    return network


def pictures(seed: int, rows: int = 2, height: int = 32, width: int = 48) -> Tensor:
    return torch.rand(rows, 3, height, width, generator=rng(seed)) * 2 - 1


def rotation(degrees: float) -> Tensor:
    angle = math.radians(degrees)
    return torch.tensor(
        [[math.cos(angle), -math.sin(angle)], [math.sin(angle), math.cos(angle)]],
        dtype=torch.float64,
    )


def ellipse(long: float, short: float, degrees: float) -> Tensor:
    """Covariance with these deviations; the long axis points at the angle, from x towards y."""
    turn = rotation(degrees)
    return turn @ torch.diag(torch.tensor([long**2, short**2], dtype=torch.float64)) @ turn.T


def anisotropy(covariance: Tensor) -> float:
    small, great = torch.linalg.eigvalsh(covariance).tolist()
    return (great - small) / (great + small)


def root(covariance: Tensor) -> Tensor:
    """U S^(1/2), the longer axis first, U a rotation, as in MRAA."""
    values, vectors = torch.linalg.eigh(covariance)
    values, vectors = values.flip(-1), vectors.flip(-1)
    if torch.linalg.det(vectors) < 0:
        vectors = vectors * torch.tensor([1.0, -1.0], dtype=vectors.dtype)
    return vectors @ values.sqrt().diag()


def tolerance(source: Tensor, target: Tensor) -> float:
    """Bound on the effect of fading, as a part of the matrix.

    Twice the angle between them is the argument of a b exp(2 i d) + e^2, wrong by at most about
    e^2 / a b; the axes' direction is wrong by as much, its length by e^2 / 2 (a + b)^2.
    """
    a, b = anisotropy(source), anisotropy(target)
    return 1.6 * _ROUND**2 / (a * b) + 1e-6


sizes = st.floats(0.1, 0.2)
ratios = st.floats(2, 6)
angles = st.floats(-180, 180)


@st.composite
def ellipses(draw: st.DrawFn) -> Tensor:
    short = draw(sizes)
    return ellipse(short * draw(ratios), short, draw(angles))


def gaussian(mean: Tensor, covariance: Tensor, height: int, width: int) -> Tensor:
    centres = cell_centres(torch.empty(height, width)).double()
    away = centres - mean
    distance = (away @ torch.linalg.inv(covariance) * away).sum(-1)
    return torch.softmax(-distance / 2, dim=0).view(1, 1, height, width)


@settings(max_examples=20, deadline=None)
@given(st.floats(-0.1, 0.1), st.floats(-0.1, 0.1), angles)
def test_a_gaussians_moments_are_its_mean_and_covariance(x: float, y: float, angle: float) -> None:
    mean, covariance = torch.tensor([x, y], dtype=torch.float64), ellipse(0.12, 0.08, angle)
    found = Regions.of(gaussian(mean, covariance, 48, 64).float())
    assert torch.allclose(found.shift[0, 0].double(), mean, atol=1e-5)
    cell = (2 / 64) ** 2 / 12 * torch.eye(2, dtype=torch.float64)
    assert torch.allclose(found.covariance[0, 0].double(), covariance + cell, atol=1e-5)


def test_a_region_of_one_cell_is_as_large_as_the_cell() -> None:
    heat = torch.zeros(1, 1, 16, 32)
    heat[0, 0, 3, 20] = 1
    found = Regions.of(heat)
    assert torch.allclose(found.shift[0, 0] * 32, torch.tensor([2 * 20.5 - 32, 2 * 3.5 - 16]))
    assert torch.allclose(found.covariance[0, 0], (2 / 32) ** 2 / 12 * torch.eye(2))


@settings(deadline=None)
@given(ellipses(), ellipses())
def test_the_affine_map_takes_one_ellipse_to_the_other(source: Tensor, target: Tensor) -> None:
    matrix = affine_between(source, target)
    error = (matrix @ target @ matrix.T - source).norm() / source.norm()
    # Both factors are wrong by the tolerance; the map stretches an axis by at most 12.
    assert (
        error < 2 * tolerance(source, target) * target.norm() / source.norm() * matrix.norm() ** 2
    )


@settings(deadline=None)
@given(ellipses(), ellipses())
def test_the_affine_map_is_the_papers(source: Tensor, target: Tensor) -> None:
    expected = root(source) @ torch.linalg.inv(root(target))
    if expected.trace() < 0:  # the sense of the axes is open: take the smaller turn
        expected = -expected
    turn = (root(source) / root(source).norm(dim=0)).T @ (root(target) / root(target).norm(dim=0))
    if abs(turn[0, 0]) < 0.2:
        return  # nearly 90 degrees: either sense is right
    error = (affine_between(source, target) - expected).norm() / expected.norm()
    assert error < tolerance(source, target)


@settings(deadline=None)
@given(ellipses(), ellipses(), angles)
def test_it_turns_with_its_ellipses(source: Tensor, target: Tensor, angle: float) -> None:
    turn = rotation(angle)
    turned = affine_between(turn @ source @ turn.T, turn @ target @ turn.T)
    before = affine_between(source, target)
    if before.trace() > 0.1 * before.norm():  # at 90 degrees the sense is open
        assert torch.allclose(turned, turn @ before @ turn.T, atol=1e-6)


@pytest.mark.parametrize("degrees", [-80, -20, 0, 5, 45, 85])
def test_a_turned_ellipse_gives_the_turn(degrees: float) -> None:
    target = ellipse(0.4, 0.1, 17)
    source = rotation(degrees) @ target @ rotation(degrees).T
    error = affine_between(source, target) - rotation(degrees)
    assert error.abs().max() < tolerance(source, target)


def test_a_turn_of_more_than_90_degrees_is_taken_the_other_way() -> None:
    target = ellipse(0.4, 0.1, 0)
    source = rotation(120) @ target @ rotation(120).T
    assert torch.allclose(affine_between(source, target), rotation(-60), atol=0.01)


@settings(deadline=None)
@given(st.floats(0.01, 1), st.floats(1, 50), angles)
def test_equal_ellipses_give_the_identity(short: float, ratio: float, angle: float) -> None:
    covariance = ellipse(short * ratio, short, angle).float()
    assert affine_between(covariance, covariance).equal(torch.eye(2))


def test_a_scaled_round_region_gives_the_scale() -> None:
    round_one = 0.04 * torch.eye(2)
    assert torch.allclose(affine_between(9 * round_one, round_one), 3 * torch.eye(2))


@settings(deadline=None)
@given(st.floats(0, 0.01), angles, angles)
def test_noise_does_not_turn_round_regions(noise: float, one: float, other: float) -> None:
    """Anisotropies of noise / 2 turn it by (noise / 2 _ROUND)^2 / 2 at most, 0.005."""
    round_one = torch.eye(2, dtype=torch.float64)
    bits = [noise * ellipse(1, 0, angle) for angle in (one, other)]
    matrix = affine_between(round_one + bits[0], round_one + bits[1])
    assert torch.allclose(matrix, round_one, atol=0.005 + noise)


@pytest.mark.parametrize("elongated_is", ["source", "target"])
def test_a_round_region_that_is_drawn_out_is_stretched_and_not_turned(elongated_is: str) -> None:
    line, disc = ellipse(0.4, 0.1, 30), ellipse(0.2, 0.2, 0)
    pair = (line, disc) if elongated_is == "source" else (disc, line)
    matrix = affine_between(*pair)
    assert torch.allclose(matrix, matrix.T, atol=1e-9)
    assert torch.allclose(matrix @ pair[1] @ matrix.T, pair[0], atol=2e-3 * 0.4**2)


def heat_logits() -> dict[str, Tensor]:
    centres = cell_centres(torch.empty(16, 16))
    x, y = centres.unbind(-1)
    one = torch.zeros(256)
    one[100] = 200
    crossed = torch.stack([-100 * x**2 - 9 * y**2, -9 * x**2 - 100 * y**2])
    return {
        "uniform": torch.zeros(2, 256),
        "round": torch.stack([-50 * (x**2 + y**2), -30 * (x**2 + y**2)]),
        "elongated": torch.stack([-100 * x**2 - 9 * (x + y) ** 2, -50 * y**2 - 9 * (x - y) ** 2]),
        "at a right angle": crossed,
        "one cell": torch.stack([one, one.roll(37)]),
        "two cells": torch.stack([one + one.roll(1), one + one.roll(16)]),
    }


@pytest.mark.parametrize("name", heat_logits())
def test_gradients_are_finite(name: str) -> None:
    logits = heat_logits()[name].requires_grad_()
    regions = Regions.of(logits.softmax(-1).view(2, 1, 16, 16))
    pair = [Regions(regions.shift[i : i + 1], regions.covariance[i : i + 1]) for i in range(2)]
    moved = region_displacements(*pair, cell_centres(torch.empty(8, 8)))
    (moved.square().sum() + pair[0].gaussians(cell_centres(torch.empty(8, 8))).sum()).backward()
    assert logits.grad is not None
    assert logits.grad.isfinite().all()
    assert logits.grad.abs().max() < 100


def test_gradients_are_bounded_where_the_angle_has_none() -> None:
    """Anisotropies of _ROUND at a right angle: a b exp(2 i d) + _ROUND^2 is zero."""
    covariances = torch.tensor([[1 + _ROUND, 1 - _ROUND], [1 - _ROUND, 1 + _ROUND]]).diag_embed()
    covariances.requires_grad_()
    affine_between(covariances[0], covariances[1])[0, 1].backward()
    assert covariances.grad is not None
    assert covariances.grad.abs().max() < 1 / _ROUND**4


def random_regions(seed: int, rows: int = 2, count: int = 4) -> Regions:
    generator = rng(seed)
    shapes = [
        ellipse(0.3, 0.06, 360 * float(torch.rand(1, generator=generator)))
        for _ in range(rows * count)
    ]
    shift = torch.rand(rows, count, 2, generator=generator) - 0.5
    return Regions(shift, torch.stack(shapes).view(rows, count, 2, 2).float())


STILL = torch.zeros(2, 2, 3)


@torch.no_grad()
def test_nothing_moves_between_equal_regions() -> None:
    regions = random_regions(0)
    flow, seen = trained().mix(pictures(0), regions, regions, STILL)
    assert flow.shape == (2, 2, 8, 12)
    assert seen.shape == (2, 1, 8, 12)
    assert flow.abs().max() < 1e-5
    assert 0 < seen.min() < seen.max() < 1


@torch.no_grad()
def test_a_translation_gives_its_pixels_everywhere() -> None:
    target, displacement_px = random_regions(0), torch.tensor([5.0, -3.0])
    shift = displacement_px / 24  # half of the longer side, 48
    source = Regions(target.shift + shift, target.covariance)
    background = STILL.clone()
    background[:, :, 2] = shift
    flow, _ = trained().mix(pictures(0), source, target, background)
    assert torch.allclose(flow, displacement_px[:, None, None].expand_as(flow), atol=1e-4)


def positions_px(height: int = 32, width: int = 48) -> Tensor:
    """Pixel coordinates of flow cells, relative to the picture's centre: (2, h, w)."""
    y = 4 * torch.arange(height // 4) + 1.5 - (height - 1) / 2
    x = 4 * torch.arange(width // 4) + 1.5 - (width - 1) / 2
    down, across = torch.meshgrid(y, x, indexing="ij")
    return torch.stack([across, down])


@torch.no_grad()
@pytest.mark.parametrize("degrees", [-30, 10, 75])
def test_a_rotation_gives_its_flow_field(degrees: float) -> None:
    target, turn = random_regions(0), rotation(degrees).float()
    source = Regions(target.shift @ turn.T, turn @ target.covariance @ turn.T)
    background = STILL.clone()
    background[:, :, :2] = turn - torch.eye(2)
    flow, _ = trained().mix(pictures(0), source, target, background)
    expected = torch.einsum("ij,jhw->ihw", turn - torch.eye(2), positions_px())
    farthest_px = 48  # of a cell from a region's centre
    allowed = tolerance(target.covariance[0, 0], target.covariance[0, 0]) * farthest_px
    assert (flow - expected).abs().max() < allowed


@torch.no_grad()
def test_cells_have_the_coordinates_of_their_centres() -> None:
    background = STILL.clone()
    background[:, :, :2] = 0.1 * torch.eye(2)
    network = predictor()
    network.masks.get_parameter("bias")[0] = 100  # background alone
    flow, _ = network.mix(pictures(0), random_regions(0), random_regions(1), background)
    assert torch.allclose(flow, 0.1 * positions_px().expand_as(flow), atol=1e-4)


@torch.no_grad()
def test_a_cell_moves_with_the_region_that_its_mask_chooses() -> None:
    network, target = predictor(), random_regions(0)
    source = Regions(target.shift + torch.arange(4)[None, :, None] / 24, target.covariance)
    network.masks.get_parameter("bias")[1 + 2] = 100
    flow, _ = network.mix(pictures(0), source, target, STILL)
    assert torch.allclose(flow, torch.tensor(2.0), atol=1e-4)


@torch.no_grad()
def test_the_mixing_network_sees_the_reference_moved_by_each_candidate() -> None:
    network, target, reference = predictor(), random_regions(0), pictures(0)
    source = Regions(target.shift - torch.tensor([0.0, 4 / 24]), target.covariance)
    background = STILL.clone()
    background[:, 0, 2] = 4 / 24  # a cell to the right
    inputs: list[Tensor] = []
    network.mix_features.register_forward_pre_hook(lambda _, given: inputs.append(given[0]))
    network.mix(reference, Regions(target.shift, target.covariance), target, STILL)
    network.mix(reference, source, target, background)
    still, moved = (x.unflatten(1, (5, 4)) for x in inputs)  # (N, K + 1, 4, h, w)
    colours = still[:, 0, 1:]
    assert torch.allclose(still[:, 1:, 1:], colours[:, None].expand(-1, 4, -1, -1, -1), atol=1e-4)
    assert torch.allclose(moved[:, 0, 1:, :, :-1], colours[..., 1:], atol=1e-4)
    assert torch.allclose(moved[:, 3, 1:, 1:], colours[..., :-1, :], atol=1e-4)
    assert still[:, :, 0].abs().max() == 0  # heat of target less heat of source
    assert moved[:, 0, 0].abs().max() == 0  # the background has none
    gaussian_cells = target.gaussians(cell_centres(colours)).unflatten(-1, (8, 12))
    source_cells = source.gaussians(cell_centres(colours)).unflatten(-1, (8, 12))
    assert moved[:, 1:, 0].equal(gaussian_cells - source_cells)


def test_the_heat_of_a_region_is_one_at_its_centre_and_falls_by_its_deviations() -> None:
    regions = Regions(torch.zeros(1, 1, 2), ellipse(0.4, 0.1, 90).float()[None, None])
    points = torch.tensor([[0.0, 0.0], [0.0, 0.4], [0.1, 0.0], [0.2, 0.0]])
    expected = torch.exp(-torch.tensor([0.0, 0.5, 0.5, 2.0]))
    assert torch.allclose(regions.gaussians(points)[0, 0], expected, atol=1e-5)


@torch.no_grad()
def test_before_training_hardly_anything_moves() -> None:
    flow, _ = predictor(RegionsOptions(reduction=2, halvings=4, max_width=64))(
        pictures(0, height=64, width=64), pictures(1, height=64, width=64)
    )
    assert 0 < flow.abs().max() < 1


def test_every_weight_is_trained() -> None:
    network = trained()
    flow, seen = network(pictures(0), pictures(1))
    (flow.square().sum() + seen.square().sum()).backward()
    for name, parameter in network.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.isfinite().all(), name
        assert parameter.grad.abs().max() > 0, name


@torch.no_grad()
def test_rows_do_not_depend_on_each_other() -> None:
    network, (reference, driving) = trained(), (pictures(0, 3), pictures(1, 3))
    together = network(reference, driving)
    alone = network(reference[1:2], driving[1:2])
    for a, b in zip(together, alone, strict=True):
        assert torch.allclose(a[1:2], b, atol=1e-4)


@torch.no_grad()
def test_coordinates_are_float32_under_autocast() -> None:
    network, (reference, driving) = trained(), (pictures(0), pictures(1))
    regions, fine = random_regions(0), torch.tensor([5.0, -3.0])
    source = Regions(regions.shift + fine / 24, regions.covariance)
    background = STILL.clone()
    background[:, :, 2] = fine / 24
    with torch.autocast("cpu", torch.bfloat16):
        flow, seen = network(reference, driving)
        exact, _ = network.mix(reference, source, regions, background)
        loss = network.equivariance_loss(driving, [rng(0), rng(1)])
    assert flow.dtype == seen.dtype == loss.dtype == torch.float32
    assert torch.allclose(exact, fine[:, None, None].expand_as(exact), atol=1e-4)


class Ideal(RegionPredictor):
    """Heat maps are the colours' intensities, so that regions move exactly as the picture does."""

    def heat_maps(self, picture: Tensor) -> Tensor:
        light = (picture + 1).clamp(min=0)
        return light / light.sum(dim=(2, 3), keepdim=True)


class Blind(Ideal):
    """Regions stay where they are, whatever the picture."""

    def heat_maps(self, picture: Tensor) -> Tensor:
        return super().heat_maps(blobs(len(picture)))


def blobs(rows: int, side: int = 192) -> Tensor:
    """Three elongated spots, one a colour, on black."""
    places = [(-0.3, -0.2, 20), (0.1, 0.3, 80), (0.3, -0.3, 140)]
    spots = [
        gaussian(torch.tensor([x, y]).double(), ellipse(0.12, 0.06, angle), side, side)
        for x, y, angle in places
    ]
    picture = torch.cat(spots, dim=1).float()
    return (2 * picture / picture.amax(dim=(2, 3), keepdim=True) - 1).repeat(rows, 1, 1, 1)


def losses(kind: type[RegionPredictor], count: int = 20) -> Tensor:
    network = kind(SMALL)
    return network.equivariance_loss(blobs(count), [rng(seed) for seed in range(count)])


def test_regions_that_move_with_the_picture_have_no_equivariance_loss() -> None:
    """What remains is the sampling of the picture, and second order in the spline.

    Bilinear sampling adds a variance of 1/6 pixel^2. The spots' deviations are 5.8 and 11.5 pixels,
    so these grow by 0.25% and 0.06%; over four entries of the matrix and with the weight of 10 that
    is 0.008. Across a spot of deviation s = 0.12 the Jacobian changes by s T'', T'' the sum of 25
    weights of deviation 0.005 times the spline's second derivative, about 2: by 0.006, of which a
    part is left in the covariance; with the weight of 10, some hundredths. A detector that does not
    follow has the affine map's 0.05 in full: about 10 (0.04 + 0.04).
    """
    ideal, blind = losses(Ideal), losses(Blind)
    assert ideal.max() < 0.05
    assert blind.min() > 0.3
    assert blind.mean() == pytest.approx(0.8, rel=0.4)


def sampled_slowly(plane: Tensor, x: float, y: float) -> float:
    """Bilinear value at pixel coordinates, mirrored at the picture's edges."""

    def inside(value: float, count: int) -> float:
        value = (value + 0.5) % (2 * count)
        return min(max(min(value, 2 * count - value) - 0.5, 0), count - 1)

    height, width = plane.shape
    x, y = inside(x, width), inside(y, height)
    left, top = min(int(x), width - 2), min(int(y), height - 2)
    right_part, lower_part = x - left, y - top
    rows = [
        float(plane[top + i, left]) * (1 - right_part)
        + float(plane[top + i, left + 1]) * right_part
        for i in range(2)
    ]
    return rows[0] * (1 - lower_part) + rows[1] * lower_part


class Recorder(Ideal):
    """An ideal detector that keeps the pictures it has seen."""

    def __init__(self) -> None:
        super().__init__(SMALL)
        self.seen: list[Tensor] = []

    def heat_maps(self, picture: Tensor) -> Tensor:
        self.seen.append(picture)
        return super().heat_maps(picture)


def test_the_deformed_picture_shows_the_driving_one_at_the_deformed_places() -> None:
    network, driving = Recorder(), pictures(0, 1, 16, 24)
    network.equivariance_loss(driving, [rng(3)])
    _, deformed = network.seen
    places = random_deformation([rng(3)])(cell_centres(driving)[None])[0] * 12  # pixels
    expected = [sampled_slowly(driving[0, 1], float(x) + 11.5, float(y) + 7.5) for x, y in places]
    assert not (places.abs() < torch.tensor([12.0, 8.0])).all()  # some are outside
    assert torch.allclose(deformed[0, 1].flatten(), torch.tensor(expected), atol=1e-4)


def test_equivariance_depends_on_the_rows_generator_alone() -> None:
    network, driving = trained(), pictures(0, 3)
    together = network.equivariance_loss(driving, [rng(7), rng(8), rng(9)])
    alone = network.equivariance_loss(driving[1:2], [rng(8)])
    assert together.shape == (3,)
    assert torch.allclose(together[1:2], alone, rtol=1e-4)
    assert not torch.allclose(alone, network.equivariance_loss(driving[1:2], [rng(9)]), rtol=1e-2)


def test_equivariance_trains_the_detector_alone() -> None:
    network = trained()
    network.equivariance_loss(pictures(0), [rng(0), rng(1)]).sum().backward()
    for name, parameter in network.named_parameters():
        detects = name.startswith("region_")
        assert (parameter.grad is not None) == detects, name
        assert not detects or parameter.grad.isfinite().all()


def millions(*modules: nn.Module) -> float:
    return sum(weight.numel() for module in modules for weight in module.parameters()) / 1e6


def test_the_published_sizes() -> None:
    with torch.device("meta"):
        net = RegionPredictor(RegionsOptions())
    found = millions(net.region_features, net.region_maps)
    assert found == pytest.approx(14.1, rel=0.03)
    found = millions(net.background_features, net.background)
    assert found == pytest.approx(6.3, rel=0.03)
    assert net.mix_features.outputs == 108
    found = millions(net.mix_features, net.masks, net.occlusion)
    assert found == pytest.approx(37.7, rel=0.03)


def test_the_published_sizes_do_not_fit_64_pixels() -> None:
    options = RegionsOptions(region_width=8, background_width=8, mix_width=8, max_width=8)
    with pytest.raises(UserError, match=r"16x16 cannot be halved 5 times"):
        predictor(options)(pictures(0, height=64, width=64), pictures(1, height=64, width=64))
