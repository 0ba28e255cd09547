"""Cuts, fades and dissolves are found; flashes, pans, zooms, noise and people that move are not."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from numpy.typing import NDArray

from preprocess.datasets.gestures.render import RenderOptions, render_clip
from preprocess.motion.cuts import (
    FLASH_FRAMES,
    deviation_in_blocks,
    find_transition,
    histogram_shift,
    thumbnails,
)

Clip = NDArray[np.uint8]
FRAMES = 16


def scene(
    seed: int, frames: int = FRAMES, size: int = 64, px: tuple[float, float] = (1, 0)
) -> Clip:
    """A smooth random picture, larger than the frame, that a camera pans over by px a frame."""
    rng = np.random.default_rng(seed)
    side = size + 8 * frames
    coarse = rng.integers(0, 256, (3, side // 8, side // 8)).astype(np.float64)
    # Bilinear, from one value every 8 pixels.
    at = np.linspace(0, side // 8 - 1, side)
    low = np.minimum(at.astype(int), side // 8 - 2)
    part = at - low
    rows = coarse[:, low] * (1 - part)[:, None] + coarse[:, low + 1] * part[:, None]
    picture = rows[:, :, low] * (1 - part) + rows[:, :, low + 1] * part
    corners = [(round(n * px[1]), round(n * px[0])) for n in range(frames)]
    return np.stack([picture[:, y : y + size, x : x + size] for y, x in corners]).astype(np.uint8)


@pytest.mark.parametrize("at", [1, 2, 8, 14, 15])
@pytest.mark.parametrize("size", [64, 40, 130])
def test_a_hard_cut_is_found_wherever_it_is(at: int, size: int) -> None:
    clip = np.concatenate([scene(1, at, size), scene(2, FRAMES - at, size)])
    assert find_transition(clip) == "scene cut"


def gesture(number: int, subject: int, frames: int = FRAMES) -> Clip:
    """A rendered gesture, shape (T, 3, 64, 64)."""
    options = RenderOptions(size=64, frames=frames, noise_sigma=2, camera_px=3)
    return render_clip(number, subject, 1, options).transpose(0, 3, 1, 2)


def test_two_rendered_gestures_joined_have_a_cut_and_each_of_them_none() -> None:
    one, two = gesture(4, 1), gesture(17, 2)
    assert find_transition(one) is None
    assert find_transition(two) is None
    assert find_transition(np.concatenate([one[:9], two[9:]])) == "scene cut"
    assert find_transition(np.concatenate([two[8:], one[:8]])) == "scene cut"


@pytest.mark.parametrize("px", [(0, 0), (1, 0), (3, -0.0), (7, 2), (8, 8)])
def test_a_pan_is_no_cut(px: tuple[float, float]) -> None:
    assert find_transition(scene(3, px=px)) is None


def test_a_pan_of_an_eighth_of_the_width_a_frame_is_no_cut_at_any_size() -> None:
    assert find_transition(scene(3, 8, 256, (8, 0)).repeat(1, 0)) is None
    large = scene(3, 8, 64, (8, 0)).repeat(4, 2).repeat(4, 3)  # 32 pixels a frame
    assert find_transition(large) is None


@pytest.mark.parametrize("length", [1, FLASH_FRAMES])
def test_a_flash_is_no_cut(length: int) -> None:
    clip = scene(4)
    flash = clip.copy()
    flash[7 : 7 + length] = 255 - (255 - flash[7 : 7 + length]) // 8
    assert find_transition(flash) is None
    # Something else that stays is.
    other = clip.copy()
    other[7 : 8 + FLASH_FRAMES] = scene(5)[: 1 + FLASH_FRAMES]
    assert find_transition(other) == "scene cut"


@pytest.mark.parametrize("length", [6, 8, 15, 24])
@pytest.mark.parametrize("black", [False, True])
def test_fades_and_dissolves_are_found(length: int, black: bool) -> None:
    """Of the two scenes, or of one and black; or in the middle of them."""
    parts = np.clip((np.arange(FRAMES) - max(0, 8 - length // 2)) / length, 0, 1)[
        :, None, None, None
    ]
    other = np.zeros_like(scene(7)) if black else scene(7)
    mixed = np.rint((1 - parts) * scene(6) + parts * other).astype(np.uint8)
    assert find_transition(mixed) is not None
    assert find_transition(mixed[::-1]) is not None


@pytest.mark.parametrize("sigma", [2, 10, 30])
def test_noise_is_no_cut(sigma: float) -> None:
    """On a grey ground, where no vector predicts it and each block's own mean does better."""
    noise = np.random.default_rng(0).normal(0, sigma, (FRAMES, 3, 64, 64))
    assert find_transition(np.clip(90 + noise, 0, 255).astype(np.uint8)) is None


def test_clips_that_are_short_or_small_have_their_answer() -> None:
    black, white = np.zeros((3, 1, 1), np.uint8), np.full((3, 1, 1), 255, np.uint8)
    assert find_transition(np.stack([black, white])) == "scene cut"
    assert find_transition(np.stack([black, black])) is None
    assert find_transition(scene(1, 3, 9)) is None


@given(
    arrays(np.uint8, st.tuples(*[st.integers(1, 2), st.just(3), *[st.integers(1, 200)] * 2])),
)
def test_thumbnails_are_rounded_means(clip: Clip) -> None:
    height, width = clip.shape[2:]
    k = max(1, min(height, width) // 64)
    small = thumbnails(clip)
    assert small.shape == (*clip.shape[:2], height // k, width // k)
    if k > 1:
        y, x = small.shape[2] - 1, small.shape[3] // 2
        square = clip[:, :, y * k : y * k + k, x * k : x * k + k]
        assert np.array_equal(small[:, :, y, x], np.floor(square.mean(axis=(2, 3)) + 0.5))


@given(arrays(np.uint8, (2, 3, 5, 7)))
def test_the_shift_of_a_histogram_is_the_difference_of_sorted_values(pair: Clip) -> None:
    by_value = np.sort(pair.reshape(2, 3, -1).astype(int), axis=2)
    assert histogram_shift(*pair) == pytest.approx(np.abs(by_value[0] - by_value[1]).mean())


@given(arrays(np.uint8, st.tuples(st.just(3), st.integers(1, 20), st.integers(1, 20))))
def test_deviation_in_blocks_is_that_of_each_block(frame: Clip) -> None:
    blocks = [
        frame[c, y : y + 8, x : x + 8]
        for c in range(3)
        for y in range(0, frame.shape[1], 8)
        for x in range(0, frame.shape[2], 8)
    ]
    slow = sum(np.abs(block - block.mean()).sum() for block in blocks) / frame.size
    assert deviation_in_blocks(frame) == pytest.approx(slow)
