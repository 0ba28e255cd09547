from __future__ import annotations

import math
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from shared.errors import UserError
from train.models.layers import reduce
from train.models.perceptual import Lpips, PerceptualLoss, pyramid_loss

VGG19 = "0:64 relu 2:64 pool 5:128 relu 7:128 pool 10:256 relu 12:256 14:256 16:256 pool"
VGG19 += " 19:512 relu 21:512 23:512 25:512 pool 28:512 relu"
"""Number in `features` and width of each convolution; `relu`: its features are compared."""

DAMAGED = "cannot be read"


def fabricated(layout: str = VGG19) -> dict[str, Tensor]:
    """Random weights of a VGG's shapes that keep the features' size from layer to layer."""
    generator = torch.Generator().manual_seed(0)
    weights, before = {}, 3
    for number, width in (part.split(":") for part in layout.split() if ":" in part):
        shape = (int(width), before, 3, 3)
        scale = math.sqrt(2 / (9 * before))
        weights[f"features.{number}.weight"] = scale * torch.randn(shape, generator=generator)
        weights[f"features.{number}.bias"] = 0.1 * torch.randn(shape[0], generator=generator)
        before = int(width)
    return weights


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("vgg") / "vgg19-dcbb9e9d.pth"
    torch.save({**fabricated(), "classifier.0.weight": torch.zeros(2, 2)}, path)
    return path


@pytest.fixture(scope="module")
def loss(file: Path) -> PerceptualLoss:
    return PerceptualLoss(file)


def pictures(seed: int, *size: int) -> Tensor:
    return torch.rand(2, 3, *size, generator=torch.Generator().manual_seed(seed))


def features_slowly(picture: Tensor, weights: dict[str, Tensor]) -> list[Tensor]:
    x = torch.stack(
        [
            (picture[:, 0] - 0.485) / 0.229,
            (picture[:, 1] - 0.456) / 0.224,
            (picture[:, 2] - 0.406) / 0.225,
        ],
        dim=1,
    )
    found = []
    for part in VGG19.split():
        if part == "relu":
            found.append(x)
        elif part == "pool":
            if x.shape[2] == 1 or x.shape[3] == 1:
                break
            x = F.max_pool2d(x, 2)
        else:
            name = f"features.{part.split(':')[0]}"
            x = F.conv2d(x, weights[f"{name}.weight"], weights[f"{name}.bias"], padding=1).relu()
    return found


@pytest.mark.parametrize(("size", "layers"), [((32, 48), 5 + 5 + 4 + 3), ((16, 16), 14)])
def test_it_sums_the_features_differences(
    loss: PerceptualLoss, size: tuple[int, int], layers: int
) -> None:
    made, real, weights = pictures(0, *size), pictures(1, *size), fabricated()
    expected, compared = torch.zeros(2), 0
    for scale in (1, 2, 4, 8):
        pairs = zip(
            features_slowly(reduce(made, scale), weights),
            features_slowly(reduce(real, scale), weights),
            strict=True,
        )
        for a, b in pairs:
            compared += 1
            for row in range(2):
                expected[row] += 10 * (a[row] - b[row]).abs().mean()
    assert compared == layers
    assert expected.min() > 1
    assert torch.allclose(loss(made, real), expected, rtol=1e-4)


def test_equal_pictures_have_no_loss(loss: PerceptualLoss) -> None:
    picture = pictures(0, 16, 16)
    assert loss(picture, picture.clone()).equal(torch.zeros(2))


def test_rows_do_not_depend_on_each_other(loss: PerceptualLoss) -> None:
    made, real = pictures(0, 16, 16), pictures(1, 16, 16)
    assert torch.allclose(loss(made, real)[1:], loss(made[1:], real[1:]), rtol=1e-5)


def test_gradients_reach_the_made_picture_alone(loss: PerceptualLoss) -> None:
    made, real = pictures(0, 16, 16).requires_grad_(), pictures(1, 16, 16).requires_grad_()
    loss(made, real).sum().backward()
    assert made.grad is not None
    assert real.grad is None
    assert not any(weight.requires_grad for weight in loss._layers.parameters())
    assert (made.grad.abs().amax(dim=(1, 2, 3)) > 0).all()
    step = made.detach() - 1e-3 * made.grad / made.grad.abs().max()
    assert (loss(step, real.detach()) < loss(made.detach(), real.detach())).all()


