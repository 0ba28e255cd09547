"""Motion compensation and its inverse in NumPy: the reference for PyTorch's in `train`."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from shared.conventions import Codec, grid_shape, motion_channels


def predict(reference: NDArray[np.uint8], motion: NDArray[Any], codec: Codec) -> NDArray[np.uint8]:
    """Predict a frame: copy each block from where its vector points in the reference frame.

    Args:
        reference: uint8, shape (..., 3, H, W).
        motion: integers in units of 1/u pixel, shape (..., 2, ceil(H/b), ceil(W/b)); leading axes
            broadcast against those of `reference`.
        codec: block size b and vector unit u; its reference is not used. `shared.conventions` has
            the interpolation between pixels.

    Returns:
        uint8 prediction, shape (..., 3, H, W); coordinates outside replicate the edge.

    Raises:
        ValueError: the motion grid does not fit the frame size and the block size.
    """
    block, unit = codec.block, codec.vector_unit
    height, width = reference.shape[-2:]
    if motion.shape[-3:] != (2, *grid_shape(height, width, block)):
        raise ValueError(
            f"motion grid {motion.shape[-3:]} does not fit {height}x{width} frames at block"
            f" {block}: it must be {(2, *grid_shape(height, width, block))}"
        )
    vectors = _per_pixel(motion, block, height, width)  # (..., 2, H, W)
    whole, fraction = np.divmod(vectors.astype(np.int32), unit)
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
        codec: block, reference and vector unit.

    Returns:
        uint8, shape (..., 3, H, W).

    Raises:
        ValueError: the motion does not fit the frame size, the block size or the reference.
    """
    if codec.reference != "either":
        return predict(first_frame if codec.reference == "first" else previous, motion, codec)
    if motion.shape[-3] != motion_channels(codec.reference):
        raise ValueError(f"motion {motion.shape}; its third axis from the end must be x, y, index")
    vectors, index = motion[..., :2, :, :], motion[..., 2:, :, :]
    from_first = _per_pixel(index, codec.block, *previous.shape[-2:]) != 0  # (..., 1, H, W)
    return np.where(
        from_first, predict(first_frame, vectors, codec), predict(previous, vectors, codec)
    )


def _per_pixel(field: NDArray[Any], block: int, height: int, width: int) -> NDArray[Any]:
    """Repeat each block's value over its pixels: (..., h, w) -> (..., H, W)."""
    return field.repeat(block, axis=-2).repeat(block, axis=-1)[..., :height, :width]


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
        codec: block, reference and vector unit.

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
        codec: block, reference and vector unit.

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
