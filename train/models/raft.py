"""RAFT, recurrent all-pairs field transforms (Teed and Deng, ECCV 2020): a flow estimator.

The large network, with the layers and their names in torchvision's weights of it. Estimation alone:
it is never trained here.
"""

from __future__ import annotations

from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from shared.errors import UserError
from train.models.autoencoder import weights_hash
from train.models.optical_flow import FlowEstimator
from train.models.pretrained import read_weights
from train.models.warp import pixel_grid

_STRIDE, _LEVELS, _RADIUS, _HIDDEN = 8, 4, 4, 128
_UPDATES = 12
"""Refinements of the flow, torchvision's number."""

_REMEDY = (
    "it must be the state dict of torchvision's raft_large with the weights C_T_SKHT_V2,"
    " raft_large_C_T_SKHT_V2-ff5fadd5.pth; torchvision.models.optical_flow.raft_large("
    "weights='DEFAULT') downloads it to ~/.cache/torch/hub/checkpoints"
)


class RaftFlow(FlowEstimator):
    """RAFT with weights from a file.

    Args:
        path: of the weights.

    Raises:
        UserError: the file is missing, damaged, or holds something else.
    """

    def __init__(self, path: str | Path) -> None:
        network = Raft()
        _load(network, Path(path))
        self._network = network.eval().requires_grad_(False)
        self.identity = f"raft-{weights_hash(network)}"

    def estimate(self, frames: Tensor, others: Tensor) -> Tensor:
        """Flow of frames padded to whole strides by repeating their edges."""
        height, width = frames.shape[-2:]
        margins = (0, -width % _STRIDE, 0, -height % _STRIDE)
        pair = [F.pad(x, margins, mode="replicate") / 127.5 - 1 for x in (frames, others)]
        return self._network.to(frames.device)(*pair)[..., :height, :width]


class Raft(nn.Module):
    """Flow from one picture into another, (N, 3, H, W) in [-1, 1], sides multiples of 8."""

    def __init__(self) -> None:
        super().__init__()
        self.feature_encoder = _Encoder(nn.InstanceNorm2d)
        self.context_encoder = _Encoder(nn.BatchNorm2d)
        self.update_block = _Update()
        self.mask_predictor = nn.ModuleDict(
            {"convrelu": _conv(_HIDDEN, 256, 3), "conv": nn.Conv2d(256, 9 * _STRIDE**2, 1)}
        )

    @torch.no_grad()
    def forward(self, picture: Tensor, other: Tensor) -> Tensor:
        """Flow in pixels, shape (N, 2, H, W)."""
        pyramid = correlations(self.feature_encoder(picture), self.feature_encoder(other))
        hidden, context = self.context_encoder(picture).split(_HIDDEN, dim=1)
        hidden, context = hidden.tanh(), context.relu()
        places = pixel_grid(hidden.shape[-2], hidden.shape[-1], hidden.device)  # (2, h, w)
        flow = hidden.new_zeros(len(hidden), *places.shape)
        for _ in range(_UPDATES):
            seen = look_up(pyramid, places + flow)
            hidden, change = self.update_block(hidden, context, seen, flow)
            flow = flow + change
        mask = self.mask_predictor["conv"](self.mask_predictor["convrelu"](hidden)) / 4
        return enlarge_flow(flow, mask)


class _Residual(nn.Module):
    def __init__(self, inputs: int, outputs: int, stride: int, norm: type[nn.Module]) -> None:
        super().__init__()
        self.convnormrelu1 = _conv(inputs, outputs, 3, stride, norm)
        self.convnormrelu2 = _conv(outputs, outputs, 3, 1, norm)
        shortcut = nn.Conv2d(inputs, outputs, 1, stride), norm(outputs)
        self.downsample = nn.Identity() if stride == 1 else nn.Sequential(*shortcut)

    def forward(self, x: Tensor) -> Tensor:
        return F.relu(self.downsample(x) + self.convnormrelu2(self.convnormrelu1(x)))


class _Encoder(nn.Module):
    """Features (N, 256, H/8, W/8)."""

    def __init__(self, norm: type[nn.Module]) -> None:
        super().__init__()
        self.convnormrelu = _conv(3, 64, 7, 2, norm)
        for index, (inputs, outputs, stride) in enumerate(((64, 64, 1), (64, 96, 2), (96, 128, 2))):
            blocks = _Residual(inputs, outputs, stride, norm), _Residual(outputs, outputs, 1, norm)
            setattr(self, f"layer{index + 1}", nn.Sequential(*blocks))
        self.conv = nn.Conv2d(128, 256, 1)

    def forward(self, picture: Tensor) -> Tensor:
        x = self.convnormrelu(picture)
        for index in range(3):
            x = getattr(self, f"layer{index + 1}")(x)
        return self.conv(x)


