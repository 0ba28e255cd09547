from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from shared.errors import UserError
from train.metrics.best_of import best_of
from train.metrics.fvd import frechet, grouped_frechet, why_too_few_in_groups


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
    assert found.spread == pytest.approx(4, abs=1e-4)
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


def test_average_and_best_of_samples() -> None:
    """Two clips of three samples each, in any order."""
    clip = np.array([4, 9, 9, 4, 4, 9])
    values = np.array([1.0, 10, 20, 2, 3, 60])
    found = best_of(values, values + 1, clip)
    assert (found.samples, found.average, found.best) == (3, 16, 31.5)
    assert (found.average_with_given, found.best_with_given) == (17, 32.5)
    assert best_of(values, values, clip, lower_is_better=True).best == 5.5
    with pytest.raises(ValueError, match="2 to 3 samples"):
        best_of(values[:5], values[:5], clip[:5])
