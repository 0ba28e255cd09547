"""Samplers against a known answer: Gaussian data, whose best denoiser is linear.

For x_0 ~ N(m, d^2) and x_t = a x_0 + s eps, Var x_t = a^2 d^2 + s^2 and
E[eps | x_t] = s (x_t - a m) / Var x_t, E[x_0 | x_t] = m + a d^2 (x_t - a m) / Var x_t.
"""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from tests.train.naive import alpha_bars
from train.denoise import Denoise
from train.noise import NoiseOptions
from train.samplers import SamplerOptions, sample

MEAN, DEVIATION = 0.7, 0.4
COUNT = 16_384


def gaussian_denoiser(options: NoiseOptions) -> Denoise:
    table = alpha_bars(options.schedule, options.steps, options.zero_terminal_snr)

    def denoise(noisy: Tensor, t: Tensor) -> Tensor:
        alpha_bar = table[t].view(-1, 1, 1, 1, 1)
        signal, sigma = alpha_bar.sqrt(), (1 - alpha_bar).sqrt()
        away = (noisy.double() - signal * MEAN) / (alpha_bar * DEVIATION**2 + 1 - alpha_bar)
        epsilon, x0 = sigma * away, MEAN + signal * DEVIATION**2 * away
        return (
            epsilon if options.prediction == "epsilon" else signal * epsilon - sigma * x0
        ).float()

    return denoise


def draw(sampler: SamplerOptions, options: NoiseOptions, seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    noise = torch.randn(COUNT, 1, 1, 1, 1, generator=generator)
    return sample(gaussian_denoiser(options), noise, sampler, options, generator)


@pytest.mark.parametrize(
    ("name", "steps"), [("ddpm", 1000), ("ddpm", 250), ("ddim", 100), ("dpm++", 25)]
)
@pytest.mark.parametrize(
    "options",
    [
        NoiseOptions(prediction="epsilon"),
        NoiseOptions(prediction="v"),
        NoiseOptions(prediction="v", zero_terminal_snr=True),
        NoiseOptions(prediction="v", schedule="linear"),
    ],
    ids=["epsilon", "v", "v-zero-snr", "v-linear"],
)
def test_gaussian_data_is_sampled(name: str, steps: int, options: NoiseOptions) -> None:
    drawn = draw(SamplerOptions(name=name, steps=steps), options)  # type: ignore[arg-type]
    assert drawn.shape == (COUNT, 1, 1, 1, 1)
    assert float(drawn.mean()) == pytest.approx(MEAN, abs=0.02)
    assert float(drawn.std()) == pytest.approx(DEVIATION, abs=0.02)


@pytest.mark.parametrize("name", ["ddpm", "ddim", "dpm++"])
def test_the_wrong_parametrisation_misses(name: str) -> None:
    """The test above can fail: a network that predicts epsilon, read as v."""
    sampler = SamplerOptions(name=name, steps=25)  # type: ignore[arg-type]
    generator = torch.Generator().manual_seed(0)
    noise = torch.randn(COUNT, 1, 1, 1, 1, generator=generator)
    wrong = gaussian_denoiser(NoiseOptions(prediction="epsilon"))
    drawn = sample(wrong, noise, sampler, NoiseOptions(prediction="v"), generator)
    assert abs(float(drawn.mean()) - MEAN) + abs(float(drawn.std()) - DEVIATION) > 0.1


@pytest.mark.parametrize("name", ["ddpm", "ddim", "dpm++"])
def test_a_seed_decides(name: str) -> None:
    sampler, options = SamplerOptions(name=name, steps=5), NoiseOptions(prediction="v")  # type: ignore[arg-type]
    assert draw(sampler, options, 1).equal(draw(sampler, options, 1))
    assert not draw(sampler, options, 1).equal(draw(sampler, options, 2))


@pytest.mark.parametrize("name", ["ddim", "dpm++"])
def test_without_noise_on_the_way_only_the_start_decides(name: str) -> None:
    sampler, options = SamplerOptions(name=name, steps=5), NoiseOptions(prediction="v")  # type: ignore[arg-type]
    noise = torch.randn(8, 1, 1, 1, 1, generator=torch.Generator().manual_seed(0))
    denoise = gaussian_denoiser(options)
    one, other = (
        sample(denoise, noise, sampler, options, torch.Generator().manual_seed(seed))
        for seed in (1, 2)
    )
    assert one.equal(other)


def test_a_generator_for_each_clip_makes_clips_independent() -> None:
    sampler, options = SamplerOptions(name="ddpm", steps=5), NoiseOptions(prediction="v")
    noise = torch.randn(3, 1, 1, 1, 1, generator=torch.Generator().manual_seed(0))

    def drawn(rows: slice) -> Tensor:
        generators = [torch.Generator().manual_seed(seed) for seed in (5, 6, 7)][rows]
        return sample(gaussian_denoiser(options), noise[rows], sampler, options, generators)

    together = drawn(slice(None))
    assert torch.allclose(together[1:2], drawn(slice(1, 2)), atol=1e-6)
    assert torch.allclose(together[2:], drawn(slice(2, None)), atol=1e-6)