def test_a_network_that_holds_it_neither_trains_nor_saves_its_weights(loss: PerceptualLoss) -> None:
    network = nn.Linear(1, 1)
    network.perceptual = loss  # type: ignore[assignment]
    assert len(list(network.parameters())) == len(network.state_dict()) == 2


def test_it_is_float32_under_autocast(loss: PerceptualLoss) -> None:
    made, real = pictures(0, 16, 16), pictures(1, 16, 16)
    with torch.autocast("cpu", torch.bfloat16):
        found = loss(made, real)
    assert found.dtype == torch.float32
    assert torch.allclose(found, loss(made, real), rtol=0.05)


@pytest.mark.parametrize("zipped", [True, False])
@pytest.mark.parametrize("kept", [0.0, 1e-6, 0.3, 0.9999])
def test_files_that_were_cut_short_are_refused(
    file: Path, tmp_path: Path, kept: float, zipped: bool
) -> None:
    whole = tmp_path / "whole.pth"
    torch.save(fabricated(), whole, _use_new_zipfile_serialization=zipped)
    content = whole.read_bytes()
    cut = tmp_path / "cut.pth"
    cut.write_bytes(content[: int(kept * len(content))])
    with pytest.raises(UserError, match=rf"cut\.pth: {DAMAGED}.*IMAGENET1K_V1"):
        PerceptualLoss(cut)


def test_the_older_format_is_read(loss: PerceptualLoss, tmp_path: Path) -> None:
    """The published file is in it."""
    torch.save(fabricated(), tmp_path / "old.pth", _use_new_zipfile_serialization=False)
    made, real = pictures(0, 8, 8), pictures(1, 8, 8)
    assert PerceptualLoss(tmp_path / "old.pth")(made, real).equal(loss(made, real))


def test_missing_files_are_refused(tmp_path: Path) -> None:
    for path in (tmp_path / "none.pth", tmp_path):
        with pytest.raises(UserError, match=f"{path}: there is no such file.*vgg19-dcbb9e9d.pth"):
            PerceptualLoss(path)


@pytest.mark.parametrize(
    "content", [b"version https://git-lfs.github.com/spec/v1", b"<html>", b"\x80\x02.", b"(lp0\n."]
)
def test_other_formats_are_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "other.pth").write_bytes(content)
    with pytest.raises(UserError, match=r"other\.pth: .*IMAGENET1K_V1"):
        PerceptualLoss(tmp_path / "other.pth")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ([torch.zeros(1)], "holds a list"),
        ({}, r"features\.0\.weight needs the shape \(64, 3, 3, 3\), got no such tensor"),
        (
            {**fabricated(), "features.5.weight": torch.zeros(64)},
            r"features\.5\.weight needs the shape \(128, 64, 3, 3\), got shape \(64,\)",
        ),
        ({**fabricated(), "features.28.bias": 3}, r"features\.28\.bias needs.*no such tensor"),
    ],
    ids=["list", "empty", "another network", "number"],
)
def test_other_contents_are_refused(tmp_path: Path, content: Any, message: str) -> None:
    torch.save(content, tmp_path / "other.pth")
    with pytest.raises(UserError, match=rf"other\.pth: {message}.*IMAGENET1K_V1"):
        PerceptualLoss(tmp_path / "other.pth")


def test_code_in_a_file_is_not_run(tmp_path: Path) -> None:
    torch.save({"features.0.weight": Path("anything")}, tmp_path / "code.pth")
    with pytest.raises(UserError, match=DAMAGED):
        PerceptualLoss(tmp_path / "code.pth")


