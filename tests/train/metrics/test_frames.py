from __future__ import annotations

import math

import pytest
import torch

from train.metrics.frames import psnr


def test_values_by_hand() -> None:
    """One grey level everywhere: 20 log10(255). One of 12 values off by 6: an error of 3."""
    truth = torch.full((3, 3, 2, 2), 100, dtype=torch.uint8)
    frames = truth.clone()
    frames[0] += 1
    frames[1, 0, 0, 0] = 94
    values = psnr(frames, truth)
    expected = [20 * math.log10(255), 10 * math.log10(255**2 / 3), 100]
    assert values.tolist() == pytest.approx(expected, abs=1e-3)


def test_it_does_not_wrap_around_and_is_symmetric() -> None:
    black, white = torch.zeros(1, 3, 2, 2, dtype=torch.uint8), torch.full((1, 3, 2, 2), 255)
    white = white.to(torch.uint8)
    assert psnr(black, white).item() == pytest.approx(0, abs=1e-5)
    assert psnr(white, black).item() == pytest.approx(0, abs=1e-5)


def test_leading_axes_are_kept() -> None:
    frames = torch.zeros(2, 5, 3, 4, 4, dtype=torch.uint8)
    assert psnr(frames, frames).shape == (2, 5)
