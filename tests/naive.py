"""Slow oracles, written from the conventions' text alone: one pixel, one vector at a time."""

from __future__ import annotations

import math
from fractions import Fraction

import numpy as np
from numpy.typing import NDArray


def luma(frame: NDArray[np.uint8]) -> NDArray[np.uint8]:
    _, height, width = frame.shape
    result = np.zeros((height, width), np.uint8)
    for y in range(height):
        for x in range(width):
            red, green, blue = (int(value) for value in frame[:, y, x])
            result[y, x] = (77 * red + 150 * green + 29 * blue + 128) >> 8
    return result


def predict(
    reference: NDArray[np.uint8], motion: NDArray[np.int8], block: int
) -> NDArray[np.uint8]:
    """One frame, (3, H, W), from one field, (2, gh, gw)."""
    _, height, width = reference.shape
    result = np.zeros_like(reference)
    for y in range(height):
        for x in range(width):
            vx, vy = (int(v) for v in motion[:, y // block, x // block])
            source_y = min(max(y + vy, 0), height - 1)
            source_x = min(max(x + vx, 0), width - 1)
            result[:, y, x] = reference[:, source_y, source_x]
    return result


def search_block(
    current: NDArray[np.uint8],
    reference: NDArray[np.uint8],
    y: int,
    x: int,
    block: int,
    reach: int,
    zero_bias: float,
    motion_cost: float,
) -> tuple[int, int]:
    """Best (vx, vy) of the block whose upper left pixel is (y, x)."""
    height, width = current.shape
    bottom, right = min(y + block, height), min(x + block, width)
    wanted = current[y:bottom, x:right].astype(int)
    pixels = wanted.size

    def cost(vx: int, vy: int) -> int:
        predictor = reference[y + vy : bottom + vy, x + vx : right + vx].astype(int)
        length = math.sqrt(vx * vx + vy * vy)
        penalty = round(256 * (motion_cost * length + zero_bias)) if (vx, vy) != (0, 0) else 0
        return 256 * int(np.abs(wanted - predictor).sum()) + pixels * penalty

    best, least = (0, 0), cost(0, 0)
    for vy in range(-reach, reach + 1):
        for vx in range(-reach, reach + 1):
            if y + vy < 0 or x + vx < 0 or bottom + vy > height or right + vx > width:
                continue
            candidate = cost(vx, vy)
            if candidate < least:
                best, least = (vx, vy), candidate
    return best


def search(
    clip: NDArray[np.uint8],
    *,
    block: int,
    search_range: int,
    reference: str,
    zero_bias: float,
    motion_cost: float,
) -> NDArray[np.int8]:
    """Vectors of a luma clip (T, H, W)."""
    frames, height, width = clip.shape
    motion = np.zeros((frames - 1, 2, -(-height // block), -(-width // block)), np.int8)
    for n in range(1, frames):
        source = clip[0] if reference == "first" else clip[n - 1]
        for row in range(motion.shape[2]):
            for column in range(motion.shape[3]):
                motion[n - 1, :, row, column] = search_block(
                    clip[n],
                    source,
                    row * block,
                    column * block,
                    block,
                    search_range,
                    zero_bias,
                    motion_cost,
                )
    return motion


def area_mean(
    plane: NDArray[np.uint8],
    luma_shape: tuple[int, int],
    scaled: tuple[int, int],
    pixel: tuple[int, int],
    steps: tuple[int, int],
    early: tuple[bool, bool],
) -> Fraction:
    """Mean of a plane over one pixel of the frame scaled down, in fractions of luma samples.

    A sample spreads over `steps` luma samples, half of one too early where it lies on the first;
    beyond the edge the last sample goes on.
    """
    weights = []
    for axis in (0, 1):
        low = Fraction(pixel[axis] * luma_shape[axis], scaled[axis])
        high = Fraction((pixel[axis] + 1) * luma_shape[axis], scaled[axis])
        along = []
        for sample in range(plane.shape[axis]):
            begin = Fraction(sample * steps[axis])
            begin -= Fraction(steps[axis] - 1, 2) if early[axis] else 0
            end = begin + steps[axis]
            end = max(end, high) if sample == plane.shape[axis] - 1 else end
            along.append(max(Fraction(0), min(high, end) - max(low, begin)))
        weights.append(along)
    total = sum(
        down * across * int(plane[y, x])
        for y, down in enumerate(weights[0])
        for x, across in enumerate(weights[1])
        if down and across
    )
    return Fraction(total) / (sum(weights[0]) * sum(weights[1]))
