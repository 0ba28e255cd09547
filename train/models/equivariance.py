"""Random smooth deformations of pictures, under which detected regions must move along.

An affine map plus a thin-plate spline (Bookstein 1989), as in the first-order motion model
(Siarohin et al. 2019). Units: half of the picture's longer side; the origin is the
picture's centre.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

_SIDE = 5
"""Control points of the spline in each direction."""

_TINY = 1e-12
"""Squared distance below which r^2 log r is taken as zero."""


@dataclass(frozen=True)
class Deformation:
    """T(p) = p + A p + b + sum_j w_j U(|p - c_j|), U(r) = r^2 log r.

    Attributes:
        affine: A and b, shape (N, 2, 3).
        weights: w_j of the control points, shape (N, 25, 2); they form a regular 5x5 grid.
    """

    affine: Tensor
    weights: Tensor

    def __call__(self, points: Tensor) -> Tensor:
        """T of points (N, P, 2), x before y."""
        _, square, log = self._from_controls(points)
        bend = (square * log)[..., None] / 2 * self.weights[:, None]  # (N, P, 25, 2)
        matrix, shift = self.affine[:, None, :, :2], self.affine[:, None, :, 2]
        return points + (matrix * points[..., None, :]).sum(-1) + shift + bend.sum(2)

    def jacobian(self, points: Tensor) -> Tensor:
        """Derivatives dT_i / dp_j at points (N, P, 2): shape (N, P, 2, 2)."""
        away, _, log = self._from_controls(points)
        slope = (log + 1)[..., None] * away  # (N, P, 25, 2), of U
        bend = (self.weights[:, None, :, :, None] * slope[..., None, :]).sum(2)
        return torch.eye(2, device=points.device) + self.affine[:, None, :, :2] + bend

    def _from_controls(self, points: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Offsets from the control points, their squared lengths, and the logarithms of these."""
        line = torch.linspace(-1, 1, _SIDE, device=points.device)
        away = points[:, :, None] - torch.cartesian_prod(line, line)  # (N, P, 25, 2)
        square = away.square().sum(-1)
        return away, square, (square + _TINY).log()


def random_deformation(
    generators: Sequence[torch.Generator], affine: float = 0.05, spline: float = 0.005
) -> Deformation:
    """A deformation for each generator, on its device, from its numbers alone.

    Args:
        generators: one a row.
        affine: standard deviation of the six numbers of A and b.
        spline: standard deviation of the spline's weights.
    """
    draws = torch.stack(
        [torch.randn(6 + 2 * _SIDE**2, generator=g, device=g.device) for g in generators]
    )
    return Deformation(
        affine * draws[:, :6].unflatten(1, (2, 3)), spline * draws[:, 6:].unflatten(1, (-1, 2))
    )
