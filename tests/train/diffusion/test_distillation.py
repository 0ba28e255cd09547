"""Targets of distillation, by the best denoiser of Gaussian data and by the sampler itself."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from tests.train.diffusion.test_samplers import PROCESS_NAMES, PROCESSES, gaussian_denoiser
from train.diffusion.distillation import distillation_target
from train.diffusion.noise import NoiseOptions
from train.diffusion.objective import Denoise
from train.diffusion.samplers import SamplerOptions, sample, sampling_times

SHAPE = (5, 3, 1, 1, 1)


def noise(seed: int = 0) -> Tensor:
    return torch.randn(SHAPE, generator=torch.Generator().manual_seed(seed))


def student(options: NoiseOptions, steps: int, substeps: int) -> Denoise:
    """A network that has learned its targets exactly."""
    visited = sampling_times(steps, options.steps).tolist()
    before = dict(zip(visited, [-1, *visited], strict=False))

    def denoise(noisy: Tensor, t: Tensor) -> Tensor:
        until = torch.tensor([before[time] for time in t.tolist()])
        return distillation_target(gaussian_denoiser(options), options, noisy, t, until, substeps)

    return denoise


def drawn(denoise: Denoise, options: NoiseOptions, steps: int) -> Tensor:
    sampler = SamplerOptions(name="ddim", steps=steps)
    return sample(denoise, noise(), sampler, options, torch.Generator())


@pytest.mark.parametrize("options", PROCESSES, ids=PROCESS_NAMES)
@given(st.integers(1, 12))
def test_of_one_step_it_is_the_teachers_own_prediction(options: NoiseOptions, steps: int) -> None:
    visited = sampling_times(steps, options.steps)
    if options.prediction == "epsilon":  # x_0 of pure noise is not well determined by it
        visited = visited[:-1]
    for index, time in enumerate(visited.tolist()):
        t = torch.full((len(noise()),), time)
        until = torch.full_like(t, int(visited[index - 1]) if index else -1)
        teacher = gaussian_denoiser(options)
        target = distillation_target(teacher, options, noise(), t, until, 1)
        assert torch.allclose(target, teacher(noise(), t), atol=2e-3)


@pytest.mark.parametrize("options", PROCESSES[:2], ids=PROCESS_NAMES[:2])
@pytest.mark.parametrize(("steps", "substeps"), [(1, 8), (4, 5), (10, 2), (8, 125)])
def test_a_perfect_student_draws_what_its_teacher_draws(
    options: NoiseOptions, steps: int, substeps: int
) -> None:
    expected = drawn(gaussian_denoiser(options), options, steps * substeps)
    got = drawn(student(options, steps, substeps), options, steps)
    assert torch.allclose(got, expected, atol=2e-3)
    # Not so without a teacher of more steps: the test can tell.
    assert not torch.allclose(
        drawn(gaussian_denoiser(options), options, steps), expected, atol=0.02
    )


def test_a_rows_target_depends_on_no_other_row() -> None:
    options = PROCESSES[0]
    rows = [(999, 749), (749, 499), (249, -1), (3, 0), (1, -1)]
    t, until = torch.tensor(rows).T

    def teacher(noisy: Tensor, times: Tensor) -> Tensor:
        alone = [
            gaussian_denoiser(options)(noisy[i : i + 1], times[i : i + 1]) for i in range(len(t))
        ]
        return torch.cat(alone)

    together = distillation_target(teacher, options, noise(), t, until, 4)
    for i in range(len(rows)):
        one = slice(i, i + 1)
        alone = distillation_target(
            gaussian_denoiser(options), options, noise()[one], t[one], until[one], 4
        )
        assert torch.allclose(together[one], alone, atol=1e-6)
    assert bool(together.isfinite().all())
