"""Features of the first frame at the target's grid: tau in the paper's equations 7 and 8."""

from __future__ import annotations

import itertools

from torch import Tensor, nn


class FirstFrameEncoder(nn.Module):
    """A small ResNet (He et al. 2016), strided by two until one feature is left for each block.

    Args:
        channels: features C at the output.
        block: block size, pixels, a power of two: the total stride.
        width: features after the first convolution, doubled with each stride up to `channels`.
    """

    def __init__(self, channels: int, block: int, width: int = 16) -> None:
        super().__init__()
        halvings = block.bit_length() - 1
        widths = [min(channels, width << level) for level in range(halvings)] + [channels]
        self.input = nn.Conv2d(3, widths[0], 3, padding=1)
        self.stages = nn.Sequential(*(_Residual(*pair) for pair in itertools.pairwise(widths)))

    def forward(self, first_frame: Tensor) -> Tensor:
        """(B, 3, H, W) in [-1, 1], whole blocks, to (B, C, H/b, W/b)."""
        return self.stages(self.input(first_frame))


class _Residual(nn.Module):
    """Two convolutions, the first of stride two, around a strided shortcut."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.body = nn.Sequential(
            nn.GroupNorm(min(8, inputs), inputs),
            nn.SiLU(),
            nn.Conv2d(inputs, outputs, 3, stride=2, padding=1),
            nn.GroupNorm(min(8, outputs), outputs),
            nn.SiLU(),
            nn.Conv2d(outputs, outputs, 3, padding=1),
        )
        self.shortcut = nn.Conv2d(inputs, outputs, 2, stride=2)

    def forward(self, x: Tensor) -> Tensor:
        return self.body(x) + self.shortcut(x)
