"""One clip in the store's form: first frame, motion, residual."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from preprocess.motion import search
from preprocess.motion.kernels.encode import luma_into, residual_into
from shared.conventions import Reference
from shared.schema import CodecOptions


@dataclass(frozen=True)
class Encoded:
    """A clip as `shared.motion_compensation.decode_clip` takes it.

    Attributes:
        first_frame: uint8, shape (3, H, W).
        motion: int8 in units of 1/vector_unit pixel, shape (T-1, C, ceil(H/b), ceil(W/b)); C is 3
            where blocks choose their reference, else 2.
        residual: int16, shape (T-1, 3, H, W).
    """

    first_frame: NDArray[np.uint8]
    motion: NDArray[np.int8]
    residual: NDArray[np.int16]


def encode(clip: NDArray[np.uint8], options: CodecOptions) -> Encoded:
    """Search a clip's motion and take the residual; loses nothing.

    Args:
        clip: uint8 RGB, shape (T, 3, H, W), any H and W of at least one pixel.
        options: block, search range, vector unit, reference, method and costs are used here.
    """
    clip = np.ascontiguousarray(clip)
    motion = search(
        clip_luma(clip),
        block=options.block,
        search_range=options.search_range,
        method=options.method,
        reference=options.reference,
        vector_unit=options.vector_unit,
        zero_bias=options.zero_bias,
        motion_cost=options.motion_cost,
        cost_from=options.cost_from,
    )
    rest = clip_residual(
        clip,
        motion,
        block=options.block,
        reference=options.reference,
        vector_unit=options.vector_unit,
    )
    return Encoded(clip[0], motion, rest)


def clip_luma(clip: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """`shared.conventions.luma` of a clip (T, 3, H, W) in C order, several times as fast."""
    frames, channels, height, width = clip.shape
    luma = np.empty((frames, height, width), np.uint8)
    luma_into(clip.reshape(frames, channels, -1), luma.reshape(frames, -1))
    return luma


def clip_residual(
    clip: NDArray[np.uint8],
    motion: NDArray[np.int8],
    *,
    block: int,
    reference: Reference,
    vector_unit: int,
) -> NDArray[np.int16]:
    """`shared.motion_compensation.residual` of a clip in C order, many times as fast."""
    residual = np.empty((len(clip) - 1, *clip.shape[1:]), np.int16)
    first, shift = reference == "first", vector_unit.bit_length() - 1
    flat = residual.reshape(-1)
    residual_into(clip.ravel(), clip.shape, motion, block, first, shift, flat, False)
    return residual


def restore_clip(
    first_frame: NDArray[np.uint8],
    motion: NDArray[np.int8],
    residual: NDArray[np.int16],
    *,
    block: int,
    reference: Reference,
    vector_unit: int,
) -> NDArray[np.uint8]:
    """`shared.motion_compensation.decode_clip`, many times as fast."""
    clip = np.empty((len(motion) + 1, *first_frame.shape), np.uint8)
    clip[0] = first_frame
    first, shift = reference == "first", vector_unit.bit_length() - 1
    flat = np.ascontiguousarray(residual).reshape(-1)
    residual_into(clip.reshape(-1), clip.shape, motion, block, first, shift, flat, True)
    return clip
