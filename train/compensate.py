"""Motion compensation in torch, batched, on any device; bit for bit `shared.compensate`.

Shapes: B clips, T frames, H x W pixels, block b, grid ceil(H/b) x ceil(W/b).
"""

from __future__ import annotations

import torch
from torch import Tensor

from shared.conventions import Reference, grid_shape


def predict(reference: Tensor, motion: Tensor, *, block: int) -> Tensor:
    """Move every block of the prediction from where its vector points in the reference frame.

    Args:
        reference: any dtype, shape (N, C, H, W).
        motion: integer pixels, shape (N, 2, ceil(H/b), ceil(W/b)).
        block: block size b, pixels.

    Returns:
        Prediction of the dtype and shape of `reference`; coordinates outside replicate the edge.

    Raises:
        ValueError: the motion grid does not fit the frame size and the block size.
    """
    count, channels, height, width = reference.shape
    if motion.shape[-3:] != (2, *grid_shape(height, width, block)):
        raise ValueError(
            f"motion grid {tuple(motion.shape[-3:])} does not fit {height}x{width} frames at"
            f" block {block}: it must be {(2, *grid_shape(height, width, block))}"
        )
    vectors = motion.long().repeat_interleave(block, -2).repeat_interleave(block, -1)
    vectors = vectors[..., :height, :width]
    rows = torch.arange(height, device=motion.device)[:, None] + vectors[:, 1]
    columns = torch.arange(width, device=motion.device) + vectors[:, 0]
    source = rows.clamp(0, height - 1) * width + columns.clamp(0, width - 1)
    source = source.reshape(count, 1, height * width).expand(-1, channels, -1)
    return reference.flatten(-2).gather(-1, source).reshape(reference.shape)


def predict_from_first(first_frame: Tensor, motion: Tensor, *, block: int) -> Tensor:
    """Predictions of frames 1...T-1 from frame 0.

    Args:
        first_frame: shape (B, C, H, W).
        motion: shape (B, T-1, 2, ceil(H/b), ceil(W/b)).
        block: block size b, pixels.

    Returns:
        Shape (B, T-1, C, H, W), dtype of `first_frame`.
    """
    batch, time = motion.shape[:2]
    repeated = first_frame[:, None].expand(-1, time, -1, -1, -1).flatten(0, 1)
    return predict(repeated, motion.flatten(0, 1), block=block).unflatten(0, (batch, time))


def decode_clips(
    first_frame: Tensor, motion: Tensor, residual: Tensor, *, block: int, reference: Reference
) -> Tensor:
    """Clips from first frames, vectors and residuals, clamped to [0, 255].

    Args:
        first_frame: uint8, shape (B, 3, H, W).
        motion: integer pixels, shape (B, T-1, 2, ceil(H/b), ceil(W/b)).
        residual: integer grey levels, shape (B, T-1, 3, H, W).
        block: block size b, pixels.
        reference: which frame each vector points into.

    Returns:
        uint8, shape (B, T, 3, H, W).
    """
    if reference == "first":
        rest = _add(predict_from_first(first_frame, motion, block=block), residual)
        return torch.cat([first_frame[:, None], rest], dim=1)
    frames = [first_frame]
    for n in range(motion.shape[1]):
        frames.append(_add(predict(frames[-1], motion[:, n], block=block), residual[:, n]))
    return torch.stack(frames, dim=1)


def _add(prediction: Tensor, residual: Tensor) -> Tensor:
    return (prediction.to(torch.int16) + residual.to(torch.int16)).clamp(0, 255).to(torch.uint8)
