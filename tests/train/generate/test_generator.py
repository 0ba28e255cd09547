"""Clips and longer videos of a loaded run."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from shared.errors import UserError
from shared.store.store import Store
from tests.train.conftest import train_stages
from tests.train.stores import OPTIONS
from train.generate.generator import (
    Generator,
    batches,
    clips_for,
    generate_frames,
    load_generator,
    with_sampler,
)

CPU = torch.device("cpu")


@given(frames=st.integers(2, 200), clip_frames=st.integers(2, 20), data=st.data())
def test_no_clip_is_missing_or_superfluous(
    frames: int, clip_frames: int, data: st.DataObject
) -> None:
    adds = data.draw(st.integers(1, clip_frames - 1))
    clips = clips_for(frames, clip_frames, adds)

    def length(count: int) -> int:
        return clip_frames + (count - 1) * adds

    assert length(clips) >= frames
    assert clips == 1 or frames > length(clips - 1)
    assert clips_for(frames, clip_frames) == clips_for(frames, clip_frames, clip_frames - 1)


@pytest.fixture(scope="module")
def generator(run: Path) -> Generator:
    return load_generator(run, CPU)


@pytest.fixture(scope="module")
def frames(store: Store) -> Tensor:
    return torch.from_numpy(np.stack([store.clip("first_frame", k) for k in range(3)]))


def test_clips_go_on_from_the_last_frame_before(generator: Generator, frames: Tensor) -> None:
    given = frames[[0, 0]]
    whole = generate_frames(generator, given, [1, None], [5, 6], 10)
    clips = []
    for number in range(3):
        clips.append(generator(given, [1, None], [5, 6], clip=number))
        given = clips[-1].frames[:, -1]
    assert whole.frames.shape == (2, 10, 3, 16, 16)
    assert whole.frames[:, :4].equal(clips[0].frames)
    assert whole.frames[:, 3:7].equal(clips[1].frames)
    assert whole.frames[:, 6:10].equal(clips[2].frames)
    assert whole.parts["motion"].equal(torch.cat([clip.parts["motion"] for clip in clips], dim=1))
    assert whole.parts["unrefined"].shape == whole.frames.shape
    assert whole.parts["unrefined"][:, 4:7].equal(clips[1].parts["unrefined"][:, 1:])


@pytest.mark.parametrize("length", [2, 4, 5, 9])
def test_the_last_clip_is_cut(generator: Generator, frames: Tensor, length: int) -> None:
    whole = generate_frames(generator, frames[:1], [1], [5], length)
    longer = generate_frames(generator, frames[:1], [1], [5], 10)
    assert whole.frames.equal(longer.frames[:, :length])
    for name in ("motion", "prediction", "residual"):
        assert whole.parts[name].equal(longer.parts[name][:, : length - 1])
    assert whole.parts["unrefined"].equal(longer.parts["unrefined"][:, :length])


def test_shapes_ranges_and_parts(generator: Generator, frames: Tensor) -> None:
    decoded = generator(frames, [0, 3, None], [5, 6, 7])
    assert decoded.frames.dtype == torch.uint8
    assert decoded.frames.shape == (3, OPTIONS.frames, 3, 16, 16)
    assert decoded.frames[:, 0].equal(frames)
    assert decoded.parts["unrefined"].shape == decoded.frames.shape
    assert decoded.parts["motion"].shape == (3, 3, 2, 4, 4)
    assert int(decoded.parts["motion"].abs().max()) <= OPTIONS.search_range
    expected = decoded.parts["prediction"].int() + decoded.parts["residual"]
    assert decoded.parts["unrefined"][:, 1:].int().equal(expected.clamp(0, 255))


def test_a_clip_depends_on_its_own_inputs_alone(generator: Generator, frames: Tensor) -> None:
    together = generator(frames, [0, 3, None], [5, 6, 7]).frames.int()
    for k, label in enumerate([0, 3, None]):
        alone = generator(frames[k : k + 1], [label], [5 + k]).frames[0].int()
        # Sums over batches of another size round differently; a grey level is the most.
        assert (together[k] - alone).abs().max() <= 1


def test_clips_of_several_batches_are_in_order(generator: Generator, frames: Tensor) -> None:
    many = generator(frames[[0] * 10], [1] * 10, list(range(10))).frames
    assert len(many) == 10
    alone = generator(frames[:1], [1], [9]).frames[0]
    assert (many[9].int() - alone.int()).abs().max() <= 1
    assert len({clip.numpy().tobytes() for clip in many}) == 10


def test_batches_and_steps_are_counted(generator: Generator, frames: Tensor) -> None:
    steps: list[None] = []
    generator(frames[[0] * 10], [1] * 10, range(10), on_step=lambda: steps.append(None))
    assert len(steps) == batches(10) * generator.steps() == 2 * 4


def test_each_clip_of_a_video_has_noise_of_its_own(generator: Generator, frames: Tensor) -> None:
    first, again, second, third = (
        generator(frames[:1], [1], [5], **clip).frames
        for clip in ({}, {"clip": 0}, {"clip": 1}, {"clip": 2})
    )
    assert first.equal(again)
    assert not first.equal(second)
    assert not second.equal(third)


def test_guidance_matters_where_there_is_a_label_alone(
    generator: Generator, frames: Tensor
) -> None:
    def drawn(label: int | None, guidance: float) -> Tensor:
        return with_sampler(generator, guidance=guidance)(frames[:1], [label], [5]).frames

    assert not drawn(1, 1.0).equal(drawn(1, 8.0))
    assert drawn(None, 1.0).equal(drawn(None, 8.0))


def test_the_sampler_of_a_run_can_be_changed(generator: Generator, frames: Tensor) -> None:
    changed = with_sampler(generator, name="ddim", steps=7, eta=0.5, guidance=2.0)
    options = changed.recipe.sampler
    assert (options.name, options.steps, options.eta, options.guidance) == ("ddim", 7, 0.5, 2.0)
    assert with_sampler(generator, name=None, steps=None).recipe == generator.recipe
    assert not changed(frames[:1], [1], [5]).frames.equal(generator(frames[:1], [1], [5]).frames)
    # Noise on the way is an option of DDIM alone.
    assert with_sampler(changed, name="ddpm").recipe.sampler.eta == 0


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"name": "euler"}, r"--sampler euler: must be one of ddim, ddpm, dpm\+\+"),
        ({"steps": 0}, "--steps 0: Input should be greater than or equal to 1"),
        ({"steps": 1001}, "sampler.steps 1001: must be at most 1000, the number of noise steps"),
        ({"name": "ddpm", "eta": 0.5}, "^eta is an option of ddim; the sampler is ddpm"),
        ({"eta": 2.0}, "--eta 2.0: Input should be less than or equal to 1"),
        ({"dynamic_threshold": 1.5}, "--dynamic-threshold 1.5: Input should be less than"),
        ({"clip": True}, "x_0 of the space 'codec' has no bounds to keep it in"),
        ({"next_steps": 1001}, "sampler.next_steps 1001: must be at most 1000"),
        ({"dynamic_threshold": 0.99}, "x_0 of the space 'codec' has no bounds to keep it in"),
    ],
)
def test_sampler_options_that_cannot_work_are_named(
    generator: Generator, given: dict[str, float | str], message: str
) -> None:
    with pytest.raises(UserError, match=message):
        with_sampler(generator, **given)


def test_labels_are_found_without_case(generator: Generator) -> None:
    assert generator.label_index("  turn LEFT ") == 2
    with pytest.raises(UserError, match="'left' is not a label of this run; its labels: 'Go'"):
        generator.label_index("left")


def test_another_autoencoder_than_the_denoiser_learned_with_is_refused(
    store: Store, run: Path, tmp_path: Path
) -> None:
    shutil.copytree(run, tmp_path / "run")
    shutil.rmtree(tmp_path / "run" / "vae")
    retrained = {"autoencoder_training.learning_rate": "3e-2"}
    assert train_stages(store.path, tmp_path / "run", retrained, ("vae",)) == [0]
    with pytest.raises(UserError, match="vae was trained again since the later stages"):
        load_generator(tmp_path / "run", CPU)
