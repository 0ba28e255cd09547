"""A U-shaped network of plain convolutions: an hourglass (Newell et al. 2016) as MRAA uses it.

Group normalisation in place of MRAA's batch normalisation: no result depends on how a batch is
shared out.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from shared.errors import UserError

GROUPS = 8
"""Groups of every group normalisation; widths are multiples of it."""


class DownPath(nn.Module):
    """Convolutions, each followed by a halving; width min(max_width, width 2^level) at each level.

    Args:
        inputs: channels of the input.
        width: of level 0, which has no convolution of its own.
        halvings: number L of levels below.
        max_width: greatest width.

    Attributes:
        widths: of levels 0 to L.
    """

    def __init__(self, inputs: int, width: int, halvings: int, max_width: int) -> None:
        super().__init__()
        self.widths = [min(max_width, width << level) for level in range(halvings + 1)]
        before = [inputs, *self.widths[1:]]
        self.blocks = nn.ModuleList(map(_block, before, self.widths[1:]))

    def forward(self, x: Tensor) -> list[Tensor]:
        """The input, shape (N, C, H, W), and the features of levels 1 to L, each half as large.

        Odd sides are rounded up.

        Raises:
            UserError: a side has fewer than 2^L pixels.
        """
        if min(x.shape[-2:]) < 1 << len(self.blocks):
            raise UserError(
                f"a grid of {x.shape[-1]}x{x.shape[-2]} cannot be halved {len(self.blocks)} times:"
                " take fewer `halvings`, or larger pictures"
            )
        features = [x.contiguous(memory_format=torch.channels_last)]
        for block in self.blocks:
            features.append(F.avg_pool2d(block(features[-1]), 2, ceil_mode=True))
        return features


class Hourglass(nn.Module):
    """Features of each pixel, seen at several scales; skips are concatenated, the input too.

    Args:
        inputs, width, halvings, max_width: see `DownPath`.

    Attributes:
        outputs: number of features, width + inputs.
    """

    def __init__(self, inputs: int, width: int, halvings: int, max_width: int) -> None:
        super().__init__()
        self.down = DownPath(inputs, width, halvings, max_width)
        *finer, coarsest = self.down.widths
        self.up = nn.ModuleList(
            _block(before, after)
            for before, after in zip(
                [coarsest, *(2 * w for w in reversed(finer[1:]))], reversed(finer), strict=True
            )
        )
        self.outputs = finer[0] + inputs

    def forward(self, x: Tensor) -> Tensor:
        """Features (N, outputs, H, W) of (N, inputs, H, W)."""
        *skips, x = self.down(x)
        for block, skip in zip(self.up, reversed(skips), strict=True):
            grown = F.interpolate(x, size=skip.shape[-2:], mode="nearest")
            x = torch.cat([block(grown), skip], dim=1)
        return x


def _block(inputs: int, outputs: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(inputs, outputs, 3, padding=1), nn.GroupNorm(GROUPS, outputs), nn.ReLU()
    )
