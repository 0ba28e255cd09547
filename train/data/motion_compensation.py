"""Motion compensation in torch, batched, on any device; exactly `shared.motion_compensation`.

Shapes: B clips, T frames, H x W pixels, block b, grid ceil(H/b) x ceil(W/b).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import lru_cache

import torch
import torch.nn.functional as F
from torch import Tensor

from shared.conventions import (
    FINE_UNIT,
    WINDOW_SCALE,
    Codec,
    Compensation,
    grid_shape,
    motion_channels,
)
from shared.motion_compensation import neighbours
from shared.schema import CodecOptions


def predict(reference: Tensor, motion: Tensor, codec: Codec) -> Tensor:
    """Predict frames from the places in the reference that vectors point to.

    Args:
        reference: shape (N, C, H, W); uint8, or any dtype if vectors are whole pixels and blocks
            move alone.
        motion: integers in units of 1/u pixel, shape (N, 2, ceil(H/b), ceil(W/b)).
        codec: block size b, vector unit u and compensation; its reference is not used.
            `shared.conventions` has the formulas.

    Returns:
        Prediction of the dtype and shape of `reference`; coordinates outside replicate the edge.

    Raises:
        ValueError: the motion grid does not fit the frame size and the block size, or a reference
            that is not uint8 would have to be interpolated or averaged.
    """
    height, width = reference.shape[-2:]
    if motion.shape[-3:] != (2, *grid_shape(height, width, codec.block)):
        raise ValueError(
            f"motion grid {tuple(motion.shape[-3:])} does not fit {width}x{height} frames at"
            f" block {codec.block}: it must be {(2, *grid_shape(height, width, codec.block))}"
        )
    return _compensate([reference], motion, codec)


def predict_next(before: Tensor, first_frame: Tensor, motion: Tensor, codec: Codec) -> Tensor:
    """Predict frames from the one before each, from frame 0, or from either, block by block.

    Args:
        before: the frame before each, shape (N, C, H, W), as `predict` takes it.
        first_frame: frame 0 of each clip, of the same shape.
        motion: integers, shape (N, 2, ceil(H/b), ceil(W/b)), or (N, 3, ...) if the reference is
            `either`.
        codec: block, reference, vector unit and compensation.

    Returns:
        Prediction of the dtype and shape of `before`.

    Raises:
        ValueError: the motion does not fit the frame size, the block size or the reference; or as
            `predict`.
    """
    if codec.reference != "either":
        return predict(first_frame if codec.reference == "first" else before, motion, codec)
    if motion.shape[1] != motion_channels(codec.reference):
        raise ValueError(f"motion {tuple(motion.shape)}; its second axis must be x, y, index")
    return _compensate([before, first_frame], motion, codec)


def _compensate(frames: Sequence[Tensor], motion: Tensor, codec: Codec) -> Tensor:
    """Predict from one reference, or from the frame before and frame 0 by the motion's index."""
    height, width = frames[0].shape[-2:]
    finest = codec.vector_unit if codec.compensation == "block" else FINE_UNIT
    if finest > 1 and frames[0].dtype != torch.uint8:
        raise ValueError(
            f"the reference is {frames[0].dtype}; between pixels or blocks it must be uint8"
        )
    motion = motion.int()
    own = motion.repeat_interleave(codec.block, -2).repeat_interleave(codec.block, -1)
    own = own[..., :height, :width]  # (N, C, H, W)
    if codec.compensation == "block":
        return _fetch(frames, own, codec.vector_unit)
    around = _surrounding(motion, height, width, codec)
    if codec.compensation == "overlapped":
        blended = sum(
            (weight * _fetch(frames, field, codec.vector_unit) for field, weight in around),
            start=torch.tensor(WINDOW_SCALE**2 // 2),
        )
        return blended.div(WINDOW_SCALE**2, rounding_mode="floor").to(torch.uint8)
    vectors = torch.zeros_like(own[:, :2])
    for field, weight in around:
        # Vectors into the other frame count as the pixel's own; without an index none does.
        same = ((field[:, 2:] != 0) == (own[:, 2:] != 0)).all(1, keepdim=True)  # (N, 1, H, W)
        vectors += weight * torch.where(same, field[:, :2], own[:, :2])
    divisor = codec.vector_unit * (2 * codec.block) ** 2
    fine = (FINE_UNIT * vectors + divisor // 2).div(divisor, rounding_mode="floor")
    return _fetch(frames, torch.cat([fine, own[:, 2:]], dim=1), FINE_UNIT)


def _surrounding(
    motion: Tensor, height: int, width: int, codec: Codec
) -> Iterator[tuple[Tensor, Tensor]]:
    """Motion of the four blocks around each pixel, (N, C, H, W), and their weights, (H, W)."""
    how = codec.block, codec.compensation, motion.device
    rows, columns = _sides(height, *how), _sides(width, *how)
    for row, row_weight in rows:
        for column, column_weight in columns:
            weight = row_weight[:, None] * column_weight
            yield motion.index_select(-2, row).index_select(-1, column), weight


@lru_cache(maxsize=64)
def _sides(
    side: int, block: int, compensation: Compensation, device: torch.device
) -> tuple[tuple[Tensor, Tensor], tuple[Tensor, Tensor]]:
    """Index and weight of the block before and after each pixel of an axis, (side,), int32."""
    found = neighbours(side, block, compensation)
    before, after, weight = (
        torch.tensor(array, dtype=torch.int32, device=device) for array in found[:3]
    )
    return (before, found.scale - weight), (after, weight)


def _fetch(frames: Sequence[Tensor], field: Tensor, unit: int) -> Tensor:
    """Read each pixel where its own vector points, in the frame that its index chooses."""
    found = [_sample(frame, field[:, :2], unit) for frame in frames]
    return torch.where(field[:, 2:] != 0, found[1], found[0]) if len(found) > 1 else found[0]


def _sample(reference: Tensor, vectors: Tensor, unit: int) -> Tensor:
    """Read the reference (N, C, H, W) at vectors (N, 2, H, W) from each pixel, bilinearly."""
    height, width = reference.shape[-2:]
    whole = vectors.div(unit, rounding_mode="floor")
    rows = torch.arange(height, device=vectors.device)[:, None] + whole[:, 1]  # (N, H, W)
    columns = torch.arange(width, device=vectors.device) + whole[:, 0]  # (N, H, W)
    if unit == 1:
        return _gather(reference, rows, columns)
    # Bilinear in integers: weights are the vectors' fractions, in units of 1/unit.
    across, down = (vectors - whole * unit).split(1, dim=1)  # (N, 1, H, W) each
    upper, lower = (
        (unit - across) * _gather(reference, rows + step, columns)
        + across * _gather(reference, rows + step, columns + 1)
        for step in (0, 1)
    )
    total = (unit - down) * upper + down * lower + unit**2 // 2
    return total.div(unit**2, rounding_mode="floor").to(torch.uint8)


def _gather(reference: Tensor, rows: Tensor, columns: Tensor) -> Tensor:
    """The reference (N, C, H, W) at rows and columns (N, H, W), clamped to the frame."""
    count, channels, height, width = reference.shape
    source = rows.clamp(0, height - 1) * width + columns.clamp(0, width - 1)  # (N, H, W)
    source = source.reshape(count, 1, height * width).expand(-1, channels, -1)  # (N, C, H W)
    return reference.flatten(-2).gather(-1, source).reshape(reference.shape)


def predict_from_first(first_frame: Tensor, motion: Tensor, codec: Codec) -> Tensor:
    """Predict frames 1...T-1 from frame 0.

    Args:
        first_frame: shape (B, C, H, W).
        motion: shape (B, T-1, 2, ceil(H/b), ceil(W/b)).
        codec: block, vector unit and compensation.

    Returns:
        Shape (B, T-1, C, H, W), dtype of `first_frame`.
    """
    batch, time = motion.shape[:2]
    repeated = first_frame[:, None].expand(-1, time, -1, -1, -1).flatten(0, 1)  # (B (T-1), C, H, W)
    return predict(repeated, motion.flatten(0, 1), codec).unflatten(0, (batch, time))


def vectors_at(motion: Tensor, store: CodecOptions, grid: tuple[int, int], cell: int) -> Tensor:
    """Vectors at the centres of cells: of the block there, or interpolated between blocks.

    As the store's compensation has it, where a block is a whole number of cells.

    Args:
        motion: of a store, shape (B, T-1, 2 or 3, ceil(H/b), ceil(W/b)).
        store: its options.
        grid: cells down and across.
        cell: pixels that a cell covers, in each direction.

    Returns:
        Float32, pixels, shape (B, T-1, 2, *grid).
    """
    fields = motion[:, :, :2]
    if store.compensation != "block" and store.block % cell == 0:
        between = F.interpolate(
            fields.flatten(0, 1).float(), scale_factor=store.block // cell, mode="bilinear"
        )
        found = between[..., : grid[0], : grid[1]].unflatten(0, motion.shape[:2])
        return found / store.vector_unit
    down, across = (
        ((torch.arange(cells, device=motion.device) * cell + cell // 2) // store.block).clamp_max(
            side - 1
        )
        for cells, side in zip(grid, motion.shape[-2:], strict=True)
    )
    return fields[..., down[:, None], across].float() / store.vector_unit


def decode_vectors(first_frame: Tensor, motion: Tensor, codec: Codec) -> Tensor:
    """Decode clips from first frames and vectors, without residuals: see `decode_clips`."""
    shape = (*motion.shape[:2], *first_frame.shape[1:])
    none = torch.zeros(shape, dtype=torch.int16, device=motion.device)
    return decode_clips(first_frame, motion, none, codec)


def decode_clips(first_frame: Tensor, motion: Tensor, residual: Tensor, codec: Codec) -> Tensor:
    """Decode clips from first frames, vectors and residuals, clamped to [0, 255].

    Args:
        first_frame: uint8, shape (B, 3, H, W).
        motion: integers, shape (B, T-1, 2, ceil(H/b), ceil(W/b)), or (B, T-1, 3, ...) if the
            reference is `either`.
        residual: integer grey levels, shape (B, T-1, 3, H, W).
        codec: block, reference, vector unit and compensation.

    Returns:
        uint8, shape (B, T, 3, H, W).
    """
    if codec.reference == "first":
        rest = _add(predict_from_first(first_frame, motion, codec), residual)
        return torch.cat([first_frame[:, None], rest], dim=1)
    frames = [first_frame]
    for n in range(motion.shape[1]):
        prediction = predict_next(frames[-1], first_frame, motion[:, n], codec)
        frames.append(_add(prediction, residual[:, n]))
    return torch.stack(frames, dim=1)


def _add(prediction: Tensor, residual: Tensor) -> Tensor:
    return (prediction.to(torch.int16) + residual.to(torch.int16)).clamp(0, 255).to(torch.uint8)
