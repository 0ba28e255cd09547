"""Losses between pictures: features of VGG19, and a substitute that needs no weights.

The perceptual loss is Johnson et al.'s (2016) in the form that LFDM (Ni et al. 2023, equation 6)
and MRAA (Siarohin et al. 2021) use: five layers of VGG19, four scales.
"""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor, nn

from shared.errors import UserError
from train.models.reduction import reduce

_WIDTHS = ((64,) * 2, (128,) * 2, (256,) * 4, (512,) * 4, (512,))
"""Widths of VGG19's convolutions between poolings (Simonyan and Zisserman 2015, table 1, E), as far
as `relu5_1`."""

_TAPS = (1, 6, 11, 20, 29)
"""Places of `relu1_1` to `relu5_1` in torchvision's numbering."""

_SCALES = (1, 2, 4, 8)
_WEIGHT = 10.0
_MEAN, _DEVIATION = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
"""Of ImageNet's pictures, by colour."""

_REMEDY = (
    "it must be the state dict of torchvision's vgg19 with the weights IMAGENET1K_V1,"
    " vgg19-dcbb9e9d.pth; torchvision.models.vgg19(weights='IMAGENET1K_V1') downloads it to"
    " ~/.cache/torch/hub/checkpoints"
)


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
        self._layers = _load_vgg19(Path(path)).eval().requires_grad_(False)

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
        mean, deviation = picture.new_tensor((_MEAN, _DEVIATION))[..., None, None]
        x, features = (picture - mean) / deviation, []
        for place, layer in enumerate(self._layers):
            if isinstance(layer, nn.MaxPool2d) and min(x.shape[-2:]) < 2:
                break
            x = layer(x)
            if place in _TAPS:
                features.append(x)
        return features


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


def _vgg19() -> nn.Sequential:
    layers: list[nn.Module] = []
    before = 3
    for widths in _WIDTHS:
        for width in widths:
            layers += [nn.Conv2d(before, width, 3, padding=1), nn.ReLU()]
            before = width
        layers.append(nn.MaxPool2d(2))
    return nn.Sequential(*layers[: _TAPS[-1] + 1])


def _load_vgg19(path: Path) -> nn.Sequential:
    network = _vgg19()
    weights = _read(path)
    for name, own in network.state_dict().items():
        found = weights.get(f"features.{name}")
        if not isinstance(found, Tensor) or found.shape != own.shape:
            got = f"shape {tuple(found.shape)}" if isinstance(found, Tensor) else "no such tensor"
            raise UserError(
                f"VGG19 weights {path}: features.{name} needs the shape {tuple(own.shape)}, got"
                f" {got}; {_REMEDY}"
            )
    network.load_state_dict({name: weights[f"features.{name}"] for name in network.state_dict()})
    return network


def _read(path: Path) -> dict[str, object]:
    if not path.is_file():
        raise UserError(f"VGG19 weights {path}: there is no such file; {_REMEDY}")
    try:
        weights = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # damage leads the unpickler to errors of any kind
        raise UserError(
            f"VGG19 weights {path}: cannot be read ({type(error).__name__}): damaged, cut short or"
            f" another format; {_REMEDY}"
        ) from error
    if not isinstance(weights, dict):
        raise UserError(f"VGG19 weights {path}: holds a {type(weights).__name__}; {_REMEDY}")
    return weights
