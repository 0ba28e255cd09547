"""Slow oracles, written from the conventions' text alone: one pixel, one vector at a time."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
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
    reference: NDArray[np.uint8],
    motion: NDArray[np.int8],
    block: int,
    unit: int = 1,
    compensation: str = "block",
) -> NDArray[np.uint8]:
    """One frame, (3, H, W), from one field, (2, gh, gw), in units of 1/unit pixel."""
    return predict_next(reference, reference, motion, block, unit, compensation)


def predict_next(
    before: NDArray[np.uint8],
    first_frame: NDArray[np.uint8],
    motion: NDArray[np.int8],
    block: int,
    unit: int = 1,
    compensation: str = "block",
) -> NDArray[np.uint8]:
    """One frame, (3, H, W), of blocks that choose their reference if motion is (3, gh, gw)."""
    result = np.zeros_like(before)
    for y, x in np.ndindex(*before.shape[1:]):
        own = tuple(int(value) for value in motion[:, y // block, x // block])
        if compensation == "block":
            result[:, y, x] = _read(before, first_frame, y, x, own, unit)
            continue
        grid_height, grid_width = motion.shape[1:]
        around = [
            (down * across, tuple(int(value) for value in motion[:, row, column]))
            for row, down in _near(y, block, grid_height, compensation)
            for column, across in _near(x, block, grid_width, compensation)
        ]
        if compensation == "overlapped":
            each = [w * _read(before, first_frame, y, x, field, unit) for w, field in around]
            result[:, y, x] = [math.floor(value / 4096 + Fraction(1, 2)) for value in sum(each)]
            continue
        vx = vy = Fraction(0)
        for weight, field in around:
            into_same = [bool(index) for index in field[2:]] == [bool(index) for index in own[2:]]
            vector = field if into_same else own
            vx, vy = vx + weight * Fraction(vector[0]), vy + weight * Fraction(vector[1])
        fine = tuple(math.floor(64 * v / unit + Fraction(1, 2)) for v in (vx, vy))
        result[:, y, x] = _read(before, first_frame, y, x, fine + own[2:], 64)
    return result


def _near(pixel: int, block: int, count: int, compensation: str) -> list[tuple[int, Fraction]]:
    """Blocks on both sides of a pixel along an axis, moved into the grid, and their weights."""

    def window(distance: Fraction) -> int:
        return math.floor(64 * math.cos(math.pi / 2 * distance / block) ** 2 + 0.5)

    found = []
    for index in range(-1, count + 1):
        distance = pixel - (block * index + Fraction(block - 1, 2))
        if not -block < distance <= block:
            continue
        weight = 1 - abs(distance) / block
        if compensation == "overlapped":
            # Rounded is the weight of the block whose centre follows; the other has the rest.
            rounded = window(-distance) if distance < 0 else 64 - window(block - distance)
            weight = Fraction(rounded)
        found.append((min(max(index, 0), count - 1), weight))
    return found


def _read(
    before: NDArray[np.uint8],
    first_frame: NDArray[np.uint8],
    y: int,
    x: int,
    field: tuple[int, ...],
    unit: int,
) -> NDArray[np.object_]:
    """One pixel, three integers, where a vector with or without an index points."""
    reference = first_frame if any(field[2:]) else before
    (vx, vy), (_, height, width) = field[:2], reference.shape
    # Each whole place near this one counts the more, the nearer it is.
    weighted = np.zeros(3, int)
    for near_y in range(math.floor(y + vy / unit), math.ceil(y + vy / unit) + 1):
        for near_x in range(math.floor(x + vx / unit), math.ceil(x + vx / unit) + 1):
            weight_y = unit - abs(y * unit + vy - near_y * unit)
            weight_x = unit - abs(x * unit + vx - near_x * unit)
            source_y = min(max(near_y, 0), height - 1)
            source_x = min(max(near_x, 0), width - 1)
            weighted += weight_y * weight_x * reference[:, source_y, source_x].astype(int)
    return np.array([math.floor(value / unit**2 + 0.5) for value in weighted], object)


@dataclass(frozen=True)
class Search:
    """Options of the search, and the cost of one vector for one block."""

    block: int
    search_range: int
    reference: str = "previous"
    vector_unit: int = 1
    motion_cost: float = 0.0
    compensation: str = "block"
    """Has no effect: each block is matched alone."""

    def __call__(self, clip: NDArray[np.uint8]) -> NDArray[np.int8]:
        """Vectors of a luma clip (T, H, W)."""
        if self.reference == "either":
            return self.choose(clip)
        frames, height, width = clip.shape
        grid = -(-height // self.block), -(-width // self.block)
        motion = np.zeros((frames - 1, 2, *grid), np.int8)
        for n, row, column in np.ndindex(frames - 1, *grid):
            source = clip[0] if self.reference == "first" else clip[n]
            place = row * self.block, column * self.block
            motion[n, :, row, column] = self.search_block(clip[n + 1], source, *place)
        return motion

    def choose(self, clip: NDArray[np.uint8]) -> NDArray[np.int8]:
        """The cheaper of each block's vectors into either frame, then 1 for frame 0."""
        before = replace(self, reference="previous")(clip)
        first = replace(self, reference="first")(clip)
        chosen = np.zeros((len(before), 3, *before.shape[2:]), np.int8)
        for n, row, column in np.ndindex(len(before), *before.shape[2:]):
            y, x = row * self.block, column * self.block
            size = clip[n, y : y + self.block, x : x + self.block].size
            of_index = size * round(256 * self.motion_cost)
            vectors = [tuple(map(int, field[n, :, row, column])) for field in (before, first)]
            from_before = self.cost(clip[n + 1], clip[n], y, x, vectors[0])  # type: ignore[arg-type]
            from_first = self.cost(clip[n + 1], clip[0], y, x, vectors[1])  # type: ignore[arg-type]
            index = int(from_first + of_index < from_before)
            chosen[n, :, row, column] = *vectors[index], index
        return chosen

    def search_block(
        self, current: NDArray[np.uint8], reference: NDArray[np.uint8], y: int, x: int
    ) -> tuple[int, int]:
        """Best (vx, vy) of the block whose upper left pixel is (y, x), in units of 1/u pixel."""
        unit, reach = self.vector_unit, self.search_range
        offsets = range(-reach * unit, reach * unit + 1, unit)
        best = (0, 0)
        least = self.cost(current, reference, y, x, best)
        candidates = [(vx, vy) for vy in offsets for vx in offsets]
        step = unit
        while step:
            for vector in candidates:
                cost = self.cost(current, reference, y, x, vector)
                if cost < least:
                    best, least = vector, cost
            step //= 2
            steps = (-step, 0, step)
            candidates = [(best[0] + dx, best[1] + dy) for dy in steps for dx in steps]
        return best

    def cost(
        self,
        current: NDArray[np.uint8],
        reference: NDArray[np.uint8],
        y: int,
        x: int,
        vector: tuple[int, int],
    ) -> float:
        """256 SAD + pixels x penalty; infinite where the vector is not allowed."""
        (height, width), unit, (vx, vy) = current.shape, self.vector_unit, vector
        bottom, right = min(y + self.block, height), min(x + self.block, width)
        inside = y + vy / unit >= 0 and bottom + vy / unit <= height
        inside = inside and x + vx / unit >= 0 and right + vx / unit <= width
        if not inside or max(map(abs, vector)) > self.search_range * unit:
            return math.inf
        total = np.zeros((bottom - y, right - x), int)
        for near_y in range(math.floor(vy / unit), math.ceil(vy / unit) + 1):
            for near_x in range(math.floor(vx / unit), math.ceil(vx / unit) + 1):
                weight = (unit - abs(vy - near_y * unit)) * (unit - abs(vx - near_x * unit))
                near = reference[y + near_y : bottom + near_y, x + near_x : right + near_x]
                total += weight * near.astype(int)
        predictor = np.floor(total / unit**2 + 0.5).astype(int)
        difference = np.abs(current[y:bottom, x:right] - predictor)
        penalty = round(256 * self.motion_cost * math.sqrt(vx**2 + vy**2) / unit)
        return 256 * int(difference.sum()) + difference.size * penalty


