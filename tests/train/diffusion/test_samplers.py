"""Samplers against a known answer: Gaussian data, whose best denoiser is linear.

For x_0 ~ N(m, S) and x_t = a x_0 + s eps, Cov x_t = a^2 S + s^2 I, and
E[x_0 | x_t] = m + a S (a^2 S + s^2 I)^-1 (x_t - a m), E[eps | x_t] = (x_t - a E[x_0 | x_t]) / s.
"""

from __future__ import annotations

import pytest
import torch
from pydantic import ValidationError
from torch import Tensor

from tests.train.naive import alpha_bars, ddim_moments
from train.diffusion.noise import NoiseOptions
from train.diffusion.objective import Denoise
from train.diffusion.samplers import SAMPLERS as ALL
from train.diffusion.samplers import SamplerOptions, sample, sampling_times

MEAN = torch.tensor([0.7, -0.3, 0.0], dtype=torch.float64)
COVARIANCE = torch.tensor(
    [[0.25, 0.12, 0.0], [0.12, 0.16, -0.05], [0.0, -0.05, 1.44]], dtype=torch.float64
)
COUNT = 4096

PROCESSES = [
    NoiseOptions(schedule=schedule, prediction=prediction, zero_terminal_snr=zero)  # type: ignore[arg-type]
    for schedule in ("cosine", "linear")
    for prediction, zero in (("v", False), ("v", True), ("epsilon", False))
]
PROCESS_NAMES = [
    f"{options.schedule}-{options.prediction}{'-zero' * options.zero_terminal_snr}"
    for options in PROCESSES
]
SAMPLERS = [
    SamplerOptions(name="ddpm", steps=250),
    SamplerOptions(name="ddim", steps=200),
    SamplerOptions(name="ddim", steps=250, eta=1.0),
    SamplerOptions(name="dpm++", steps=40),
]


def gaussian_denoiser(options: NoiseOptions, mean: Tensor = MEAN) -> Denoise:
    """Float64 inside: 1 - alpha-bar is not rounded away where there is little noise."""
    table = alpha_bars(options.schedule, options.steps, options.zero_terminal_snr)

    def denoise(noisy: Tensor, t: Tensor) -> Tensor:
        time = int(t[0])
        signal, sigma = table[time].sqrt(), (1 - table[time]).sqrt()
        total = signal**2 * COVARIANCE + sigma**2 * torch.eye(len(mean), dtype=torch.float64)
        away = (noisy.double().flatten(1) - signal * mean) @ torch.linalg.inv(total)
        epsilon, x0 = sigma * away, mean + signal * away @ COVARIANCE
        output = epsilon if options.prediction == "epsilon" else signal * epsilon - sigma * x0
        return output.view(noisy.shape).float()

    return denoise


def draw(
    sampler: SamplerOptions, options: NoiseOptions, seed: int = 0, count: int = COUNT
) -> Tensor:
    """Samples, shape (count, 3)."""
    generator = torch.Generator().manual_seed(seed)
    noise = torch.randn(count, 3, 1, 1, 1, generator=generator)
    return sample(gaussian_denoiser(options), noise, sampler, options, generator).flatten(1)


def assert_moments(drawn: Tensor, mean: Tensor, covariance: Tensor, discretisation: float) -> None:
    """Equal within five standard errors of the draw and the error of discretisation."""
    variance = covariance.diagonal()
    error_of_mean = (variance / len(drawn)).sqrt()
    error_of_covariance = ((variance * variance[:, None] + covariance**2) / len(drawn)).sqrt()
    largest = (variance * variance[:, None]).sqrt()
    away = (drawn.double().mean(0) - mean).abs()
    assert bool((away <= 5 * error_of_mean + discretisation * variance.sqrt()).all()), away
    apart = (drawn.double().T.cov() - covariance).abs()
    assert bool((apart <= 5 * error_of_covariance + discretisation * largest).all()), apart


@pytest.mark.parametrize("sampler", SAMPLERS, ids=lambda s: f"{s.name}-{s.eta:g}")
@pytest.mark.parametrize("options", PROCESSES, ids=PROCESS_NAMES)
def test_gaussian_data_is_sampled(sampler: SamplerOptions, options: NoiseOptions) -> None:
    """Mean and covariance, for each prediction and process."""
    assert_moments(draw(sampler, options), MEAN, COVARIANCE, discretisation=0.05)


@pytest.mark.parametrize("options", PROCESSES, ids=PROCESS_NAMES)
@pytest.mark.parametrize(("steps", "eta"), [(3, 0.0), (7, 0.5), (7, 1.0), (600, 0.0)])
def test_ddim_has_the_moments_of_its_formula_at_any_number_of_steps(
    options: NoiseOptions, steps: int, eta: float
) -> None:
    """DDIM's own moments at any number of steps; DDPM is DDIM with eta = 1.

    600 does not divide 1000: the noise left at each step must be that of the network's time.
    """
    times = sampling_times(steps, options.steps).tolist()
    table = alpha_bars(options.schedule, options.steps, options.zero_terminal_snr)
    mean, covariance = ddim_moments(MEAN, COVARIANCE, table[times].tolist(), eta)
    drawn = draw(SamplerOptions(name="ddim", steps=steps, eta=eta), options)
    assert_moments(drawn, mean, covariance, discretisation=2e-3)
    if eta == 1:
        ancestral = draw(SamplerOptions(name="ddpm", steps=steps), options)
        assert torch.allclose(ancestral, drawn, atol=2e-3)


