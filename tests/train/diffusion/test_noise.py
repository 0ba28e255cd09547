from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch

from tests.train.naive import alpha_bars, cosine
from train.diffusion.noise import (
    NoiseOptions,
    add_noise,
    alphas_cumprod,
    coefficients,
    loss_weight,
    predicted_x0,
    prediction_for,
    random_times,
    target,
)

PROCESSES = [
    NoiseOptions(schedule=schedule, prediction=prediction, zero_terminal_snr=zero)  # type: ignore[arg-type]
    for schedule in ("cosine", "linear", "scaled_linear")
    for prediction, zero in (("v", False), ("v", True), ("epsilon", False))
]


@pytest.mark.parametrize("options", PROCESSES, ids=str)
def test_schedules_equal_their_formulas(options: NoiseOptions) -> None:
    expected = alpha_bars(options.schedule, options.steps, options.zero_terminal_snr)
    assert torch.allclose(alphas_cumprod(options).double(), expected, rtol=2e-3, atol=1e-6)


@pytest.mark.parametrize("options", PROCESSES, ids=str)
def test_schedules_equal_those_of_diffusers_bit_for_bit(options: NoiseOptions) -> None:
    from diffusers import DDPMScheduler

    schedules: dict[str, dict[str, Any]] = {
        "cosine": {"beta_schedule": "squaredcos_cap_v2"},
        "linear": {"beta_schedule": "linear"},
        "scaled_linear": {
            "beta_schedule": "scaled_linear", "beta_start": 0.0015, "beta_end": 0.0195
        },
    }  # fmt: skip
    scheduler = DDPMScheduler(
        options.steps,
        **schedules[options.schedule],
        prediction_type="v_prediction" if options.prediction == "v" else "epsilon",
        rescale_betas_zero_snr=options.zero_terminal_snr,
    )
    assert alphas_cumprod(options).equal(scheduler.alphas_cumprod)


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
def test_the_right_prediction_gives_x0_at_every_time(options: NoiseOptions) -> None:
    t = torch.arange(options.steps)
    generator = torch.Generator().manual_seed(0)
    x0, noise = torch.randn(2, len(t), 2, 1, 1, 1, generator=generator)
    noisy = add_noise(options, x0, noise, t)
    again = predicted_x0(options, noisy, target(options, x0, noise, t), t)
    signal, sigma = coefficients(options, t, x0.ndim)
    assert torch.allclose(signal.square() + sigma.square(), torch.ones_like(signal))
    # As the signal fades, division by it amplifies rounding of epsilon.
    precise = signal.flatten() > (0.01 if options.prediction == "epsilon" else -1)
    assert precise.sum() > 0.9 * options.steps
    assert torch.allclose(again[precise], x0[precise], atol=1e-3)
    assert bool(again.isfinite().all())


@pytest.mark.parametrize("options", PROCESSES, ids=str)
def test_prediction_for_inverts_predicted_x0(options: NoiseOptions) -> None:
    t = torch.arange(options.steps)[:950]  # beyond, division by the signal amplifies rounding
    generator = torch.Generator().manual_seed(0)
    noisy, output = torch.randn(2, len(t), 2, 1, generator=generator)
    again = prediction_for(options, noisy, predicted_x0(options, noisy, output, t), t)
    assert torch.allclose(again, output, atol=2e-3)


@pytest.mark.parametrize("options", PROCESSES, ids=str)
def test_min_snr_weighs_errors_of_x0_by_the_clipped_snr(options: NoiseOptions) -> None:
    """Hang et al. 2023, section 3.4: min(SNR, gamma) on x_0 for either prediction."""
    weighted = replace(options, loss_weight="min_snr", min_snr_gamma=5.0)
    t = torch.arange(0, 950, 7)
    generator = torch.Generator().manual_seed(0)
    noisy, output, wrong = torch.randn(3, len(t), 4, generator=generator).double()
    table = alpha_bars(options.schedule, options.steps, options.zero_terminal_snr)[t]
    clipped = (table / (1 - table)).clamp_max(5.0)
    one, other = (predicted_x0(options, noisy, o, t).double() for o in (output, wrong))
    on_x0 = clipped * (one - other).square().mean(1)
    on_output = loss_weight(weighted, t).double() * (output - wrong).square().mean(1)
    assert torch.allclose(on_output, on_x0, rtol=2e-2)
    assert (clipped == 5).any() and (clipped < 5).any()


@pytest.mark.parametrize("options", PROCESSES, ids=str)
def test_weights_are_one_or_finite(options: NoiseOptions) -> None:
    t = torch.arange(options.steps)
    assert loss_weight(options, t).equal(torch.ones(options.steps))
    weights = loss_weight(replace(options, loss_weight="min_snr"), t)
    assert bool((weights.isfinite() & (weights >= 0) & (weights <= 1)).all())


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
