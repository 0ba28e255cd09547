"""Motion compensation and its inverse in numpy: the reference for the torch version in `train`."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from shared.conventions import Reference, grid_shape, motion_channels


def predict(
    reference: NDArray[np.uint8], motion: NDArray[Any], *, block: int, vector_unit: int
) -> NDArray[np.uint8]:
    """Move every block of the prediction from where its vector points in the reference frame.

    Args:
        reference: uint8, shape (..., 3, H, W).
        motion: integers in units of 1/vector_unit pixel, shape (..., 2, ceil(H/b), ceil(W/b));
            leading axes broadcast against those of `reference`.
        block: block size b, pixels.
        vector_unit: u; between pixels, `shared.conventions` has the interpolation.

    Returns:
        uint8 prediction, shape (..., 3, H, W); coordinates outside replicate the edge.

    Raises:
        ValueError: the motion grid does not fit the frame size and the block size.
    """
    height, width = reference.shape[-2:]
    if motion.shape[-3:] != (2, *grid_shape(height, width, block)):
        raise ValueError(
            f"motion grid {motion.shape[-3:]} does not fit {height}x{width} frames at block"
            f" {block}: it must be {(2, *grid_shape(height, width, block))}"
        )
    vectors = _of_pixels(motion, block, height, width)
    whole, fraction = np.divmod(vectors.astype(np.int32), vector_unit)
    rows = np.arange(height)[:, None] + whole[..., 1, :, :]
    columns = np.arange(width) + whole[..., 0, :, :]
    if not fraction.any():
        return _gather(reference, rows, columns)
    across, down = fraction[..., :1, :, :], fraction[..., 1:, :, :]
    upper, lower = (
        (vector_unit - across) * _gather(reference, rows + step, columns)
        + across * _gather(reference, rows + step, columns + 1)
        for step in (0, 1)
    )
    total = (vector_unit - down) * upper + down * lower + vector_unit**2 // 2
    return (total // vector_unit**2).astype(np.uint8)


def predict_next(
    before: NDArray[np.uint8],
    first_frame: NDArray[np.uint8],
    motion: NDArray[Any],
    *,
    block: int,
    reference: Reference,
    vector_unit: int,
) -> NDArray[np.uint8]:
    """Predictions of frames from the one before each, from frame 0, or from either by block.

    Args:
        before: uint8, shape (..., 3, H, W): the frame before each.
        first_frame: frame 0 of the clip, likewise; leading axes broadcast.
        motion: integers, shape (..., C, ceil(H/b), ceil(W/b)); C is 3 where `reference` is
            `either`, else 2.
        block: block size b, pixels.
        reference: which frame each vector points into.
        vector_unit: vectors are in units of 1/vector_unit pixel.

    Returns:
        uint8, shape (..., 3, H, W).

    Raises:
        ValueError: the motion does not fit the frame size, the block size or the reference.
    """
    how = {"block": block, "vector_unit": vector_unit}
    if reference != "either":
        return predict(first_frame if reference == "first" else before, motion, **how)
    if motion.shape[-3] != motion_channels(reference):
        raise ValueError(f"motion {motion.shape}; its third axis from the end must be x, y, index")
    vectors, index = motion[..., :2, :, :], motion[..., 2:, :, :]
    from_first = _of_pixels(index, block, *before.shape[-2:]) != 0
    return np.where(
        from_first, predict(first_frame, vectors, **how), predict(before, vectors, **how)
    )


def _of_pixels(field: NDArray[Any], block: int, height: int, width: int) -> NDArray[Any]:
    """Each block's value at each of its pixels, shape (..., H, W)."""
    return field.repeat(block, axis=-2).repeat(block, axis=-1)[..., :height, :width]


def _gather(
    reference: NDArray[np.uint8], rows: NDArray[np.int64], columns: NDArray[np.int64]
) -> NDArray[np.uint8]:
    """The reference (..., C, H, W) at rows and columns (..., H, W), clamped to the frame."""
    height, width = reference.shape[-2:]
    source = rows.clip(0, height - 1) * width + columns.clip(0, width - 1)
    source = source.reshape(*source.shape[:-2], 1, height * width)
    flat = reference.reshape(*reference.shape[:-2], height * width)
    leading = np.broadcast_shapes(flat.shape[:-2], source.shape[:-2])
    flat = np.broadcast_to(flat, (*leading, *flat.shape[-2:]))
    source = np.broadcast_to(source, (*leading, *source.shape[-2:]))
    moved = np.take_along_axis(flat, source, axis=-1)
    return moved.reshape(*leading, reference.shape[-3], height, width)


def residual(
    clip: NDArray[np.uint8],
    motion: NDArray[np.int8],
    *,
    block: int,
    reference: Reference,
    vector_unit: int,
) -> NDArray[np.int16]:
    """What motion leaves unexplained: frames 1...T-1 minus their predictions.

    Args:
        clip: uint8, shape (T, 3, H, W).
        motion: int8, shape (T-1, C, ceil(H/b), ceil(W/b)); C as in `predict_next`.
        block: block size b, pixels.
        reference: which frame each vector points into.
        vector_unit: vectors are in units of 1/vector_unit pixel.

    Returns:
        int16 in [-255, 255], shape (T-1, 3, H, W).
    """
    how: dict[str, Any] = {"block": block, "reference": reference, "vector_unit": vector_unit}
    return clip[1:].astype(np.int16) - predict_next(clip[:-1], clip[:1], motion, **how)


def decode_clip(
    first_frame: NDArray[np.uint8],
    motion: NDArray[np.int8],
    residual: NDArray[np.int16],
    *,
    block: int,
    reference: Reference,
    vector_unit: int,
) -> NDArray[np.uint8]:
    """Inverse of `residual`: the clip from its first frame, vectors and residuals.

    Exact for stored residuals. Values are clamped to [0, 255], as a video decoder does, which
    matters only for residuals that were generated.

    Args:
        first_frame: uint8, shape (3, H, W).
        motion: int8, shape (T-1, C, ceil(H/b), ceil(W/b)); C as in `predict_next`.
        residual: int16, shape (T-1, 3, H, W).
        block: block size b, pixels.
        reference: which frame each vector points into.
        vector_unit: vectors are in units of 1/vector_unit pixel.

    Returns:
        uint8 clip, shape (T, 3, H, W).
    """
    clip = np.empty((len(motion) + 1, *first_frame.shape), np.uint8)
    clip[0] = first_frame
    if reference == "first":
        clip[1:] = _add(
            predict(first_frame, motion, block=block, vector_unit=vector_unit), residual
        )
        return clip
    how: dict[str, Any] = {"block": block, "reference": reference, "vector_unit": vector_unit}
    for n in range(1, len(clip)):
        prediction = predict_next(clip[n - 1], first_frame, motion[n - 1], **how)
        clip[n] = _add(prediction, residual[n - 1])
    return clip


def _add(prediction: NDArray[np.uint8], residual: NDArray[np.int16]) -> NDArray[np.uint8]:
    return (prediction + residual).clip(0, 255).astype(np.uint8)
