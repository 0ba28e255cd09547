"""Losses between pictures: features of VGG networks, and a substitute that needs no weights.

The perceptual loss is Johnson et al.'s (2016) in the form that LFDM (Ni et al. 2023, equation 6)
and MRAA (Siarohin et al. 2021) use: five layers of VGG19, four scales. LPIPS (Zhang et al. 2018) in
the form that PVDM (Yu et al. 2023) trains with: five layers of VGG16 and learned weights of them.
"""

from __future__ import annotations

from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

import torch
from torch import Tensor, nn

from shared.errors import UserError
from train.models.layers import constant, reduce
from train.models.pretrained import read_weights


@dataclass(frozen=True)
class _Vgg:
    """A network of Simonyan and Zisserman (2015, table 1) as far as its last layer in use.

    Attributes:
        name: torchvision's.
        file: of torchvision's weights IMAGENET1K_V1.
        widths: of the convolutions between poolings.
        taps: places of the layers in use, in torchvision's numbering.
    """

    name: str
    file: str
    widths: tuple[tuple[int, ...], ...]
    taps: tuple[int, ...]

    def layers(self) -> nn.Sequential:
        """Build it, untrained."""
        layers: list[nn.Module] = []
        before = 3
        for widths in self.widths:
            for width in widths:
                layers += [nn.Conv2d(before, width, 3, padding=1), nn.ReLU()]
                before = width
            layers.append(nn.MaxPool2d(2))
        return nn.Sequential(*layers[: self.taps[-1] + 1])

    @property
    def remedy(self) -> str:
        """Origin of the weights, for messages."""
        return (
            f"it must be the state dict of torchvision's {self.name} with the weights"
            f" IMAGENET1K_V1, {self.file};"
            f" torchvision.models.{self.name}(weights='IMAGENET1K_V1') downloads it to"
            " ~/.cache/torch/hub/checkpoints"
        )


_VGG19 = _Vgg(
    "vgg19",
    "vgg19-dcbb9e9d.pth",
    ((64,) * 2, (128,) * 2, (256,) * 4, (512,) * 4, (512,)),
    (1, 6, 11, 20, 29),  # relu1_1, relu2_1, relu3_1, relu4_1, relu5_1
)
_VGG16 = _Vgg(
    "vgg16",
    "vgg16-397923af.pth",
    ((64,) * 2, (128,) * 2, (256,) * 3, (512,) * 3, (512,) * 3),
    (3, 8, 15, 22, 29),  # relu1_2, relu2_2, relu3_3, relu4_3, relu5_3
)

_SCALES = (1, 2, 4, 8)
_WEIGHT = 10.0
_MEAN, _DEVIATION = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
"""Of ImageNet's pictures in [0, 1], by colour."""

_HEADS = "functional/image/lpips_models/vgg.pth"
"""LPIPS' weights of VGG16's features, within torchmetrics."""


class PerceptualLoss:
    """Distance between the VGG19 features of two pictures.

    The mean absolute difference after `relu1_1`, `relu2_1`, `relu3_1`, `relu4_1` and `relu5_1`, at
    scales 1, 1/2, 1/4 and 1/8 (`reduce`: a Gaussian filter), each with weight 10. A layer without a
    pixel is left out: at 1/8 of 64x64, the last one.

    It is not an `nn.Module`: a network that holds it neither trains nor saves its weights.

    Args:
        path: of torchvision's VGG19 weights, vgg19-dcbb9e9d.pth.

    Raises:
        UserError: the file is missing, damaged, or holds something else.
    """

    def __init__(self, path: str | Path) -> None:
        self._layers = _load(_VGG19, Path(path))

    def __call__(self, made: Tensor, real: Tensor) -> Tensor:
        """Loss of each row, float32, shape (N,), with gradients to `made`.

        Args:
            made: in [0, 1], shape (N, 3, H, W), H and W at least 8.
            real: likewise.
        """
        self._layers.to(made.device)
        loss = torch.zeros(len(made), device=made.device)
        for scale in _SCALES:
            with torch.no_grad():
                wanted = self._features(reduce(real, scale))
            for found, target in zip(self._features(reduce(made, scale)), wanted, strict=True):
                loss = loss + (found.float() - target.float()).abs().mean(dim=(1, 2, 3))
        return _WEIGHT * loss

    def _features(self, picture: Tensor) -> list[Tensor]:
        return _features(self._layers, _VGG19.taps, picture)


