from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from scipy.ndimage import gaussian_filter

from train.evaluate.metrics.frames import decibels, nearest_psnr, psnr, squared_error, ssim


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
    frames = torch.zeros(2, 5, 3, 12, 12, dtype=torch.uint8)
    assert psnr(frames, frames).shape == (2, 5)
    assert ssim(frames, frames).shape == (2, 5)


def random_frames(count: int, seed: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Smooth pictures and noisy copies of them."""
    rng = np.random.default_rng(seed)
    smooth = gaussian_filter(rng.uniform(0, 255, (count, 3, 24, 20)), (0, 0, 2, 2))
    noisy = smooth + rng.normal(0, 8, smooth.shape)
    clean, other = (torch.from_numpy(x.clip(0, 255).astype(np.uint8)) for x in (smooth, noisy))
    return other, clean


@pytest.mark.slow
def test_psnr_and_ssim_are_those_of_torchmetrics() -> None:
    # Imported here: it takes seconds, in each process that collects the tests.
    from torchmetrics.functional.image import (
        peak_signal_noise_ratio,
        structural_similarity_index_measure,
    )

    frames, truth = random_frames(3, 0)
    pair = frames.float(), truth.float()
    peers = structural_similarity_index_measure(*pair, reduction="none", data_range=255.0)
    assert ssim(frames, truth).tolist() == pytest.approx(peers.tolist(), abs=1e-5)
    for value, one, other in zip(psnr(frames, truth), *pair, strict=True):
        peer = peak_signal_noise_ratio(one, other, data_range=255.0)
        assert float(value) == pytest.approx(float(peer), abs=1e-4)


def test_the_nearest_sample_is_found_for_each_clip_by_itself() -> None:
    """Off by one level everywhere in one of two samples: 20 log10(255); frame 0 does not count."""
    real = torch.full((2, 3, 3, 4, 4), 100, dtype=torch.uint8)
    samples = torch.stack([real + 9, real + 9])  # (S, N, T, 3, H, W)
    samples[0, 1, 1:] = 101
    samples[1, 0, 1:] = 99
    assert nearest_psnr(samples.flatten(0, 1), real) == pytest.approx(20 * math.log10(255))
    other = 20 * math.log10(255 / 9)
    assert nearest_psnr(samples[0], real) == pytest.approx((other + 20 * math.log10(255)) / 2)


def test_over_the_clip_it_is_of_the_pooled_error() -> None:
    frames, truth = random_frames(4, 1)
    pooled = decibels(squared_error(frames, truth).mean())
    error = (frames.double() - truth.double()).square().mean()
    assert float(pooled) == pytest.approx(10 * math.log10(255**2 / float(error)), abs=1e-6)


def plain_ssim(one: np.ndarray, other: np.ndarray) -> float:
    """Wang et al. 2004, equation 13, of one channel, which is mirrored at its edges."""
    first, second = (255 * 0.01) ** 2, (255 * 0.03) ** 2
    x, y = one.astype(np.float64), other.astype(np.float64)

    def mean(values: np.ndarray) -> np.ndarray:
        return gaussian_filter(values, 1.5, truncate=5 / 1.5, mode="mirror")

    mx, my = mean(x), mean(y)
    vx, vy, cxy = mean(x * x) - mx**2, mean(y * y) - my**2, mean(x * y) - mx * my
    index = (2 * mx * my + first) * (2 * cxy + second)
    return float((index / ((mx**2 + my**2 + first) * (vx + vy + second))).mean())


def test_ssim_is_that_of_its_paper() -> None:
    frames, truth = random_frames(2, 2)
    for k, value in enumerate(ssim(frames, truth)):
        channels = [plain_ssim(frames[k, c].numpy(), truth[k, c].numpy()) for c in range(3)]
        assert float(value) == pytest.approx(np.mean(channels), abs=1e-4)
    assert ssim(truth, truth).tolist() == pytest.approx([1, 1], abs=1e-5)


def test_frames_smaller_than_the_window_have_no_ssim() -> None:
    small = torch.zeros(1, 3, 10, 12, dtype=torch.uint8)
    with pytest.raises(ValueError, match="11x11"):
        ssim(small, small)
