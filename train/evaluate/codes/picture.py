"""What the codes make of one frame: the part where most happens, enlarged."""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from shared.report.pictures import Film, Picture, contact_sheet, enlarge

_ENLARGED = 3


def codes_picture(real: Tensor, coded: list[Tensor]) -> Picture:
    """A row for the real clip and one for each code; columns: a third, two thirds and the end.

    Args:
        real: uint8, shape (T, 3, H, W).
        coded: likewise.
    """
    top, left, side = busiest(real)
    steps = [len(real) // 3, 2 * len(real) // 3, len(real) - 1]
    part = slice(top, top + side), slice(left, left + side)

    def film(frames: Tensor) -> Film:
        cut: Film = np.ascontiguousarray(frames[steps][..., part[0], part[1]].numpy())
        return enlarge(cut, _ENLARGED)

    return contact_sheet([film(frames) for frames in (real, *coded)])


def busiest(frames: Tensor) -> tuple[int, int, int]:
    """Top, left and side of the square, half a frame wide, that changes most from frame 0."""
    side = min(frames.shape[-2:]) // 2
    change = (frames[1:].float() - frames[:1].float()).abs().mean(dim=(0, 1))
    sums = F.avg_pool2d(change[None, None], side, stride=1)[0, 0]
    top, left = divmod(int(torch.argmax(sums)), sums.shape[1])
    return top, left, side