class Lpips:
    """LPIPS, version 0.1, with VGG16, as a loss: the smaller, the more alike two pictures look.

    Features of five layers are scaled to unit length over channels; the squared differences, summed
    over channels with learned weights, are averaged over places and summed over layers. The learned
    weights come with torchmetrics. Like `PerceptualLoss` it is no module.

    Args:
        path: of torchvision's VGG16 weights, vgg16-397923af.pth.

    Raises:
        UserError: the file is missing, damaged, or holds something else; torchmetrics is missing.
    """

    def __init__(self, path: str | Path) -> None:
        self._layers = _load(_VGG16, Path(path))
        self._heads = _lpips_heads()

    def __call__(self, made: Tensor, real: Tensor) -> Tensor:
        """LPIPS of each row, float32, shape (N,), with gradients to `made`.

        Args:
            made: in [-1, 1], shape (N, 3, H, W), H and W at least 16.
            real: likewise.
        """
        self._layers.to(made.device)
        self._heads = [head.to(made.device) for head in self._heads]
        with torch.no_grad():
            wanted = self._unit_features(real)
        loss = torch.zeros(len(made), device=made.device)
        pairs = zip(self._unit_features(made), wanted, self._heads, strict=True)
        for found, target, head in pairs:
            weighted = (found - target).square() * head[:, None, None]
            loss = loss + weighted.sum(dim=1).mean(dim=(1, 2))
        return loss

    def _unit_features(self, picture: Tensor) -> list[Tensor]:
        features = _features(self._layers, _VGG16.taps, picture / 2 + 0.5)
        squares = (x.float().square().sum(dim=1, keepdim=True) + 1e-8 for x in features)
        return [x.float() * square.rsqrt() for x, square in zip(features, squares, strict=True)]


def pyramid_loss(made: Tensor, real: Tensor) -> Tensor:
    """Absolute differences of values and of slopes at scales 1, 1/2 and 1/4: of each row, (N,).

    An addition of ours, a substitute for `PerceptualLoss` where VGG's weights are not at hand. A
    slope is the difference of two neighbouring pixels, across or down. Each part is a mean over
    pixels and colours, with weight 1.

    Args:
        made: float, shape (N, C, H, W), H and W at least 8.
        real: likewise.
    """
    difference = made.float() - real.float()  # reductions and slopes are linear
    loss = torch.zeros(len(made), device=made.device)
    for scale in _SCALES[:3]:
        x = reduce(difference, scale)
        for part in (x, x.diff(dim=-1), x.diff(dim=-2)):
            loss = loss + part.abs().mean(dim=(1, 2, 3))
    return loss


def _features(layers: nn.Sequential, taps: tuple[int, ...], picture: Tensor) -> list[Tensor]:
    """Outputs of the layers at `taps` for pictures in [0, 1]; none of layers without a pixel."""
    mean, deviation = (
        constant(values, picture.device).to(picture.dtype)[:, None, None]  # (3, 1, 1)
        for values in (_MEAN, _DEVIATION)
    )
    x, features = (picture - mean) / deviation, []
    for place, layer in enumerate(layers):
        if isinstance(layer, nn.MaxPool2d) and min(x.shape[-2:]) < 2:
            break
        x = layer(x)
        if place in taps:
            features.append(x)
    return features


def _load(vgg: _Vgg, path: Path) -> nn.Sequential:
    network = vgg.layers()
    weights = read_weights(f"{vgg.name.upper()} weights {path}", path, vgg.remedy)
    for name, own in network.state_dict().items():
        found = weights.get(f"features.{name}")
        if not isinstance(found, Tensor) or found.shape != own.shape:
            got = f"shape {tuple(found.shape)}" if isinstance(found, Tensor) else "no such tensor"
            raise UserError(
                f"{vgg.name.upper()} weights {path}: features.{name} needs the shape"
                f" {tuple(own.shape)}, got {got}; {vgg.remedy}"
            )
    network.load_state_dict({name: weights[f"features.{name}"] for name in network.state_dict()})
    return network.eval().requires_grad_(False)


def _lpips_heads() -> list[Tensor]:
    """Weights of the channels of each layer, shape (C,) each."""
    found = find_spec("torchmetrics")
    if found is None or not found.submodule_search_locations:
        raise UserError("LPIPS takes its weights from torchmetrics: pip install 'dvdm[eval]'")
    path = Path(found.submodule_search_locations[0]) / _HEADS
    weights = torch.load(path, map_location="cpu", weights_only=True)
    return [weights[f"lin{k}.model.1.weight"].flatten() for k in range(len(_VGG16.taps))]
