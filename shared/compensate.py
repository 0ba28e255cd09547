"""Motion compensation and its inverse in numpy: the reference for the torch version in `train`."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from shared.conventions import Reference, grid_shape


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
    vectors = motion.repeat(block, axis=-2).repeat(block, axis=-1)[..., :height, :width]
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
        motion: int8, shape (T-1, 2, ceil(H/b), ceil(W/b)).
        block: block size b, pixels.
        reference: which frame each vector points into.
        vector_unit: vectors are in units of 1/vector_unit pixel.

    Returns:
        int16 in [-255, 255], shape (T-1, 3, H, W).
    """
    source = clip[:1] if reference == "first" else clip[:-1]
    return clip[1:].astype(np.int16) - predict(source, motion, block=block, vector_unit=vector_unit)


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
        motion: int8, shape (T-1, 2, ceil(H/b), ceil(W/b)).
        residual: int16, shape (T-1, 3, H, W).
        block: block size b, pixels.
        reference: which frame each vector points into.
        vector_unit: vectors are in units of 1/vector_unit pixel.

    Returns:
        uint8 clip, shape (T, 3, H, W).
    """
    clip = np.empty((len(motion) + 1, *first_frame.shape), np.uint8)
    clip[0] = first_frame
    how = {"block": block, "vector_unit": vector_unit}
    if reference == "first":
        clip[1:] = _add(predict(first_frame, motion, **how), residual)
        return clip
    for n in range(1, len(clip)):
        clip[n] = _add(predict(clip[n - 1], motion[n - 1], **how), residual[n - 1])
    return clip


def _add(prediction: NDArray[np.uint8], residual: NDArray[np.int16]) -> NDArray[np.uint8]:
    return (prediction + residual).clip(0, 255).astype(np.uint8)
