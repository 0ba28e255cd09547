"""Motion compensation and its inverse in NumPy: the reference for PyTorch's in `train`."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from shared.conventions import (
    FINE_UNIT,
    WINDOW_SCALE,
    Codec,
    Compensation,
    grid_shape,
    motion_channels,
)


class Neighbours(NamedTuple):
    """The two blocks along an axis between whose centres each pixel lies.

    Attributes:
        before: index of the block whose centre is at or before the pixel, int64, shape (side,).
        after: index of the next one, likewise; both are clamped to the grid.
        weight: integer weight of `after`, likewise.
        scale: sum of both blocks' weights.
    """

    before: NDArray[np.int64]
    after: NDArray[np.int64]
    weight: NDArray[np.int64]
    scale: int


@lru_cache(maxsize=64)
def neighbours(side: int, block: int, compensation: Compensation) -> Neighbours:
    """Blocks that predict each pixel along an axis, by the formulas of `shared.conventions`.

    Args:
        side: height or width H of the frame, pixels.
        block: block size b, pixels; any, also an odd one.
        compensation: `overlapped`, raised cosine in units of 1/64; or `interpolated`, linear in
            units of 1/2b.
    """
    pixels = np.arange(side)
    following, rest = np.divmod(2 * pixels + 1 + block, 2 * block)
    weight, scale = rest, 2 * block
    if compensation == "overlapped":
        scale = WINDOW_SCALE
        window = [
            math.floor(scale * math.sin(math.pi * r / (4 * block)) ** 2 + 0.5)
            for r in range(2 * block)
        ]
        weight = np.array(window)[rest]
    last = -(-side // block) - 1
    arrays = (following - 1).clip(0, last), following.clip(0, last), weight
    for array in arrays:
        array.flags.writeable = False
    return Neighbours(*arrays, scale)


def predict(reference: NDArray[np.uint8], motion: NDArray[Any], codec: Codec) -> NDArray[np.uint8]:
    """Predict a frame from where vectors point in the reference frame.

    Args:
        reference: uint8, shape (..., 3, H, W).
        motion: integers in units of 1/u pixel, shape (..., 2, ceil(H/b), ceil(W/b)); leading axes
            broadcast against those of `reference`.
        codec: block size b, vector unit u and compensation; its reference is not used.
            `shared.conventions` has the formulas.

    Returns:
        uint8 prediction, shape (..., 3, H, W); coordinates outside replicate the edge.

    Raises:
        ValueError: the motion grid does not fit the frame size and the block size.
    """
    height, width = reference.shape[-2:]
    if motion.shape[-3:] != (2, *grid_shape(height, width, codec.block)):
        raise ValueError(
            f"motion grid {motion.shape[-3:]} does not fit {width}x{height} frames at block"
            f" {codec.block}: it must be {(2, *grid_shape(height, width, codec.block))}"
        )
    return _compensate([reference], motion, codec)


def predict_next(
    previous: NDArray[np.uint8],
    first_frame: NDArray[np.uint8],
    motion: NDArray[Any],
    codec: Codec,
) -> NDArray[np.uint8]:
    """Predict frames from their previous frames, from frame 0, or from either by block.

    Args:
        previous: uint8, shape (..., 3, H, W): the frame before each.
        first_frame: frame 0 of the clip, of the same shape; leading axes broadcast.
        motion: integers, shape (..., C, ceil(H/b), ceil(W/b)); C is 3 if the reference is
            `either`, else 2.
        codec: block, reference, vector unit and compensation.

    Returns:
        uint8, shape (..., 3, H, W).

    Raises:
        ValueError: the motion does not fit the frame size, the block size or the reference.
    """
    if codec.reference != "either":
        return predict(first_frame if codec.reference == "first" else previous, motion, codec)
    if motion.shape[-3] != motion_channels(codec.reference):
        raise ValueError(f"motion {motion.shape}; its third axis from the end must be x, y, index")
    return _compensate([previous, first_frame], motion, codec)


def _compensate(
    frames: Sequence[NDArray[np.uint8]], motion: NDArray[Any], codec: Codec
) -> NDArray[np.uint8]:
    """Predict from one reference, or from the previous frame and frame 0 by the motion's index."""
    height, width = frames[0].shape[-2:]
    motion = motion.astype(np.int32)
    own = _at(motion, np.arange(height) // codec.block, np.arange(width) // codec.block)
    if codec.compensation == "block":
        return _fetch(frames, own, codec.vector_unit)
    around = _surrounding(motion, height, width, codec)
    if codec.compensation == "overlapped":
        blended = sum(
            (weight * _fetch(frames, field, codec.vector_unit) for field, weight in around),
            start=np.array(WINDOW_SCALE**2 // 2),
        )
        return (blended // WINDOW_SCALE**2).astype(np.uint8)
    vectors = np.zeros_like(own[..., :2, :, :])
    for field, weight in around:
        # Vectors into the other frame count as the pixel's own; without an index none does.
        same = ((field[..., 2:, :, :] != 0) == (own[..., 2:, :, :] != 0)).all(-3, keepdims=True)
        vectors += weight * np.where(same, field[..., :2, :, :], own[..., :2, :, :])
    divisor = codec.vector_unit * (2 * codec.block) ** 2
    fine = (FINE_UNIT * vectors + divisor // 2) // divisor
    return _fetch(frames, np.concatenate([fine, own[..., 2:, :, :]], axis=-3), FINE_UNIT)


def _surrounding(
    motion: NDArray[np.int32], height: int, width: int, codec: Codec
) -> Iterator[tuple[NDArray[np.int32], NDArray[np.int32]]]:
    """Motion of the four blocks around each pixel, (..., C, H, W), and their weights, (H, W)."""
    down, across = (neighbours(side, codec.block, codec.compensation) for side in (height, width))
    for rows, row_weight in ((down.before, down.scale - down.weight), (down.after, down.weight)):
        for columns, column_weight in (
            (across.before, across.scale - across.weight),
            (across.after, across.weight),
        ):
            weight = np.outer(row_weight, column_weight).astype(np.int32)
            yield _at(motion, rows, columns), weight


def _at(
    motion: NDArray[np.int32], rows: NDArray[np.int64], columns: NDArray[np.int64]
) -> NDArray[np.int32]:
    """Motion of the block in these rows and columns of the grid: (..., h, w) -> (..., H, W)."""
    return motion[..., rows[:, None], columns]


def _fetch(
    frames: Sequence[NDArray[np.uint8]], field: NDArray[np.int32], unit: int
) -> NDArray[np.uint8]:
    """Read each pixel where its own vector points, in the frame that its index chooses."""
    found = [_sample(frame, field[..., :2, :, :], unit) for frame in frames]
    return np.where(field[..., 2:, :, :] != 0, found[1], found[0]) if len(found) > 1 else found[0]


def _sample(
    reference: NDArray[np.uint8], vectors: NDArray[np.int32], unit: int
) -> NDArray[np.uint8]:
    """Read the reference (..., 3, H, W) at vectors (..., 2, H, W) from each pixel, bilinearly."""
    height, width = reference.shape[-2:]
    whole, fraction = np.divmod(vectors, unit)
    rows = np.arange(height)[:, None] + whole[..., 1, :, :]
    columns = np.arange(width) + whole[..., 0, :, :]
    if not fraction.any():
        return _gather(reference, rows, columns)
    across, down = fraction[..., :1, :, :], fraction[..., 1:, :, :]
    upper, lower = (
        (unit - across) * _gather(reference, rows + step, columns)
        + across * _gather(reference, rows + step, columns + 1)
        for step in (0, 1)
    )
    total = (unit - down) * upper + down * lower + unit**2 // 2
    return (total // unit**2).astype(np.uint8)


def _gather(
    reference: NDArray[np.uint8], rows: NDArray[np.int64], columns: NDArray[np.int64]
) -> NDArray[np.uint8]:
    """Read the reference (..., C, H, W) at rows and columns (..., H, W), clamped to the frame."""
    height, width = reference.shape[-2:]
    source = rows.clip(0, height - 1) * width + columns.clip(0, width - 1)
    source = source.reshape(*source.shape[:-2], 1, height * width)  # (..., 1, H W)
    flat = reference.reshape(*reference.shape[:-2], height * width)  # (..., C, H W)
    leading = np.broadcast_shapes(flat.shape[:-2], source.shape[:-2])
    flat = np.broadcast_to(flat, (*leading, *flat.shape[-2:]))
    source = np.broadcast_to(source, (*leading, *source.shape[-2:]))
    moved = np.take_along_axis(flat, source, axis=-1)
    return moved.reshape(*leading, reference.shape[-3], height, width)


def residual(clip: NDArray[np.uint8], motion: NDArray[np.int8], codec: Codec) -> NDArray[np.int16]:
    """Residuals of a clip: frames 1...T-1 minus their predictions.

    Args:
        clip: uint8, shape (T, 3, H, W).
        motion: int8, shape (T-1, C, ceil(H/b), ceil(W/b)); C as in `predict_next`.
        codec: block, reference, vector unit and compensation.

    Returns:
        int16 in [-255, 255], shape (T-1, 3, H, W).
    """
    return clip[1:].astype(np.int16) - predict_next(clip[:-1], clip[:1], motion, codec)


def decode_clip(
    first_frame: NDArray[np.uint8],
    motion: NDArray[np.int8],
    residual: NDArray[np.int16],
    codec: Codec,
) -> NDArray[np.uint8]:
    """Decode a clip from its first frame, vectors and residuals: the inverse of `residual`.

    Exact for stored residuals. Values are clamped to [0, 255], as a video decoder does, which
    matters only for residuals that were generated.

    Args:
        first_frame: uint8, shape (3, H, W).
        motion: int8, shape (T-1, C, ceil(H/b), ceil(W/b)); C as in `predict_next`.
        residual: int16, shape (T-1, 3, H, W).
        codec: block, reference, vector unit and compensation.

    Returns:
        uint8 clip, shape (T, 3, H, W).
    """
    clip = np.empty((len(motion) + 1, *first_frame.shape), np.uint8)
    clip[0] = first_frame
    if codec.reference == "first":
        clip[1:] = _add(predict(first_frame, motion, codec), residual)
        return clip
    for n in range(1, len(clip)):
        prediction = predict_next(clip[n - 1], first_frame, motion[n - 1], codec)
        clip[n] = _add(prediction, residual[n - 1])
    return clip


def _add(prediction: NDArray[np.uint8], residual: NDArray[np.int16]) -> NDArray[np.uint8]:
    return (prediction + residual).clip(0, 255).astype(np.uint8)
