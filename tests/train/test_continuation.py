"""Clips one after another."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from shared.store import Store
from train.continuation import clips_for, generate_frames
from train.generate import Generator, load_generator


@given(frames=st.integers(2, 200), clip_frames=st.integers(2, 20))
def test_no_clip_is_missing_or_superfluous(frames: int, clip_frames: int) -> None:
    clips = clips_for(frames, clip_frames)

    def length(count: int) -> int:
        return 1 + count * (clip_frames - 1)

    assert length(clips) >= frames > length(clips - 1)


@pytest.fixture(scope="module")
def generator(run: Path) -> Generator:
    return load_generator(run, torch.device("cpu"))


@pytest.fixture(scope="module")
def first(store: Store) -> Tensor:
    return torch.from_numpy(store.clip("first_frame", 0))[None]


def test_clips_go_on_from_the_last_frame_before(generator: Generator, first: Tensor) -> None:
    whole = generate_frames(generator, first.expand(2, -1, -1, -1), [1, None], [5, 6], 10)
    clips, given = [], first.expand(2, -1, -1, -1)
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


@pytest.mark.parametrize("frames", [2, 4, 5, 9])
def test_the_last_clip_is_cut(generator: Generator, first: Tensor, frames: int) -> None:
    whole = generate_frames(generator, first, [1], [5], frames)
    longer = generate_frames(generator, first, [1], [5], 10)
    assert whole.frames.equal(longer.frames[:, :frames])
    for name in ("motion", "prediction", "residual"):
        assert whole.parts[name].equal(longer.parts[name][:, : frames - 1])
    assert whole.parts["unrefined"].equal(longer.parts["unrefined"][:, :frames])
