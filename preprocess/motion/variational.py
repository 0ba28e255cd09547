"""Smooth vector fields: the whole field of a frame is fitted at once, not block by block.

Block matching takes each block's best match, and where the picture is flat that is noise. Here the
vectors v_k of all blocks minimise together, with prediction P interpolated between them
(compensation `interpolated`, in real numbers) and target C, both RGB::

    sum over pixels and channels of rho(P - C, 2.5)
        + 3 motion_cost b^2 * sum over neighbouring blocks of rho(|v_k - v_l|, 0.05)

with rho(x, e) = sqrt(x^2 + e^2), a smooth absolute value: `motion_cost` is in grey levels a pixel
for each pixel that neighbouring vectors differ by. The form is that of variational optical flow
(Brox et al. 2004, "High Accuracy Optical Flow Estimation Based on a Theory for Warping") on a
control grid. A frame's field starts from that of the frame before, so that motion is followed over
the clip, and is fitted from blurred pictures to sharp ones by Gauss-Newton steps with reweighting.

Single precision in a fixed order without fast-math: the same vectors for every number of workers.
"""

from __future__ import annotations

import numpy as np
from numba import njit
from numpy.typing import NDArray

from preprocess.motion.kernels.candidate_key import JIT, KERNEL_SOURCE_HASH, PART
from shared.conventions import Codec, grid_shape

_BLURS = (0.5, 0.25, 0.0)
"""Standard deviations of the blurred pictures, blocks."""

_STEPS = (3, 3, 4)
"""Gauss-Newton steps at each of them."""

_SWEEPS = 6
"""Gauss-Seidel sweeps in a step."""

_PICTURE_EDGE, _FIELD_EDGE = 2.5, 0.05
"""Differences below which rho is quadratic: grey levels, pixels."""

_DAMPING = 1e-3
"""Added to the diagonal: vectors that nothing determines stay."""


def search(
    clip: NDArray[np.uint8], codec: Codec, search_range: int, motion_cost: float
) -> NDArray[np.int8]:
    """Fit the fields of a clip.

    Args:
        clip: uint8 RGB, shape (T, 3, H, W), T >= 1.
        codec: block size b, reference (`previous` or `first`) and vector unit u.
        search_range: largest |vx| and |vy|, pixels.
        motion_cost: grey levels a pixel for each pixel that neighbouring vectors differ by.

    Returns:
        int8 in units of 1/u pixel, shape (T-1, 2, ceil(H/b), ceil(W/b)).

    Raises:
        ValueError: blocks choose their reference, which a field of one frame cannot.
    """
    if codec.reference == "either":
        raise ValueError("method variational: reference either; it must be previous or first")
    frames, _, height, width = clip.shape
    fields = np.zeros((frames - 1, 2, *grid_shape(height, width, codec.block)), np.float32)
    if frames > 1:
        fit_clip(
            clip.astype(np.float32),
            codec.block,
            codec.reference == "first",
            np.float32(search_range),
            np.float32(3 * motion_cost * codec.block**2),
            tuple(blur_kernel(blur * codec.block) for blur in _BLURS),
            np.array(_STEPS),
            fields,
        )
    return np.rint(fields * np.float32(codec.vector_unit)).astype(np.int8)


def blur_kernel(sigma: float) -> NDArray[np.float32]:
    """Gaussian weights of sum 1 up to three deviations; sigma 0 gives a single 1."""
    reach = np.arange(-np.ceil(3 * sigma), np.ceil(3 * sigma) + 1)
    weights = np.exp(-np.square(reach) / (2 * max(sigma, 1e-3) ** 2))
    return (weights / weights.sum()).astype(np.float32)


