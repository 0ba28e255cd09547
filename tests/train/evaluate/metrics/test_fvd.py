"""The Fréchet distance against closed forms and scipy; the loader of I3D, with small files."""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy.linalg import sqrtm
from torch import Tensor, nn

from shared.errors import UserError
from tests.train.evaluate.metrics.tiny_i3d import TinyI3D, save_script
from train.evaluate.metrics.fvd import (
    LOGITS,
    Gaussian,
    fit_gaussian,
    frechet,
    frechet_distance,
    grouped_frechet,
    load_i3d,
    samples_needed,
    why_too_few_in_groups,
)

MANY = 10_000
"""Samples, as far as the guard is concerned."""


def gaussian(mean: NDArray[np.float64], covariance: NDArray[np.float64]) -> Gaussian:
    return Gaussian(mean, covariance, MANY)


def random_covariance(rng: np.random.Generator, dimensions: int, rank: int) -> NDArray[np.float64]:
    factor = rng.normal(size=(dimensions, rank))
    return factor @ factor.T / rank


def by_sqrtm(one: Gaussian, other: Gaussian) -> float:
    root = sqrtm(one.covariance @ other.covariance)
    apart = ((one.mean - other.mean) ** 2).sum()
    return float(apart + np.trace(one.covariance + other.covariance) - 2 * np.trace(root).real)


def test_shifted_means_alone() -> None:
    """Equal covariances: the squared distance of the means."""
    rng = np.random.default_rng(0)
    covariance = random_covariance(rng, 6, 12)
    shift = np.array([3.0, -4.0, 0, 0, 0, 0])
    one, other = gaussian(np.zeros(6), covariance), gaussian(shift, covariance)
    assert frechet_distance(one, other) == pytest.approx(25, rel=1e-6)
    assert frechet_distance(one, one) == pytest.approx(0, abs=1e-6)


def test_commuting_covariances() -> None:
    """Where they commute it is the sum of (σ₁ − σ₂)² over common axes, however those are turned."""
    turn, _ = np.linalg.qr(np.random.default_rng(1).normal(size=(4, 4)))
    deviations = np.array([1.0, 2.0, 3.0, 0.5]), np.array([2.0, 0.1, 3.0, 4.0])
    sides = [gaussian(np.ones(4), turn @ np.diag(d**2) @ turn.T) for d in deviations]
    expected = ((deviations[0] - deviations[1]) ** 2).sum()
    assert frechet_distance(*sides) == pytest.approx(expected, rel=1e-6)


def test_one_dimension() -> None:
    features = np.array([[0.0], [2.0]]), np.array([[10.0], [14.0]])  # deviations over N: 1 and 2
    sides = [fit_gaussian(side) for side in features]
    assert frechet_distance(*sides) == pytest.approx(11**2 + 1, rel=1e-9)


