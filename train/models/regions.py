"""Flow from moving regions: the unsupervised flow predictor of MRAA, which LFDM uses.

Motion Representations for Articulated Animation (Siarohin et al. 2021), as in LFDM (Ni et al. 2023,
section 4.2). Regions are found in each of two pictures; region k moves by the affine map that takes
its ellipse in the one to that in the other; a network mixes these motions, and that of the
background, pixel by pixel.

Differences from MRAA: group in place of batch normalisation; heat maps cover the whole picture;
orientation fades where a region is round (see `affine_between`), which also bounds the gradients;
masks start with nearly all weight on the background, and the background at rest.

Coordinates are in float32, under autocast too; x before y; their unit is half of the picture's
longer side, their origin the picture's centre. Shapes: N pairs, K regions, P = h w cells.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Annotated, Literal

import torch
import torch.nn.functional as F
from pydantic import Field
from pydantic.dataclasses import dataclass as options_dataclass
from torch import Tensor, nn

from train.models.equivariance import random_deformation
from train.models.flow_predictors import FLOW_CELL, FlowPredictor
from train.models.hourglass import GROUPS, DownPath, Hourglass
from train.models.layers import constant, full_precision, reduce, zero_initialise
from train.options import STRICT

_ROUND = 0.05
"""Anisotropy below which a region counts as round: axes that differ by 5%."""

_OPENING = math.exp(-5)
"""Weight of all regions' motions together before training, relative to the background's."""

_SHIFT_WEIGHT = _AFFINE_WEIGHT = 10.0

Positive = Annotated[int, Field(ge=1)]
Width = Annotated[int, Field(ge=GROUPS, multiple_of=GROUPS)]


@options_dataclass(frozen=True, config=STRICT)
class RegionsOptions:
    """Options of `RegionPredictor`; the defaults are those published for 128x128."""

    regions: Positive = 10
    reduction: Literal[1, 2, 4, 8] = 4
    """Regions are found in the picture at 1 / reduction of its size."""
    region_width: Width = 32
    """Channels at the finest level of the network that finds regions."""
    background_width: Width = 32
    """The same of the network that finds the background's motion."""
    mix_width: Width = 64
    """The same of the network that mixes the motions, at a quarter of the picture's size."""
    halvings: Positive = 5
    """Coarser levels of each network; channels double at each."""
    max_width: Width = 1024
    """Greatest number of channels."""
    temperature: Annotated[float, Field(gt=0)] = 0.1
    """Of the softmax over places that makes a heat map."""


@dataclass(frozen=True)
class Regions:
    """Ellipses of K regions: the first two moments of their heat maps.

    Attributes:
        shift: means, shape (N, K, 2).
        covariance: shape (N, K, 2, 2); positive definite.
    """

    shift: Tensor
    covariance: Tensor

    @classmethod
    def of(cls, heat: Tensor) -> Regions:
        """Moments of heat maps (N, K, h, w) that cover the picture and sum to one each.

        A map is constant within a cell, which adds a cell's own variance (side^2 / 12): a region
        that has shrunk to one cell still has an extent.
        """
        weight = heat.flatten(2)[..., None]  # (N, K, P, 1)
        centres = cell_centres(heat)
        shift = (weight * centres).sum(2)
        away = centres - shift[:, :, None]
        covariance = ((weight * away)[..., None] * away[..., None, :]).sum(2)
        cell = torch.eye(2, device=heat.device) / (3 * max(heat.shape[-2:]) ** 2)
        return cls(shift, covariance + cell)

    def gaussians(self, centres: Tensor) -> Tensor:
        """exp(-d^2 / 2), d the Mahalanobis distance of centres (P, 2): shape (N, K, P)."""
        x, y = (centres - self.shift[:, :, None]).unbind(-1)  # (N, K, P)
        xx, xy, yy = (part[..., None] for part in _symmetric(self.covariance))
        distance = (yy * x * x - 2 * xy * x * y + xx * y * y) / (xx * yy - xy * xy)
        return torch.exp(-distance / 2)


