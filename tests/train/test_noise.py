from __future__ import annotations

import pytest
import torch

from tests.train.naive import alpha_bars, cosine
from train.noise import (
    NoiseOptions,
    add_noise,
    alphas_cumprod,
    coefficients,
    predicted_x0,
    random_times,
    target,
)

PROCESSES = [
    NoiseOptions(schedule=schedule, prediction=prediction, zero_terminal_snr=zero)  # type: ignore[arg-type]
    for schedule in ("cosine", "linear")
    for prediction, zero in (("v", False), ("v", True), ("epsilon", False))
]


@pytest.mark.parametrize("options", PROCESSES, ids=str)
def test_schedules_equal_their_formulas(options: NoiseOptions) -> None:
    expected = alpha_bars(options.schedule, options.steps, options.zero_terminal_snr)
    assert torch.allclose(alphas_cumprod(options).double(), expected, rtol=2e-3, atol=1e-6)


def test_cosine_is_nichol_and_dhariwals_closed_form() -> None:
    """alpha-bar = f(t) / f(0), but for the last step, whose beta is capped."""
    table = alphas_cumprod(NoiseOptions())
    for t in (0, 1, 250, 500, 750, 990):
        assert float(table[t]) == pytest.approx(cosine((t + 1) / 1000) / cosine(0), rel=1e-3)
    assert 0 < table[-1] < 1e-6


def test_zero_terminal_snr_ends_in_pure_noise() -> None:
    table = alphas_cumprod(NoiseOptions(prediction="v", zero_terminal_snr=True))
    assert table[-1] < 1e-10
    assert float(table[0]) == pytest.approx(float(alphas_cumprod(NoiseOptions())[0]), rel=1e-5)
    assert bool((table.diff() < 0).all())


def test_epsilon_cannot_have_zero_terminal_snr() -> None:
    with pytest.raises(ValueError, match="zero_terminal_snr needs prediction='v'"):
        NoiseOptions(prediction="epsilon", zero_terminal_snr=True)


@pytest.mark.parametrize("options", PROCESSES, ids=str)
def test_the_right_prediction_gives_x0_back_at_every_time(options: NoiseOptions) -> None:
    t = torch.arange(options.steps)
    generator = torch.Generator().manual_seed(0)
    x0, noise = torch.randn(2, len(t), 2, 1, 1, 1, generator=generator)
    noisy = add_noise(options, x0, noise, t)
    again = predicted_x0(options, noisy, target(options, x0, noise, t), t)
    signal, sigma = coefficients(options, t, x0.ndim)
    assert torch.allclose(signal.square() + sigma.square(), torch.ones_like(signal))
    # Epsilon says less and less about x_0 as the signal fades: division amplifies rounding.
    precise = signal.flatten() > (0.01 if options.prediction == "epsilon" else -1)
    assert precise.sum() > 0.9 * options.steps
    assert torch.allclose(again[precise], x0[precise], atol=1e-3)
    assert bool(again.isfinite().all())


def test_added_noise_has_the_variance_of_the_schedule() -> None:
    options, count = NoiseOptions(), 20_000
    generator = torch.Generator().manual_seed(0)
    noise = torch.randn(count, 1, generator=generator)
    noisy = add_noise(options, torch.full((count, 1), 3.0), noise, torch.full((count,), 500))
    alpha_bar = cosine(501 / 1000) / cosine(0)
    assert float(noisy.mean()) == pytest.approx(3 * alpha_bar**0.5, abs=0.02)
    assert float(noisy.std()) == pytest.approx((1 - alpha_bar) ** 0.5, rel=0.02)


def test_times_are_uniform_and_repeatable() -> None:
    options = NoiseOptions(steps=10)
    times = random_times(options, 10_000, torch.Generator().manual_seed(1))
    counts = torch.bincount(times, minlength=10)
    assert len(counts) == 10
    assert 850 < int(counts.min()) <= int(counts.max()) < 1150
    assert times.equal(random_times(options, 10_000, torch.Generator().manual_seed(1)))
