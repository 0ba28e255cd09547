"""Critics of short runs of frames, of pictures and of clips: patch discriminators (Isola et al.
2017, pix2pix).

Absolute error alone rewards a smear wherever a limb may be in one of two places. The critic
discriminates refined from real frames patch by patch, given three neighbouring frames and the first
frame, and so penalises both smears and flicker.
"""

from __future__ import annotations

from itertools import pairwise
from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.func import functional_call

_RUN = 3
"""Number of neighbouring frames that are judged together."""


class PatchCritic(nn.Module):
    """Patch discriminator of four convolutions; each output judges about 30 pixels a side."""

    optimiser = "adamw"

    def __init__(self, width: int = 32) -> None:
        super().__init__()
        widths = (width, 2 * width, 4 * width)
        self.layers = nn.ModuleList(
            nn.utils.parametrizations.spectral_norm(nn.Conv2d(before, after, 4, 2, 1))
            for before, after in zip((3 * (_RUN + 1), *widths[:-1]), widths, strict=True)
        )
        self.verdict = nn.Conv2d(widths[-1], 1, 3, padding=1)

    def forward(self, frames: Tensor, first_frame: Tensor) -> list[Tensor]:
        """Features of each layer and, last, the logits: high where a patch looks real.

        Args:
            frames: in [-1, 1], shape (B, T, 3, H, W), T at least 3.
            first_frame: likewise, shape (B, 3, H, W).
        """
        runs = torch.cat([frames[:, i : i - _RUN + 1 or None] for i in range(_RUN)], dim=2)
        first = first_frame[:, None].expand(-1, runs.shape[1], -1, -1, -1)
        x = torch.cat([runs, first], dim=2).flatten(0, 1)
        outputs = []
        for layer in self.layers:
            x = F.leaky_relu(layer(x.contiguous(memory_format=torch.channels_last)), 0.2)
            outputs.append(x)
        return [*outputs, self.verdict(x)]


class ClipCritic(nn.Module):
    """Patch discriminator of pictures, (N, 3, H, W), or of clips, (N, 3, T, H, W), as in PVDM.

    Three strided convolutions and two more. Group normalisation stands for the batch normalisation
    of the public code: no result depends on how a batch is shared out.

    Args:
        axes: 2 or 3 that are convolved over.
        width: features after the first convolution.
    """

    optimiser = "adamw"

    def __init__(self, axes: Literal[2, 3], width: int = 64) -> None:
        super().__init__()
        convolution: Any = nn.Conv2d if axes == 2 else _Convolution3d
        # Three frames rather than four: clips need not be as long as pictures are wide.
        strided: dict[str, Any] = {
            "kernel_size": (3, 4, 4)[3 - axes :], "stride": 2, "padding": 1
        }  # fmt: skip
        widths = (3, width, 2 * width, 4 * width)
        layers = [convolution(before, after, **strided) for before, after in pairwise(widths)]
        layers.append(convolution(widths[-1], 8 * width, kernel_size=3, padding=1))
        self.layers = nn.ModuleList(layers)
        self.norms = nn.ModuleList(
            [nn.Identity(), *(nn.GroupNorm(8, width * 2**k) for k in (1, 2, 3))]
        )
        self.verdict = convolution(8 * width, 1, kernel_size=3, padding=1)

    def forward(self, shown: Tensor) -> list[Tensor]:
        """Features of each layer and, last, the logits: high where a patch looks real."""
        outputs = []
        for layer, norm in zip(self.layers, self.norms, strict=True):
            shown = F.leaky_relu(norm(layer(shown)), 0.2)
            outputs.append(shown)
        return [*outputs, self.verdict(shown)]


class _Convolution3d(nn.Conv3d):
    """A convolution of clips, of fewer frames than the kernel has, too.

    Of these oneDNN's gradient of the weights reads memory that was never written, in bfloat16 on
    CPUs (PyTorch 2.13), so that they get their zeros here.
    """

    def forward(self, input: Tensor) -> Tensor:
        """Features (N, C, T, H, W) of clips of the same layout."""
        if input.shape[2] >= self.kernel_size[0]:
            return super().forward(input)
        frames, down, across = map(int, self.padding)
        padded = F.pad(input, (0, 0, 0, 0, frames, frames))
        return F.conv3d(padded, self.weight, self.bias, self.stride, (0, down, across))


def adversarial_losses(
    critic: nn.Module, made: Tensor, truth: Tensor, *given: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """Losses of the critic, of the network that it judges, and of feature matching.

    Hinge losses (Lim and Ye 2017), and the distance between the critic's features of made and real
    frames (Wang et al. 2018, pix2pixHD). Each moves its own network alone, so that one
    backward pass serves both.

    Args:
        critic: see `PatchCritic` and `ClipCritic`.
        made: in [-1, 1], of the shape that the critic takes; carries gradients.
        truth: the real frames, likewise.
        given: what else the critic is given.

    Returns:
        Three scalars.
    """
    *wanted, real = critic(truth, *given)
    *_, fake = critic(made.detach(), *given)
    for_critic = F.relu(1 - real).mean() + F.relu(1 + fake).mean()
    frozen = {name: weight.detach() for name, weight in critic.named_parameters()}
    *seen, verdict = functional_call(critic, frozen, (made, *given))
    pairs = zip(seen, wanted, strict=True)
    matching = torch.stack([(a - b.detach()).abs().mean() for a, b in pairs]).mean()
    return for_critic, -verdict.mean(), matching