class _Update(nn.Module):
    """One refinement: new hidden state and change of flow."""

    def __init__(self) -> None:
        super().__init__()
        seen = _LEVELS * (2 * _RADIUS + 1) ** 2
        self.motion_encoder = nn.ModuleDict(
            {
                "convcorr1": _conv(seen, 256, 1),
                "convcorr2": _conv(256, 192, 3),
                "convflow1": _conv(2, 128, 7),
                "convflow2": _conv(128, 64, 3),
                "conv": _conv(192 + 64, 126, 3),
            }
        )
        self.recurrent_block = nn.ModuleDict(
            {"convgru1": _ConvGru((1, 5)), "convgru2": _ConvGru((5, 1))}
        )
        self.flow_head = nn.ModuleDict(
            {
                "conv1": nn.Conv2d(_HIDDEN, 256, 3, padding=1),
                "conv2": nn.Conv2d(256, 2, 3, padding=1),
            }
        )

    def forward(
        self, hidden: Tensor, context: Tensor, seen: Tensor, flow: Tensor
    ) -> tuple[Tensor, Tensor]:
        encode = self.motion_encoder
        motion = [encode["convcorr2"](encode["convcorr1"](seen))]
        motion.append(encode["convflow2"](encode["convflow1"](flow)))
        x = torch.cat([context, encode["conv"](torch.cat(motion, dim=1)), flow], dim=1)
        for gru in self.recurrent_block.values():
            hidden = gru(hidden, x)
        return hidden, self.flow_head["conv2"](F.relu(self.flow_head["conv1"](hidden)))


class _ConvGru(nn.Module):
    def __init__(self, kernel: tuple[int, int]) -> None:
        super().__init__()
        padding = (kernel[0] // 2, kernel[1] // 2)
        self.convz, self.convr, self.convq = (
            nn.Conv2d(3 * _HIDDEN, _HIDDEN, kernel, padding=padding) for _ in range(3)
        )

    def forward(self, hidden: Tensor, x: Tensor) -> Tensor:
        both = torch.cat([hidden, x], dim=1)
        update, reset = self.convz(both).sigmoid(), self.convr(both).sigmoid()
        candidate = self.convq(torch.cat([reset * hidden, x], dim=1)).tanh()
        return (1 - update) * hidden + update * candidate


def correlations(features: Tensor, others: Tensor) -> list[Tensor]:
    """Scalar products of all pairs of places, at four scales of the other picture.

    Returns:
        Shapes (N h w, 1, h / 2^k, w / 2^k).
    """
    count, channels, height, width = features.shape
    products = torch.einsum("nchw,ncij->nhwij", features, others) / channels**0.5
    level = products.reshape(count * height * width, 1, height, width)
    pyramid = [level]
    for _ in range(_LEVELS - 1):
        level = F.avg_pool2d(level, 2)
        pyramid.append(level)
    return pyramid


def look_up(pyramid: list[Tensor], places: Tensor) -> Tensor:
    """Correlations within a radius of four around places (N, 2, h, w), zero outside the picture.

    Returns:
        Shape (N, 4 * 81, h, w); of each scale x changes slowest, as in the public weights.
    """
    count, _, height, width = places.shape
    reach = torch.arange(-_RADIUS, _RADIUS + 1, device=places.device)
    offsets = torch.stack(torch.meshgrid(reach, reach, indexing="ij"), dim=-1)  # (9, 9, 2)
    centres = places.movedim(1, -1).reshape(-1, 1, 1, 2)
    found = []
    for index, level in enumerate(pyramid):
        sides = torch.tensor([level.shape[-1] - 1, level.shape[-2] - 1], device=places.device)
        grid = 2 * (centres / 2**index + offsets) / sides - 1  # (N h w, 9, 9, 2)
        found.append(F.grid_sample(level, grid, align_corners=True).flatten(1))
    return torch.cat(found, dim=1).reshape(count, height, width, -1).movedim(-1, 1)


def enlarge_flow(flow: Tensor, mask: Tensor) -> Tensor:
    """Eight times as large: each pixel a convex combination of the nine cells around it.

    Args:
        flow: in cells, shape (N, 2, h, w).
        mask: logits of the weights, shape (N, 9 * 64, h, w).

    Returns:
        In pixels, shape (N, 2, 8 h, 8 w).
    """
    count, _, height, width = flow.shape
    weights = mask.view(count, 1, 9, _STRIDE, _STRIDE, height, width).softmax(dim=2)
    around = F.unfold(_STRIDE * flow, 3, padding=1).view(count, 2, 9, 1, 1, height, width)
    large = (weights * around).sum(dim=2)  # (N, 2, 8, 8, h, w)
    return large.permute(0, 1, 4, 2, 5, 3).reshape(count, 2, _STRIDE * height, _STRIDE * width)


def _conv(
    inputs: int, outputs: int, kernel: int, stride: int = 1, norm: type[nn.Module] | None = None
) -> nn.Sequential:
    layers: list[nn.Module] = [nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2)]
    if norm is not None:
        layers.append(norm(outputs))
    return nn.Sequential(*layers, nn.ReLU())


def _load(network: Raft, path: Path) -> None:
    title = f"RAFT weights {path}"
    weights = read_weights(title, path, _REMEDY)
    try:
        network.load_state_dict(weights)
    except (RuntimeError, TypeError, AttributeError) as error:
        fault = str(error).splitlines()[-1].strip()
        raise UserError(f"{title}: {fault}; {_REMEDY}") from None
