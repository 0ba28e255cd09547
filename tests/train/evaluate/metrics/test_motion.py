from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from preprocess.motion import search
from shared.conventions import luma
from shared.motion_statistics import SEARCH
from shared.schema import CodecOptions
from train.evaluate.metrics.motion import block_vectors

CODEC = CodecOptions(**SEARCH).codec


def searched(clip: NDArray[np.uint8]) -> NDArray[np.int8]:
    """Vectors that the slow search finds, int8 (T-1, 2, h, w), in a clip uint8 (T, 3, H, W)."""
    return search(
        luma(clip),
        CODEC,
        search_range=SEARCH["search_range"],
        motion_cost=SEARCH["motion_cost"],
        method="naive",
    )


def shifting(height: int, width: int, levels: int, seed: int) -> NDArray[np.uint8]:
    """Rows of a noisy ground that move by up to 9 pixels, and others that flicker or are still."""
    rng = np.random.default_rng(seed)
    ground = rng.integers(0, levels, (3, height, width))
    clip = np.stack([ground] * 3)
    for n in (1, 2):
        clip[n] = np.roll(clip[n - 1], rng.integers(-9, 10, 2), axis=(1, 2))
        quiet = slice(0, int(rng.integers(0, height)))
        clip[n, :, quiet] = clip[n - 1, :, quiet] + rng.integers(-1, 2, ground[:, quiet].shape)
    return clip.clip(0, 255).astype(np.uint8)


@settings(max_examples=12)
@given(
    st.sampled_from([(8, 8), (16, 24), (21, 17), (5, 33)]),
    st.sampled_from([2, 12, 256]),
    st.integers(0, 10**6),
)
def test_vectors_are_those_of_preprocess(shape: tuple[int, int], levels: int, seed: int) -> None:
    clip = shifting(*shape, levels, seed)
    [found] = block_vectors(torch.from_numpy(clip)[None]).numpy()
    np.testing.assert_array_equal(found, searched(clip))


def test_a_clip_does_not_depend_on_the_others() -> None:
    clips = np.stack([shifting(24, 24, 256, seed) for seed in (1, 2)])
    found = block_vectors(torch.from_numpy(clips))
    assert found.dtype == torch.int8 and found.shape == (2, 2, 2, 3, 3)
    for clip, vectors in zip(clips, found.numpy(), strict=True):
        np.testing.assert_array_equal(vectors, searched(clip))
        assert vectors.any()


@pytest.mark.parametrize("levels", [1, 256])
def test_a_still_clip_has_no_vectors(levels: int) -> None:
    frame = torch.from_numpy(shifting(16, 16, levels, 0)[:1])
    assert not block_vectors(frame.expand(2, 4, 3, 16, 16)).any()
