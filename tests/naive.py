"""Slow oracles, written from the conventions' text alone: one pixel, one vector at a time."""

from __future__ import annotations

import math

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
    expected: tuple[int, int],
) -> tuple[int, int]:
    """Best (vx, vy) of the block whose upper left pixel is (y, x)."""
    height, width = current.shape
    bottom, right = min(y + block, height), min(x + block, width)
    wanted = current[y:bottom, x:right].astype(int)
    pixels = wanted.size

    def cost(vx: int, vy: int) -> int:
        predictor = reference[y + vy : bottom + vy, x + vx : right + vx].astype(int)
        dx, dy = vx - expected[0], vy - expected[1]
        bias = zero_bias if (vx, vy) != (0, 0) else 0.0
        penalty = round(256 * (motion_cost * math.sqrt(dx * dx + dy * dy) + bias))
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
    cost_from: str = "zero",
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
                    expected(motion, n, row, column, cost_from),
                )
    return motion


def expected(
    motion: NDArray[np.int8], n: int, row: int, column: int, cost_from: str
) -> tuple[int, int]:
    """(x, y) that the cost of one block of frame n is measured from."""
    columns = motion.shape[3]

    def vector(n: int, row: int, column: int) -> tuple[int, int] | None:
        if n < 1 or row < 0 or not 0 <= column < columns:
            return None
        return int(motion[n - 1, 0, row, column]), int(motion[n - 1, 1, row, column])

    before = vector(n - 1, row, column)
    if cost_from == "zero":
        return 0, 0
    if cost_from == "temporal":
        return before or (0, 0)
    beside = column - 1 if column == columns - 1 else column + 1
    neighbours = [before, vector(n, row - 1, column), vector(n, row - 1, beside)]
    known = [v for v in neighbours if v is not None]
    if len(known) == 1:
        return known[0]
    xs, ys = (sorted(v[xy] if v else 0 for v in neighbours) for xy in range(2))
    return xs[1], ys[1]