@settings(max_examples=40, deadline=None)
@given(st.integers(1, 12), st.integers(0, 2**32 - 1))
def test_it_agrees_with_the_root_of_the_product(dimensions: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    sides = [
        gaussian(rng.normal(size=dimensions), random_covariance(rng, dimensions, 3 * dimensions))
        for _ in range(2)
    ]
    found = frechet_distance(*sides)
    assert found == pytest.approx(by_sqrtm(*sides), rel=1e-9)
    assert found == pytest.approx(frechet_distance(*sides[::-1]), rel=1e-9)


@settings(max_examples=40, deadline=None)
@given(st.integers(2, 12), st.integers(1, 12), st.integers(0, 2**32 - 1))
def test_covariances_of_any_rank_keep_their_distance(size: int, rank: int, seed: int) -> None:
    """Such as those of clips that do not move: on the common axes as in as many dimensions."""
    rng = np.random.default_rng(seed)
    rank = min(rank, size)
    turn, _ = np.linalg.qr(rng.normal(size=(size, size)))
    small = [random_covariance(rng, rank, 3 * size) for _ in range(2)]
    flat, other = (turn[:, :rank] @ covariance @ turn[:, :rank].T for covariance in small)
    zero, axis = np.zeros(size), turn[:, -1]
    expected = by_sqrtm(*(gaussian(np.zeros(rank), covariance) for covariance in small))
    found = frechet_distance(gaussian(zero, flat), gaussian(zero, other))
    assert found == pytest.approx(expected, rel=1e-9, abs=1e-9)
    # One more axis on one side alone adds its variance.
    if rank < size:
        taller = gaussian(zero, other + 4 * np.outer(axis, axis))
        assert frechet_distance(gaussian(zero, flat), taller) == pytest.approx(expected + 4)


def test_constant_features_leave_the_other_sides_variance() -> None:
    still = gaussian(np.zeros(5), np.zeros((5, 5)))
    full = gaussian(np.zeros(5), random_covariance(np.random.default_rng(0), 5, 10))
    assert frechet_distance(still, full) == pytest.approx(np.trace(full.covariance), rel=1e-9)


def test_covariance_is_over_n() -> None:
    features = np.random.default_rng(2).normal(size=(50, 3)).astype(np.float32)
    fitted = fit_gaussian(features)
    assert fitted.covariance == pytest.approx(np.cov(features.T, ddof=0), rel=1e-5)
    assert fitted.mean == pytest.approx(features.mean(axis=0), rel=1e-4)
    assert fitted.count == 50


def test_too_few_samples_are_refused_with_what_to_do() -> None:
    rng = np.random.default_rng(3)
    few, enough = (fit_gaussian(rng.normal(size=(count, 8))) for count in (8, samples_needed(8)))
    with pytest.raises(UserError, match=r"generated: 8 clips for 8 features.*at least 9.*--count"):
        frechet_distance(few, enough)
    with pytest.raises(UserError, match=r"real: 8 clips.*more windows of each video"):
        frechet_distance(enough, few)
    assert frechet_distance(enough, enough) == pytest.approx(0, abs=1e-4)


CPU = torch.device("cpu")


class NoArguments(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x.float().mean(dim=(2, 3, 4))


class FewLogits(nn.Module):
    def forward(
        self, x: Tensor, rescale: bool = False, resize: bool = False, return_features: bool = False
    ) -> Tensor:
        return x.float().mean(dim=(2, 3, 4))


def clips(count: int) -> Tensor:
    values = np.random.default_rng(0).integers(0, 256, (count, 5, 3, 8, 8), np.uint8)
    return torch.from_numpy(values)


def test_it_is_called_as_stylegan_v_calls_it(tmp_path: Path) -> None:
    """uint8 0-255, channels before time, all three arguments true, batches of no consequence."""
    path = save_script(TinyI3D(), tmp_path)
    i3d = load_i3d(path, CPU)
    frames = clips(11)
    logits = i3d(frames)
    assert logits.shape == (11, LOGITS)
    assert logits.dtype == np.float32
    scaled = frames.double() / 127.5 - 1
    assert logits[:, :3] == pytest.approx(scaled.mean(dim=(1, 3, 4)).numpy(), abs=1e-4)
    assert logits[:, 3] == pytest.approx(scaled[:, -1].mean(dim=(1, 2, 3)).numpy(), abs=1e-4)
    assert logits[:, 4].tolist() == [111] * 11
    assert i3d(frames[7:8]) == pytest.approx(logits[7:8], abs=1e-4)
    assert i3d.sha256 == hashlib.sha256(path.read_bytes()).hexdigest()


def test_a_file_that_is_not_there_is_named_with_its_source(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"none\.pt: no such file; StyleGAN-V's file is at https"):
        load_i3d(tmp_path / "none.pt", CPU)


def test_other_files_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "weights.pt"
    path.write_bytes(b"PK not a script")
    with pytest.raises(UserError, match="not a TorchScript file"):
        load_i3d(path, CPU)
    torch.save({"weight": torch.zeros(3)}, path)
    with pytest.raises(UserError, match="not a TorchScript file"):
        load_i3d(path, CPU)


def test_other_signatures_and_outputs_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"must take uint8 clips.*rescale=True"):
        load_i3d(save_script(NoArguments(), tmp_path), CPU)
    with pytest.raises(UserError, match=r"of one clip it gives \(1, 3\); it must give 400 logits"):
        load_i3d(save_script(FewLogits(), tmp_path), CPU)


def shifted(count: int, shift: float, seed: int = 0) -> NDArray[np.float64]:
    """The same cloud of points in three dimensions, moved along one."""
    points = np.random.default_rng(seed).normal(size=(count, 3))
    return points + np.array([shift, 0, 0])


def test_within_groups_it_is_mean_and_deviation_of_the_groups_distances() -> None:
    """Group 0 is off by 1, group 7 by 3: distances 1 and 9. Over all, means would nearly cancel."""
    real = np.concatenate([shifted(50, 0), shifted(50, 0), shifted(4, 99)])
    real_group = np.repeat([0, 7, -1], [50, 50, 4])
    generated = np.concatenate([shifted(50, 3), shifted(50, -1)])
    found = grouped_frechet(generated, np.repeat([7, 0], 50), real, real_group)
    assert found.mean == pytest.approx(5, abs=1e-4)
    assert found.deviation == pytest.approx(4, abs=1e-4)
    assert found.groups == 2
    assert frechet(generated, real[:100]) < 4


def test_the_smallest_group_decides() -> None:
    group = np.repeat([0, 1], [10, 3])
    assert why_too_few_in_groups("class", group, group, 2) is None
    complaint = why_too_few_in_groups("class", group, group, 3)
    assert complaint is not None
    assert "generated, smallest class: 3 clips for 3 features" in complaint
    assert "about 8 clips in all" in complaint
    real_only = why_too_few_in_groups("class", np.repeat([0, 1], 9), group, 3)
    assert real_only is not None
    assert real_only.startswith("real, smallest class: 3")
    missing = why_too_few_in_groups("class", np.zeros(9), group, 2)
    assert missing is not None
    assert "smallest class: 0" in missing
    with pytest.raises(UserError, match="3 clips for 3 features"):
        grouped_frechet(shifted(13, 0), group, shifted(13, 0), group)
    assert "no subject" in str(why_too_few_in_groups("subject", group, np.full(4, -1), 2))