@pytest.mark.parametrize("options", PROCESSES, ids=PROCESS_NAMES)
@pytest.mark.parametrize("steps", [1, 2, 13, 1000])
def test_the_solver_converges_and_stays_finite_at_any_number_of_steps(
    options: NoiseOptions, steps: int
) -> None:
    drawn = draw(SamplerOptions(name="dpm++", steps=steps), options, count=512)
    assert bool(drawn.isfinite().all())
    if steps > 500:
        assert_moments(drawn, MEAN, COVARIANCE, discretisation=0.01)


def test_second_order_needs_fewer_steps() -> None:
    """By the covariance that is lost in 12 steps, which DDIM loses to first order."""

    def lost(name: str) -> float:
        drawn = draw(SamplerOptions(name=name, steps=12), NoiseOptions(prediction="v"))
        return float((drawn.double().T.cov() - COVARIANCE).abs().max())

    assert lost("dpm++") < lost("ddim") / 2


@pytest.mark.parametrize("name", list(ALL))
def test_the_wrong_parametrisation_fails(name: str) -> None:
    """The tests above can fail: a network that predicts epsilon, read as v."""
    generator = torch.Generator().manual_seed(0)
    noise = torch.randn(COUNT, 3, 1, 1, 1, generator=generator)
    wrong, options = gaussian_denoiser(NoiseOptions()), NoiseOptions(prediction="v")
    sampler = SamplerOptions(name=name, steps=25)
    drawn = sample(wrong, noise, sampler, options, generator).flatten(1)
    with pytest.raises(AssertionError):
        assert_moments(drawn, MEAN, COVARIANCE, discretisation=0.1)


@pytest.mark.parametrize("name", list(ALL))
def test_a_seed_decides_the_sample(name: str) -> None:
    sampler, options = SamplerOptions(name=name, steps=5), NoiseOptions(prediction="v")
    one = draw(sampler, options, 1, count=8)
    assert one.equal(draw(sampler, options, 1, count=8))
    assert not one.equal(draw(sampler, options, 2, count=8))


@pytest.mark.parametrize(("name", "eta"), [("ddim", 0.0), ("ddim", 0.5), ("ddpm", 0), ("dpm++", 0)])
def test_ddpm_and_ddim_with_eta_add_noise_at_each_step(name: str, eta: float) -> None:
    sampler, options = SamplerOptions(name=name, steps=5, eta=eta), NoiseOptions(prediction="v")
    noise = torch.randn(8, 3, 1, 1, 1, generator=torch.Generator().manual_seed(0))
    one, other = (
        sample(
            gaussian_denoiser(options), noise, sampler, options, torch.Generator().manual_seed(seed)
        )
        for seed in (1, 2)
    )
    assert one.equal(other) == (name == "dpm++" or (name == "ddim" and eta == 0))


@pytest.mark.parametrize(("name", "eta"), [("ddpm", 0.0), ("ddim", 1.0)])
def test_a_generator_for_each_clip_makes_clips_independent(name: str, eta: float) -> None:
    sampler, options = SamplerOptions(name=name, steps=5, eta=eta), NoiseOptions(prediction="v")
    noise = torch.randn(3, 3, 1, 1, 1, generator=torch.Generator().manual_seed(0))

    def drawn(rows: slice) -> Tensor:
        generators = [torch.Generator().manual_seed(seed) for seed in (5, 6, 7)][rows]
        return sample(gaussian_denoiser(options), noise[rows], sampler, options, generators)

    together = drawn(slice(None))
    assert torch.allclose(together[1:2], drawn(slice(1, 2)), atol=1e-5)
    assert torch.allclose(together[2:], drawn(slice(2, None)), atol=1e-5)


@pytest.mark.parametrize("name", list(ALL))
def test_every_step_calls_the_network_once_from_the_last_time_on(name: str) -> None:
    options, steps = NoiseOptions(prediction="v"), 13
    called, counted = [], []

    def denoise(noisy: Tensor, t: Tensor) -> Tensor:
        assert t.shape == (2,)
        called.append(int(t[0]))
        return gaussian_denoiser(options)(noisy, t)

    sampler = SamplerOptions(name=name, steps=steps)
    noise, generator = torch.zeros(2, 3, 1, 1, 1), torch.Generator()
    sample(denoise, noise, sampler, options, generator, lambda: counted.append(None))
    assert called == sampling_times(steps, options.steps).tolist()[::-1]
    assert called[0] == options.steps - 1
    assert len(counted) == steps


@pytest.mark.parametrize("count", [1, 2, 3, 7, 12, 600, 999, 1000])
def test_times_are_evenly_spaced_and_end_at_the_last(count: int) -> None:
    times = sampling_times(count, 1000)
    assert len(times) == count == len(times.unique())
    assert int(times[-1]) == 999
    gaps = torch.cat([torch.tensor([-1]), times]).diff()
    assert int(gaps.max() - gaps.min()) <= 1


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"name": "euler"}, "must be one of ddim, ddpm, dpm"),
        ({"name": "ddpm", "eta": 0.5}, "eta is an option of ddim; the sampler is ddpm"),
        ({"name": "ddim", "eta": 1.5}, "eta"),
        ({"steps": 0}, "steps"),
        ({"dynamic_threshold": 1.5}, "dynamic_threshold"),
        ({"dynamic_threshold": 0.9, "clip": True}, "give one of them"),
        ({"next_steps": 0}, "next_steps"),
    ],
)
def test_options_that_cannot_work_are_refused(options: dict[str, object], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        SamplerOptions(**options)  # type: ignore[arg-type]
