"""Motion compensation in torch, batched, on any device; exactly `shared.motion_compensation`.

Shapes: B clips, T frames, H x W pixels, block b, grid ceil(H/b) x ceil(W/b).
"""

from __future__ import annotations

import torch
from torch import Tensor

from shared.conventions import Reference, grid_shape, motion_channels


def predict(reference: Tensor, motion: Tensor, *, block: int, vector_unit: int) -> Tensor:
    """Predict frames: copy each block from the place in the reference that its vector points to.

    Args:
        reference: shape (N, C, H, W); uint8, or any dtype if vectors are whole pixels.
        motion: integers, shape (N, 2, ceil(H/b), ceil(W/b)).
        block: block size b, pixels.
        vector_unit: vectors are in units of 1/vector_unit pixel; `shared.conventions` defines the
            interpolation between pixels.

    Returns:
        Prediction of the dtype and shape of `reference`; coordinates outside replicate the edge.

    Raises:
        ValueError: the motion grid does not fit the frame size and the block size, or a reference
            that is not uint8 would have to be interpolated.
    """
    height, width = reference.shape[-2:]
    if motion.shape[-3:] != (2, *grid_shape(height, width, block)):
        raise ValueError(
            f"motion grid {tuple(motion.shape[-3:])} does not fit {height}x{width} frames at"
            f" block {block}: it must be {(2, *grid_shape(height, width, block))}"
        )
    vectors = _per_pixel(motion.int(), block, height, width)  # (N, 2, H, W)
    whole = vectors.div(vector_unit, rounding_mode="floor")
    rows = torch.arange(height, device=motion.device)[:, None] + whole[:, 1]  # (N, H, W)
    columns = torch.arange(width, device=motion.device) + whole[:, 0]  # (N, H, W)
    if vector_unit == 1:
        return _gather(reference, rows, columns)
    if reference.dtype != torch.uint8:
        raise ValueError(f"the reference is {reference.dtype}; between pixels it must be uint8")
    # Bilinear in integers: weights are the vectors' fractions, in units of 1/vector_unit.
    across, down = (vectors - whole * vector_unit).split(1, dim=1)  # (N, 1, H, W) each
    upper, lower = (
        (vector_unit - across) * _gather(reference, rows + step, columns)
        + across * _gather(reference, rows + step, columns + 1)
        for step in (0, 1)
    )
    total = (vector_unit - down) * upper + down * lower + vector_unit**2 // 2
    return total.div(vector_unit**2, rounding_mode="floor").to(torch.uint8)


def predict_next(
    before: Tensor,
    first_frame: Tensor,
    motion: Tensor,
    *,
    block: int,
    reference: Reference,
    vector_unit: int,
) -> Tensor:
    """Predict frames from the one before each, from frame 0, or from either, block by block.

    Args:
        before: the frame before each, shape (N, C, H, W), as `predict` takes it.
        first_frame: frame 0 of each clip, of the same shape.
        motion: integers, shape (N, 2, ceil(H/b), ceil(W/b)), or (N, 3, ...) if `reference` is
            `either`.
        block: block size b, pixels.
        reference: which frame each vector points into.
        vector_unit: vectors are in units of 1/vector_unit pixel.

    Returns:
        Prediction of the dtype and shape of `before`.

    Raises:
        ValueError: the motion does not fit the frame size, the block size or the reference.
    """
    units = {"block": block, "vector_unit": vector_unit}
    if reference != "either":
        return predict(first_frame if reference == "first" else before, motion, **units)
    if motion.shape[1] != motion_channels(reference):
        raise ValueError(f"motion {tuple(motion.shape)}; its second axis must be x, y, index")
    vectors, index = motion[:, :2], motion[:, 2:]
    from_first = _per_pixel(index, block, *before.shape[-2:]) != 0  # (N, 1, H, W)
    by_first, by_previous = (predict(frame, vectors, **units) for frame in (first_frame, before))
    return torch.where(from_first, by_first, by_previous)


def _per_pixel(field: Tensor, block: int, height: int, width: int) -> Tensor:
    """Repeat each block's value at each of its pixels: (..., h, w) to (..., H, W)."""
    repeated = field.repeat_interleave(block, -2).repeat_interleave(block, -1)
    return repeated[..., :height, :width]


def _gather(reference: Tensor, rows: Tensor, columns: Tensor) -> Tensor:
    """The reference (N, C, H, W) at rows and columns (N, H, W), clamped to the frame."""
    count, channels, height, width = reference.shape
    source = rows.clamp(0, height - 1) * width + columns.clamp(0, width - 1)  # (N, H, W)
    source = source.reshape(count, 1, height * width).expand(-1, channels, -1)  # (N, C, H W)
    return reference.flatten(-2).gather(-1, source).reshape(reference.shape)


def predict_from_first(
    first_frame: Tensor, motion: Tensor, *, block: int, vector_unit: int
) -> Tensor:
    """Predict frames 1...T-1 from frame 0.

    Args:
        first_frame: shape (B, C, H, W).
        motion: shape (B, T-1, 2, ceil(H/b), ceil(W/b)).
        block: block size b, pixels.
        vector_unit: vectors are in units of 1/vector_unit pixel.

    Returns:
        Shape (B, T-1, C, H, W), dtype of `first_frame`.
    """
    batch, time = motion.shape[:2]
    repeated = first_frame[:, None].expand(-1, time, -1, -1, -1).flatten(0, 1)  # (B (T-1), C, H, W)
    flat = predict(repeated, motion.flatten(0, 1), block=block, vector_unit=vector_unit)
    return flat.unflatten(0, (batch, time))


def decode_clips(
    first_frame: Tensor,
    motion: Tensor,
    residual: Tensor,
    *,
    block: int,
    reference: Reference,
    vector_unit: int,
) -> Tensor:
    """Decode clips from first frames, vectors and residuals, clamped to [0, 255].

    Args:
        first_frame: uint8, shape (B, 3, H, W).
        motion: integers, shape (B, T-1, 2, ceil(H/b), ceil(W/b)), or (B, T-1, 3, ...) if
            `reference` is `either`.
        residual: integer grey levels, shape (B, T-1, 3, H, W).
        block: block size b, pixels.
        reference: which frame each vector points into.
        vector_unit: vectors are in units of 1/vector_unit pixel.

    Returns:
        uint8, shape (B, T, 3, H, W).
    """
    if reference == "first":
        units = {"block": block, "vector_unit": vector_unit}
        rest = _add(predict_from_first(first_frame, motion, **units), residual)
        return torch.cat([first_frame[:, None], rest], dim=1)
    frames = [first_frame]
    for n in range(motion.shape[1]):
        prediction = predict_next(
            frames[-1],
            first_frame,
            motion[:, n],
            block=block,
            reference=reference,
            vector_unit=vector_unit,
        )
        frames.append(_add(prediction, residual[:, n]))
    return torch.stack(frames, dim=1)


def _add(prediction: Tensor, residual: Tensor) -> Tensor:
    return (prediction.to(torch.int16) + residual.to(torch.int16)).clamp(0, 255).to(torch.uint8)