@njit(cache=True, **JIT)
def fit_clip(
    clip: NDArray[np.float32],
    block: int,
    reference_is_first: bool,
    limit: np.float32,
    stiffness: np.float32,
    kernels: tuple[NDArray[np.float32], ...],
    steps: NDArray[np.int64],
    fields: NDArray[np.float32],
    sources: int = KERNEL_SOURCE_HASH,
) -> None:
    """Fit every frame's field, from blurred to sharp, starting from that of the frame before.

    Args:
        clip: grey levels, shape (T, 3, H, W).
        block: b, pixels.
        reference_is_first: vectors point into frame 0, not into the previous frame.
        limit: largest component, pixels.
        stiffness: weight of the differences of neighbouring vectors.
        kernels: of the blurs, coarse to fine.
        steps: of each.
        fields: receives the vectors in pixels, shape (T-1, 2, h, w).
        sources: cache key; leave at its default.
    """
    frames, _, height, width = clip.shape
    rows, columns = fields.shape[2:]
    down, across = _between(height, block, rows), _between(width, block, columns)
    levels = len(kernels)
    # Of each level: the reference, its slopes to the right and downwards.
    pictures = np.empty((levels, 3, *clip.shape[1:]), np.float32)
    current = np.empty(clip.shape[1:], np.float32)
    work = np.empty(clip.shape[1:], np.float32)
    matrix = np.empty((rows, columns, 9, 3), np.float32)
    side = np.empty((rows, columns, 2), np.float32)
    change = np.empty((2, rows, columns), np.float32)
    field = np.zeros((2, rows, columns), np.float32)
    for n in range(1, frames):
        if n == 1 or not reference_is_first:
            source = clip[0] if reference_is_first else clip[n - 1]
            for level in range(levels):
                _blur(source, kernels[level], work, pictures[level, 0])
                _slopes(pictures[level, 0], pictures[level, 1], pictures[level, 2])
        for level in range(levels):
            _blur(clip[n], kernels[level], work, current)
            for _ in range(steps[level]):
                _linearise(pictures[level], current, field, down, across, matrix, side)
                _solve(matrix, side, field, stiffness, change)
                _move(field, change, block, limit)
        fields[n - 1] = field


@njit(**PART)
def _between(length, block, cells):  # type: ignore[no-untyped-def]
    """Blocks whose centres a pixel lies between, and its place on the way: (L, 2), (L,)."""
    nearest = np.empty((length, 2), np.int64)
    fraction = np.empty(length, np.float32)
    for p in range(length):
        place = (p + 0.5) / block - 0.5
        lower = int(np.floor(place))
        nearest[p, 0], nearest[p, 1] = max(lower, 0), min(lower + 1, cells - 1)
        fraction[p] = place - lower
    return nearest, fraction


@njit(**PART)
def _blur(picture, kernel, work, out):  # type: ignore[no-untyped-def]
    """Convolve rows, then columns, with replicated edges."""
    channels, height, width = picture.shape
    reach = len(kernel) // 2
    for c in range(channels):
        for y in range(height):
            for x in range(width):
                total = np.float32(0)
                for k in range(len(kernel)):
                    total += kernel[k] * picture[c, y, min(max(x + k - reach, 0), width - 1)]
                work[c, y, x] = total
        for y in range(height):
            for x in range(width):
                total = np.float32(0)
                for k in range(len(kernel)):
                    total += kernel[k] * work[c, min(max(y + k - reach, 0), height - 1), x]
                out[c, y, x] = total


@njit(**PART)
def _slopes(picture, right, below):  # type: ignore[no-untyped-def]
    """Central differences; of the edge itself, half of those to its neighbour."""
    channels, height, width = picture.shape
    half = np.float32(0.5)
    for c in range(channels):
        for y in range(height):
            for x in range(width):
                ahead, behind = picture[c, y, min(x + 1, width - 1)], picture[c, y, max(x - 1, 0)]
                right[c, y, x] = half * (ahead - behind)
                ahead, behind = picture[c, min(y + 1, height - 1), x], picture[c, max(y - 1, 0), x]
                below[c, y, x] = half * (ahead - behind)