def area_mean(
    plane: NDArray[np.uint8],
    luma_shape: tuple[int, int],
    scaled: tuple[int, int],
    pixel: tuple[int, int],
    steps: tuple[int, int],
    cosited: tuple[bool, bool],
) -> Fraction:
    """Mean of a plane over one pixel of the frame scaled down, in fractions of luma samples.

    A sample spreads over `steps` luma samples, half of one earlier where it is co-sited;
    beyond the edge the last sample goes on.
    """
    weights = []
    for axis in (0, 1):
        low = Fraction(pixel[axis] * luma_shape[axis], scaled[axis])
        high = Fraction((pixel[axis] + 1) * luma_shape[axis], scaled[axis])
        along = []
        for sample in range(plane.shape[axis]):
            begin = Fraction(sample * steps[axis])
            begin -= Fraction(steps[axis] - 1, 2) if cosited[axis] else 0
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


def field_energy(
    first: NDArray[np.uint8],
    second: NDArray[np.uint8],
    field: NDArray[np.float64],
    block: int,
    motion_cost: float,
) -> float:
    """What the method variational minimises: of a field in pixels, (2, gh, gw), into `first`."""
    _, rows, columns = field.shape
    _, height, width = first.shape
    down = [_near(y, block, rows, "interpolated") for y in range(height)]
    across = [_near(x, block, columns, "interpolated") for x in range(width)]
    total = 0.0
    for y, x in np.ndindex(height, width):
        vector = np.zeros(2)
        for row, weight_y in down[y]:
            for column, weight_x in across[x]:
                vector += float(weight_y) * float(weight_x) * field[:, row, column]
        place_x = min(max(x + vector[0], 0.0), width - 1.0)
        place_y = min(max(y + vector[1], 0.0), height - 1.0)
        predicted = np.zeros(3)
        for near_y in {math.floor(place_y), math.ceil(place_y)}:
            for near_x in {math.floor(place_x), math.ceil(place_x)}:
                weight = (1 - abs(place_y - near_y)) * (1 - abs(place_x - near_x))
                predicted += weight * first[:, near_y, near_x]
        total += sum(math.hypot(error, 2.5) for error in predicted - second[:, y, x])
    for row, column in np.ndindex(rows, columns):
        for other in ((row + 1, column), (row, column + 1)):
            if other[0] < rows and other[1] < columns:
                difference = field[:, row, column] - field[:, other[0], other[1]]
                total += 3 * motion_cost * block**2 * math.hypot(*difference, 0.05)
    return total