def test_the_pyramids_loss_is_the_formula() -> None:
    made, real = pictures(0, 16, 24), pictures(1, 16, 24)
    expected = torch.zeros(2)
    for row in range(2):
        for scale in (1, 2, 4):
            a, b = (reduce(picture[row : row + 1], scale)[0] for picture in (made, real))
            across = (a[:, :, 1:] - a[:, :, :-1]) - (b[:, :, 1:] - b[:, :, :-1])
            down = (a[:, 1:] - a[:, :-1]) - (b[:, 1:] - b[:, :-1])
            for part in (a - b, across, down):
                expected[row] += part.abs().mean()
    assert torch.allclose(pyramid_loss(made, real), expected, rtol=1e-5)


def test_a_brighter_picture_costs_its_brightness_at_three_scales() -> None:
    picture = pictures(0, 16, 16)
    assert torch.allclose(pyramid_loss(picture + 0.2, picture), torch.tensor(0.6), atol=1e-5)
    assert pyramid_loss(picture, picture).equal(torch.zeros(2))


def test_the_pyramids_gradients_reach_the_made_picture() -> None:
    made = pictures(0, 16, 16).requires_grad_()
    pyramid_loss(made, pictures(1, 16, 16)).sum().backward()
    assert made.grad is not None
    assert (made.grad != 0).any()


VGG16 = "0:64 relu 2:64 tap pool 5:128 relu 7:128 tap pool 10:256 relu 12:256 relu 14:256 tap pool"
VGG16 += " 17:512 relu 19:512 relu 21:512 tap pool 24:512 relu 26:512 relu 28:512 tap"


@pytest.fixture(scope="module")
def lpips(tmp_path_factory: pytest.TempPathFactory) -> Lpips:
    path = tmp_path_factory.mktemp("vgg16") / "vgg16-397923af.pth"
    torch.save(fabricated(VGG16), path)
    return Lpips(path)


def lpips_slowly(made: Tensor, real: Tensor) -> float:
    """Of one pair in [-1, 1], (3, H, W), with the scaling that LPIPS was published with."""
    found = find_spec("torchmetrics")  # importing it takes seconds
    assert found is not None and found.submodule_search_locations
    folder = Path(found.submodule_search_locations[0]) / "functional/image/lpips_models"
    heads = torch.load(folder / "vgg.pth", map_location="cpu", weights_only=True)
    weights, total, layer = fabricated(VGG16), 0.0, 0
    shift, scale = (-0.030, -0.088, -0.188), (0.458, 0.448, 0.450)
    x = torch.stack([made, real])
    x = (x - torch.tensor(shift)[:, None, None]) / torch.tensor(scale)[:, None, None]
    for part in VGG16.split():
        if part == "pool":
            x = F.max_pool2d(x, 2)
        elif part in ("relu", "tap"):
            x = x.relu()
        else:
            name = f"features.{part.split(':')[0]}"
            x = F.conv2d(x, weights[f"{name}.weight"], weights[f"{name}.bias"], padding=1)
        if part == "tap":
            one, other = (y / (y.norm(dim=0, keepdim=True) + 1e-10) for y in x)
            head = heads[f"lin{layer}.model.1.weight"].view(-1, 1, 1)
            total, layer = total + float((head * (one - other) ** 2).sum(0).mean()), layer + 1
    return total


def test_lpips_is_its_formula_with_the_published_heads(lpips: Lpips) -> None:
    made, real = (2 * pictures(seed, 16, 24) - 1 for seed in (0, 1))
    expected = torch.tensor([lpips_slowly(*pair) for pair in zip(made, real, strict=True)])
    assert expected.min() > 0.01
    assert torch.allclose(lpips(made, real), expected, rtol=1e-3)
    assert lpips(real, real.clone()).equal(torch.zeros(2))


def test_gradients_of_lpips_reach_the_made_picture(lpips: Lpips) -> None:
    made, real = 2 * pictures(0, 16, 16) - 1, torch.zeros(2, 3, 16, 16)
    made.requires_grad_()
    lpips(made, real).sum().backward()
    assert made.grad is not None
    assert made.grad.isfinite().all()
    assert (made.grad.abs().amax(dim=(1, 2, 3)) > 0).all()


def test_weights_of_another_vgg_are_no_weights_of_lpips(file: Path) -> None:
    with pytest.raises(UserError, match=r"VGG16 weights .*features\.\d+\.weight needs the shape"):
        Lpips(file)