@njit(**PART)
def _linearise(pictures, current, field, down, across, matrix, side):  # type: ignore[no-untyped-def]
    """Normal equations of the picture term for small changes of the field.

    Args:
        pictures: the reference and its slopes, shape (3, C, H, W).
        current: target, shape (C, H, W).
        field: pixels, shape (2, h, w).
        down, across: of `_between`.
        matrix: receives the entries (xx, xy, yy) of each block and its eight neighbours in raster
            order, shape (h, w, 9, 3).
        side: receives the right-hand side, shape (h, w, 2).
    """
    channels, height, width = current.shape
    rows_of, part_down = down
    columns_of, part_across = across
    edge, one, zero = np.float32(_PICTURE_EDGE), np.float32(1), np.float32(0)
    matrix[:] = zero
    side[:] = zero
    weight = np.empty((2, 2), np.float32)
    for y in range(height):
        weight_down = part_down[y]
        for x in range(width):
            weight_across = part_across[x]
            weight[0, 0] = (one - weight_down) * (one - weight_across)
            weight[0, 1] = (one - weight_down) * weight_across
            weight[1, 0] = weight_down * (one - weight_across)
            weight[1, 1] = weight_down * weight_across
            vx = vy = zero
            for j in range(2):
                for i in range(2):
                    row, column = rows_of[y, j], columns_of[x, i]
                    vx += weight[j, i] * field[0, row, column]
                    vy += weight[j, i] * field[1, row, column]
            sx = min(max(x + vx, zero), np.float32(width - 1))
            sy = min(max(y + vy, zero), np.float32(height - 1))
            left, top = int(sx), int(sy)
            right, below = min(left + 1, width - 1), min(top + 1, height - 1)
            fx, fy = np.float32(sx - left), np.float32(sy - top)
            a, b = (one - fy) * (one - fx), (one - fy) * fx
            c, d = fy * (one - fx), fy * fx
            xx = xy = yy = bx = by = zero
            for k in range(channels):
                predicted = _at(pictures[0, k], top, below, left, right, a, b, c, d)
                slope_x = _at(pictures[1, k], top, below, left, right, a, b, c, d)
                slope_y = _at(pictures[2, k], top, below, left, right, a, b, c, d)
                error = predicted - current[k, y, x]
                scale = one / np.sqrt(error * error + edge * edge)
                xx += scale * slope_x * slope_x
                xy += scale * slope_x * slope_y
                yy += scale * slope_y * slope_y
                bx -= scale * error * slope_x
                by -= scale * error * slope_y
            for j in range(2):
                for i in range(2):
                    row, column, own = rows_of[y, j], columns_of[x, i], weight[j, i]
                    side[row, column, 0] += own * bx
                    side[row, column, 1] += own * by
                    for m in range(2):
                        for n in range(2):
                            both = own * weight[m, n]
                            which = 3 * (rows_of[y, m] - row + 1) + columns_of[x, n] - column + 1
                            matrix[row, column, which, 0] += both * xx
                            matrix[row, column, which, 1] += both * xy
                            matrix[row, column, which, 2] += both * yy


@njit(**PART)
def _at(picture, top, below, left, right, a, b, c, d):  # type: ignore[no-untyped-def]
    upper = a * picture[top, left] + b * picture[top, right]
    return upper + c * picture[below, left] + d * picture[below, right]


@njit(**PART)
def _solve(matrix, side, field, stiffness, change):  # type: ignore[no-untyped-def]
    """Solve for the change of the field, with its smoothness reweighted at the field itself."""
    rows, columns = side.shape[:2]
    edge, damping = np.float32(_FIELD_EDGE), np.float32(_DAMPING)
    change[:] = np.float32(0)
    for _ in range(_SWEEPS):
        for y in range(rows):
            for x in range(columns):
                xx, yy = matrix[y, x, 4, 0] + damping, matrix[y, x, 4, 2] + damping
                xy = matrix[y, x, 4, 1]
                bx, by = side[y, x, 0], side[y, x, 1]
                for j in range(max(y - 1, 0), min(y + 2, rows)):
                    for i in range(max(x - 1, 0), min(x + 2, columns)):
                        if j == y and i == x:
                            continue
                        which = 3 * (j - y + 1) + i - x + 1
                        dx, dy = change[0, j, i], change[1, j, i]
                        bx -= matrix[y, x, which, 0] * dx + matrix[y, x, which, 1] * dy
                        by -= matrix[y, x, which, 1] * dx + matrix[y, x, which, 2] * dy
                        if j == y or i == x:
                            away_x = field[0, y, x] - field[0, j, i]
                            away_y = field[1, y, x] - field[1, j, i]
                            length = np.sqrt(away_x * away_x + away_y * away_y + edge * edge)
                            pull = stiffness / length
                            xx += pull
                            yy += pull
                            bx += pull * (dx - away_x)
                            by += pull * (dy - away_y)
                determinant = xx * yy - xy * xy
                change[0, y, x] = (yy * bx - xy * by) / determinant
                change[1, y, x] = (xx * by - xy * bx) / determinant


@njit(**PART)
def _move(field, change, block, limit):  # type: ignore[no-untyped-def]
    """Add the change, at most half a block of it, and keep components within the limit."""
    rows, columns = field.shape[1:]
    most, one = np.float32(block) / np.float32(2), np.float32(1)
    for y in range(rows):
        for x in range(columns):
            dx, dy = change[0, y, x], change[1, y, x]
            length = np.sqrt(dx * dx + dy * dy)
            part = one if length <= most else most / length
            field[0, y, x] = min(max(field[0, y, x] + part * dx, -limit), limit)
            field[1, y, x] = min(max(field[1, y, x] + part * dy, -limit), limit)
