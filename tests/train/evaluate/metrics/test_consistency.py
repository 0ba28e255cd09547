"""Clips whose warping error and flicker are known."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch import Tensor

from tests.naive import Search
from train.evaluate.metrics.consistency import (
    BLOCK,
    RANGE_PX,
    change,
    flicker,
    luma,
    search_blocks,
    still_pixels,
    warping_error,
)


def picture(height: int, width: int, seed: int = 0) -> Tensor:
    return torch.from_numpy(
        np.random.default_rng(seed).integers(0, 256, (3, height, width), np.uint8)
    )


def panned(steps: int, dx: int, dy: int) -> Tensor:
    """A window that moves over a larger picture: (1, steps, 3, 32, 32)."""
    large = picture(96, 96)
    return torch.stack([large[:, 30 + k * dy :, 30 + k * dx :][:, :32, :32] for k in range(steps)])[
        None
    ]


@pytest.mark.parametrize(("dx", "dy"), [(0, 0), (3, -2), (RANGE_PX, 0)])
def test_inside_a_moving_picture_nothing_is_left_over(dx: int, dy: int) -> None:
    frames = panned(3, dx, dy)
    vectors = search_blocks(luma(frames[:, 1]), luma(frames[:, 0]))
    inner = vectors[0, :, 1:-1, 1:-1]
    assert (inner[0] == dx).all()
    assert (inner[1] == dy).all()
    if (dx, dy) == (0, 0):
        assert warping_error(frames).item() == 0


def test_a_thing_that_moves_over_a_flat_ground_leaves_nothing_over_anywhere() -> None:
    frames = torch.full((1, 5, 3, 40, 40), 90, dtype=torch.uint8)
    for k in range(5):
        frames[0, k, :, 10 + k : 18 + k, 6 + 3 * k : 14 + 3 * k] = picture(8, 8)
    assert change(frames).item() > 1
    assert warping_error(frames).item() == 0


def test_noise_is_left_over_and_motion_is_not() -> None:
    """A still picture with independent noise of variance s² differs by 2 s / √π on average."""
    rng = np.random.default_rng(1)
    flat = 128 + rng.normal(0, 10, (1, 4, 3, 64, 64))
    noisy = torch.from_numpy(flat.round().clip(0, 255).astype(np.uint8))
    zero = 2 * 10 / math.sqrt(math.pi)
    assert 0.7 * zero < warping_error(noisy).item() < zero
    assert change(noisy).item() == pytest.approx(zero, rel=0.02)
    moving = panned(4, 2, 1)
    assert warping_error(moving).item() < 0.35 * change(moving).item()


def test_the_search_is_exhaustive() -> None:
    """The same least cost as the slow reference, for vectors within the frame."""
    rng = np.random.default_rng(2)
    grey = rng.integers(0, 256, (2, 24, 24), np.uint8)
    before, now = (torch.from_numpy(x)[None].float() for x in grey)
    found = search_blocks(now, before)[0]
    slow = Search(block=BLOCK, search_range=RANGE_PX)(grey)[0]
    padded = np.pad(grey[0].astype(int), RANGE_PX, mode="edge")

    def cost(vectors: np.ndarray, row: int, column: int) -> int:
        x, y = (int(vectors[axis, row, column]) for axis in range(2))
        top, left = row * BLOCK, column * BLOCK
        block = grey[1, top : top + BLOCK, left : left + BLOCK].astype(int)
        there = padded[RANGE_PX + top + y :, RANGE_PX + left + x :][:BLOCK, :BLOCK]
        return int(np.abs(block - there).sum())

    for row in range(3):
        for column in range(3):
            assert cost(found.numpy(), row, column) <= cost(slow, row, column)
    assert cost(found.numpy(), 1, 1) == cost(slow, 1, 1)  # every vector stays in the frame there


def test_sizes_that_blocks_do_not_divide() -> None:
    frames = picture(13, 21)[None, None].expand(2, 3, -1, -1, -1)
    assert warping_error(frames).tolist() == [0, 0]


def blinking(amount: int) -> tuple[Tensor, Tensor]:
    """Real: a bright square appears at the left. Generated: the right half blinks besides."""
    real = torch.full((1, 4, 3, 32, 64), 100, dtype=torch.uint8)
    real[:, 2:, :, 8:16, 4:12] = 220
    generated = real.clone()
    generated[:, 1::2, :, :, 32:] += amount
    return real, generated


def test_flicker_is_the_change_where_the_real_clip_is_still() -> None:
    real, generated = blinking(6)
    still = still_pixels(real)
    assert not still[0, 8:16, 4:12].any()
    assert still[0, :, 32:].all()
    share = float(still[0, :, 32:].sum() / still.sum())
    assert flicker(real, still).item() == 0
    assert flicker(generated, still).item() == pytest.approx(6 * share, rel=1e-5)


def test_without_still_pixels_there_is_no_flicker_to_tell() -> None:
    real, _ = blinking(0)
    real[:, 1] = 250
    assert math.isnan(flicker(real, still_pixels(real)).item())
    assert not still_pixels(real).any()


def test_sensor_noise_does_not_count_as_motion() -> None:
    rng = np.random.default_rng(3)
    noisy = (128 + rng.normal(0, 2, (1, 16, 3, 32, 32))).round().astype(np.uint8)
    assert still_pixels(torch.from_numpy(noisy)).float().mean().item() > 0.99
