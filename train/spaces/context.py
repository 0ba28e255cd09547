"""What a decoder knows of a frame before it reads the frame's latents: pictures, by name."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from shared.conventions import Reference
from shared.schema import CodecOptions
from train.compensate import predict_next

NEIGHBOURS = {"above": (-1, 0), "below": (1, 0), "left": (0, -1), "right": (0, 1)}
"""Predictions by the vectors of each block's neighbour: rows and columns from block to neighbour.

Where a block straddles the edge of what moves, a neighbour's vector may be right for a part of it,
which is what overlapped block motion compensation (Orchard and Sullivan 1994) rests on.
"""


@dataclass(frozen=True)
class Seen:
    """What the pictures are made of, for N frames.

    Attributes:
        prediction: uint8, shape (N, 3, H, W).
        before: the decoded frame before each, likewise.
        first_frame: of each one's clip, likewise.
        motion: int8, shape (N, 2 or 3, h, w).
    """

    prediction: Tensor
    before: Tensor
    first_frame: Tensor
    motion: Tensor


def known_pictures(reference: Reference) -> tuple[str, ...]:
    """Names of all pictures that differ; the prediction is the first.

    Where every frame is predicted from the first one, all are decoded at once, and there is no
    frame before.
    """
    before = () if reference == "first" else ("before",)
    return ("prediction", "first", *before, *NEIGHBOURS)


def context_pictures(names: Sequence[str], seen: Seen, store: CodecOptions) -> Tensor:
    """Pictures side by side along the channels, uint8, shape (N, 3 * len(names), H, W)."""
    return torch.cat([_picture(name)(seen, store) for name in names], dim=1)


def _picture(name: str) -> Callable[[Seen, CodecOptions], Tensor]:
    if name in NEIGHBOURS:
        return lambda seen, store: _by_neighbour(seen, store, *NEIGHBOURS[name])
    plain = {"prediction": "prediction", "first": "first_frame", "before": "before"}
    return lambda seen, _: getattr(seen, plain[name])


def _by_neighbour(seen: Seen, store: CodecOptions, down: int, across: int) -> Tensor:
    rows, columns = seen.motion.shape[-2:]
    # Padding of integers by replication is not implemented; vectors are exact in float32.
    wider = F.pad(seen.motion.float(), (1, 1, 1, 1), mode="replicate").to(seen.motion.dtype)
    shifted = wider[..., 1 + down : 1 + down + rows, 1 + across : 1 + across + columns]
    return predict_next(
        seen.before,
        seen.first_frame,
        shifted,
        block=store.block,
        reference=store.reference,
        vector_unit=store.vector_unit,
    )