class RegionPredictor(FlowPredictor):
    """Flow and occlusion between two pictures, by the motions of regions and of the background.

    Before training the flow is near zero.
    """

    options_type = RegionsOptions
    optimiser = "adamw"  # its last layers are coordinates and logits, no hidden activations

    def __init__(self, options: RegionsOptions) -> None:
        super().__init__()
        self.options = options
        candidates = options.regions + 1
        depth = (options.halvings, options.max_width)
        self.region_features = Hourglass(3, options.region_width, *depth)
        self.region_maps = _output(self.region_features.outputs, options.regions)
        self.background_features = DownPath(6, options.background_width, *depth)
        self.background = zero_initialise(nn.Linear(self.background_features.widths[-1], 6))
        self.mix_features = Hourglass(4 * candidates, options.mix_width, *depth)
        self.masks = zero_initialise(_output(self.mix_features.outputs, candidates))
        start = math.log(options.regions / _OPENING)
        nn.init.constant_(self.masks.get_parameter("bias")[:1], start)
        self.occlusion = _output(self.mix_features.outputs, 1)

    def forward(
        self, reference: Tensor, driving: Tensor, vectors: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        """Flow, float32, shape (N, 2, H/4, W/4), and visibility, shape (N, 1, H/4, W/4).

        Flow is backward, in pixels of the full-size picture: the content of `driving` at p comes
        from p + flow in `reference`. Visibility, in (0, 1), is 1 where that content is seen in
        `reference`. The values of cell (i, j) belong to the point (4 i + 1.5, 4 j + 1.5).

        Args:
            reference: in [-1, 1], shape (N, 3, H, W), H and W multiples of 4 and `reduction`.
            driving: likewise.

        Raises:
            UserError: the picture is too small to be halved so often.
        """
        source, target = self.find(reference), self.find(driving)
        background = self.background_affine(reference, driving)
        return self.mix(reference, source, target, background)

    def find(self, picture: Tensor) -> Regions:
        """Regions of pictures (N, 3, H, W)."""
        return Regions.of(self.heat_maps(picture))

    def heat_maps(self, picture: Tensor) -> Tensor:
        """Heat map of each region, float32, shape (N, K, H / reduction, W / reduction); sum 1."""
        features = self.region_features(reduce(picture, self.options.reduction))
        with full_precision(picture.device):
            logits = self.region_maps(features.float()) / self.options.temperature
            return logits.flatten(2).softmax(dim=-1).view_as(logits)

    def background_affine(self, reference: Tensor, driving: Tensor) -> Tensor:
        """Displacement of the background, an affine map [E, t], float32, shape (N, 2, 3)."""
        pair = torch.cat([reference, driving], dim=1)
        features = self.background_features(pair)[-1].mean(dim=(2, 3))
        with full_precision(reference.device):
            return self.background(features.float()).unflatten(1, (2, 3))

    def mix(
        self, reference: Tensor, source: Regions, target: Regions, background: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Flow and visibility, see `forward`, of known motions.

        Args:
            reference: see there.
            source: regions of the reference.
            target: regions of the driving picture.
            background: see `background_affine`.
        """
        picture = reduce(reference, FLOW_CELL)
        height, width = picture.shape[-2:]
        centres = cell_centres(picture)
        with full_precision(reference.device):
            motions = torch.cat(
                [
                    _apply(background[:, None, :, :2], centres) + background[:, None, None, :, 2],
                    region_displacements(source, target, centres),
                ],
                dim=1,
            )  # (N, K + 1, P, 2)
            heat = target.gaussians(centres) - source.gaussians(centres)
            heat = F.pad(heat, (0, 0, 1, 0)).unflatten(-1, (height, width))  # no background's
            warped = _warp(picture, centres + motions)
            seen = torch.cat([heat[:, :, None], warped], dim=2)  # (N, K + 1, 4, h, w)
        features = self.mix_features(seen.flatten(1, 2))
        with full_precision(reference.device):
            features = features.float()
            masks = self.masks(features).softmax(dim=1).flatten(2)  # (N, K + 1, P)
            flow = (masks[..., None] * motions).sum(dim=1).mT.unflatten(-1, (height, width))
            half_side_px = max(reference.shape[-2:]) / 2
            return half_side_px * flow, torch.sigmoid(self.occlusion(features))

    def equivariance_loss(self, driving: Tensor, generators: list[torch.Generator]) -> Tensor:
        """Failure of regions to move with the picture under a random deformation T: (N,).

        In the deformed picture X(p) = D(T(p)) a region at p with covariance C must be the one that
        is at T(p) with covariance J C J' in D, J the Jacobian of T at p. Mean absolute error of the
        shift, and of `affine_between` the two covariances, which is the identity if they agree;
        weight 10 each. Covariances rather than their square roots: those do not follow a shear.

        Args:
            driving: D, in [-1, 1], shape (N, 3, H, W).
            generators: one a row, on its device.
        """
        found = self.find(driving)
        with full_precision(driving.device):
            deformation = random_deformation(generators)
            places = deformation(cell_centres(driving).expand(len(driving), -1, -1))[:, None]
            deformed = _warp(driving.float(), places, padding="reflection")[:, 0]
        moved = self.find(deformed)
        with full_precision(driving.device):
            jacobian = deformation.jacobian(moved.shift)
            expected = _product(_product(jacobian, moved.covariance), jacobian.mT)
            rest = affine_between(found.covariance, expected) - torch.eye(2, device=driving.device)
            shift = (found.shift - deformation(moved.shift)).abs().mean(dim=(1, 2))
            return _SHIFT_WEIGHT * shift + _AFFINE_WEIGHT * rest.abs().mean(dim=(1, 2, 3))


def cell_centres(maps: Tensor) -> Tensor:
    """Centres of the cells of maps (..., h, w) that cover the picture, row by row: (P, 2)."""
    height, width = maps.shape[-2:]
    y, x = (
        (2 * torch.arange(count, device=maps.device) - (count - 1)) / max(height, width)
        for count in (height, width)
    )
    return torch.cartesian_prod(y, x).flip(-1)


def affine_between(source: Tensor, target: Tensor) -> Tensor:
    """The matrix M with M target M' = source that turns the least: shape (..., 2, 2).

    MRAA's A_s A_t^-1, with A = U S^(1/2) of a covariance U S U'. The covariance leaves
    open in which direction an axis points, that is, whether M or -M is meant: this one turns by at
    most 90 degrees.

    With U a rotation by the principal angle, d the difference of these angles, R(d) a rotation and
    D the ratios of the axes, M = U_s D U_t' = R(d) (U_t D U_t'). So only twice the angles occur,
    whose cosines and sines are entries of the covariances. Where regions are round these directions
    mean nothing and have no bounded gradient: there d and the stretch U_t D U_t' - I fade to zero.
    M is thus exact up to the order of (`_ROUND` / anisotropy)^2.

    Args:
        source: covariances, shape (..., 2, 2), symmetric and positive definite.
        target: likewise.
    """
    long_s, short_s, a_s = _axes(source)
    long_t, short_t, a_t = _axes(target)
    double = _double_angle_between(a_s, a_t)
    direction = a_t + _rotate(a_s, -double)  # twice the target's angle, from both regions
    length = (direction.square().sum(-1, keepdim=True) + _ROUND**2).sqrt()
    cosine, sine = (direction / length).unbind(-1)
    long, short = (long_s / long_t).sqrt(), (short_s / short_t).sqrt()
    mean, half = (long + short) / 2, (long - short) / 2
    # Columns of mean I + half [[cosine, sine], [sine, -cosine]], each turned by d.
    columns = [
        torch.stack([mean + half * cosine, half * sine], dim=-1),
        torch.stack([half * sine, mean - half * cosine], dim=-1),
    ]
    return torch.stack([_rotate(column, double / 2) for column in columns], dim=-1)


def _axes(covariance: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Eigenvalues, the greater first, and the anisotropy: shapes (...), (...), (..., 2).

    The anisotropy points at twice the principal angle; its length, 0 for a round region and 1 for a
    line, is the eigenvalues' difference divided by their sum.
    """
    xx, xy, yy = _symmetric(covariance)
    mean = (xx + yy) / 2
    anisotropy = torch.stack([(xx - yy) / 2, xy], dim=-1) / mean[..., None]
    # The root of exactly zero has no gradient.
    length = (anisotropy.square().sum(-1) + torch.finfo(mean.dtype).eps ** 2).sqrt()
    return mean * (1 + length), mean * (1 - length), anisotropy


def _double_angle_between(a_s: Tensor, a_t: Tensor) -> Tensor:
    """Twice the angle from target to source, in (-pi, pi), of anisotropies (..., 2): shape (...).

    The argument of the complex number a_s conj(a_t) + _ROUND^2.
    """
    (x_s, y_s), (x_t, y_t) = a_s.unbind(-1), a_t.unbind(-1)
    real, imaginary = x_s * x_t + y_s * y_t + _ROUND**2, x_t * y_s - y_t * x_s
    # Zero, of nearly round regions at a right angle, has no argument and would give no gradient.
    none = real.square() + imaginary.square() < _ROUND**8
    return torch.atan2(imaginary, torch.where(none, _ROUND**4, real))


def _symmetric(matrix: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Entries xx, xy, yy of symmetric matrices (..., 2, 2)."""
    return matrix[..., 0, 0], matrix[..., 0, 1], matrix[..., 1, 1]


def _rotate(vector: Tensor, angle: Tensor) -> Tensor:
    """Vectors (..., 2) turned by angles (...) from x towards y."""
    (x, y), cosine, sine = vector.unbind(-1), angle.cos(), angle.sin()
    return torch.stack([cosine * x - sine * y, sine * x + cosine * y], dim=-1)


def _product(left: Tensor, right: Tensor) -> Tensor:
    """Matrix products (..., 2, 2); in full float32 on devices that round those of `@`."""
    return (left[..., :, :, None] * right[..., None, :, :]).sum(-2)


def region_displacements(source: Regions, target: Regions, centres: Tensor) -> Tensor:
    """Displacement of each point under each region's motion, from target to source: (N, K, P, 2).

    M (z - shift_t) + shift_s - z with M from `affine_between`; exactly 0 between equal regions.

    Args:
        source, target: K regions each.
        centres: points z, shape (P, 2).
    """
    matrix = affine_between(source.covariance, target.covariance)
    change = matrix - torch.eye(2, device=centres.device)
    away = centres - target.shift[:, :, None]
    return _apply(change, away) + (source.shift - target.shift)[:, :, None]


def _apply(matrix: Tensor, points: Tensor) -> Tensor:
    """Matrices (N, K, 2, 2) times points (N, K, P, 2) or (P, 2)."""
    return (matrix[:, :, None] * points[..., None, :]).sum(-1)


def _warp(picture: Tensor, places: Tensor, padding: str = "border") -> Tensor:
    """G pictures, each the given one looked up at places in it: (N, G, C, h, w).

    Args:
        picture: float32, shape (N, C, h, w).
        places: shape (N, G, h w, 2).
        padding: of `grid_sample`.
    """
    height, width = picture.shape[-2:]
    # grid_sample's unit is half of each side of its own; -1 and 1 are the picture's edges.
    own_unit = constant((width, height), places.device) / max(height, width)
    grid = (places / own_unit).unflatten(2, (height, width)).flatten(1, 2)  # (N, G h, w, 2)
    found = F.grid_sample(picture, grid, padding_mode=padding, align_corners=False)
    return found.unflatten(2, (-1, height)).transpose(1, 2)


def _output(inputs: int, outputs: int) -> nn.Conv2d:
    return nn.Conv2d(inputs, outputs, 7, padding=3)
