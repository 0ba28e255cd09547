from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from train.models.equivariance import Deformation, random_deformation


def generators(*seeds: int) -> list[torch.Generator]:
    return [torch.Generator().manual_seed(seed) for seed in seeds]


def deformed_slowly(deformation: Deformation, row: int, point: Tensor) -> list[float]:
    """The sum over control points, (-1, -1) first, x slowest."""
    x, y = (float(value) for value in point)
    result = []
    for axis in range(2):
        across, down, shift = (float(value) for value in deformation.affine[row, axis])
        value = (x, y)[axis] + across * x + down * y + shift
        for index in range(25):
            left, top = -1 + index // 5 / 2, -1 + index % 5 / 2
            radius = math.hypot(x - left, y - top)
            if radius > 0:
                weight = float(deformation.weights[row, index, axis])
                value += weight * radius**2 * math.log(radius)
        result.append(value)
    return result


def test_points_move_by_the_formula() -> None:
    deformation = random_deformation(generators(0, 1), affine=0.3, spline=0.2)
    points = torch.rand(2, 7, 2, generator=generators(2)[0]) * 2 - 1
    points[0, 0] = torch.tensor([-0.5, 1.0])  # a control point: r = 0
    moved = deformation(points)
    for row in range(2):
        for found, point in zip(moved[row], points[row], strict=True):
            expected = deformed_slowly(deformation, row, point)
            assert found.tolist() == pytest.approx(expected, abs=1e-5)


def test_the_jacobian_is_the_derivative() -> None:
    deformation = random_deformation(generators(0, 1), affine=0.3, spline=0.2)
    points = torch.rand(2, 4, 2, generator=generators(2)[0]) * 2 - 1
    found = deformation.jacobian(points)
    for place in range(4):
        for row in range(2):

            def at(point: Tensor, row: int = row, place: int = place) -> Tensor:
                return deformation(
                    points.index_put((torch.tensor(row), torch.tensor(place)), point)
                )[row, place]

            expected = torch.autograd.functional.jacobian(at, points[row, place])
            assert torch.allclose(found[row, place], expected, atol=1e-5)


def test_gradients_are_finite_at_a_control_point() -> None:
    deformation = random_deformation(generators(0))
    point = torch.tensor([[[0.5, -0.5]]], requires_grad=True)
    (deformation(point).sum() + deformation.jacobian(point).sum()).backward()
    assert point.grad is not None
    assert point.grad.isfinite().all()


def test_without_numbers_nothing_moves() -> None:
    still = random_deformation(generators(0), affine=0, spline=0)
    points = torch.rand(1, 5, 2)
    assert still(points).equal(points)
    assert still.jacobian(points).equal(torch.eye(2).expand(1, 5, 2, 2))


def test_it_depends_on_the_rows_generator_alone() -> None:
    together = random_deformation(generators(5, 6, 7))
    alone = random_deformation(generators(6))
    assert together.affine[1].equal(alone.affine[0])
    assert together.weights[1].equal(alone.weights[0])


def test_its_numbers_have_the_published_deviations() -> None:
    many = random_deformation(generators(*range(400)))
    assert float(many.affine.std()) == pytest.approx(0.05, rel=0.05)
    assert float(many.weights.std()) == pytest.approx(0.005, rel=0.05)
