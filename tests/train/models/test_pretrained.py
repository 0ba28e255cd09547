"""Depth and tokens by networks of a local folder, through the real loading code."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from shared.errors import UserError
from tests.train.models.pretrained import make_depth_folder, make_vision_folder
from train.models.pretrained import DepthModel, ImageTokens


def frames(count: int = 2, size: int = 24) -> Tensor:
    generator = torch.Generator().manual_seed(0)
    return torch.randint(0, 256, (count, 3, size, size), generator=generator).to(torch.uint8)


def test_depth_is_the_networks_at_the_frames_size(tmp_path: Path) -> None:
    """Against the same steps by hand: resize, normalise, predict, resize."""
    from PIL import Image
    from transformers import DPTForDepthEstimation

    folder = make_depth_folder(tmp_path / "depth")
    network = DPTForDepthEstimation.from_pretrained(folder).eval()
    found = DepthModel(folder)(frames())
    assert found.shape == (2, 1, 24, 24)
    picture = Image.fromarray(frames()[1].permute(1, 2, 0).numpy())
    large = np.asarray(picture.resize((32, 32), Image.Resampling.BICUBIC))
    pixels = torch.from_numpy((large / 255 - 0.5) / 0.5).float().permute(2, 0, 1)[None]
    with torch.no_grad():
        depth = network(pixels).predicted_depth
    expected = torch.nn.functional.interpolate(depth[:, None], (24, 24), mode="bilinear")
    assert torch.allclose(found[1:], expected, atol=1e-4)
    assert found.std() > 0


def test_tokens_are_those_of_patches_before_pooling(tmp_path: Path) -> None:
    from transformers import CLIPVisionModel

    folder = make_vision_folder(tmp_path / "clip")
    tokens = ImageTokens(str(folder))
    found = tokens(frames(size=16))
    assert found.shape == (2, *tokens.shape) == (2, 16, 16)
    mean = torch.tensor([0.48145466, 0.4578275, 0.40821073]).view(3, 1, 1)
    deviation = torch.tensor([0.26862954, 0.26130258, 0.27577711]).view(3, 1, 1)
    network = CLIPVisionModel.from_pretrained(folder).eval()
    with torch.no_grad():
        hidden = network((frames(size=16) / 255 - mean) / deviation).last_hidden_state
    assert torch.allclose(found, hidden[:, 1:], atol=1e-4)


def test_other_weights_are_another_identity(tmp_path: Path) -> None:
    for make, load in ((make_depth_folder, DepthModel), (make_vision_folder, ImageTokens)):
        folders = [make(tmp_path / f"{make.__name__}{seed}", seed=seed) for seed in (0, 1)]
        one, other = (load(str(folder)).identity for folder in folders)
        assert one != other
        assert load(str(folders[0])).identity == one


@pytest.mark.parametrize(
    ("load", "title"), [(DepthModel, "a depth model"), (ImageTokens, "a CLIP vision model")]
)
def test_what_cannot_be_loaded_is_named_with_a_remedy(
    load: type[DepthModel] | type[ImageTokens],
    title: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    remedy = r"give a folder with .*config\.json"
    with pytest.raises(UserError, match=rf"{title} '/nowhere/at/all': there is no such.*{remedy}"):
        load("/nowhere/at/all")
    with pytest.raises(UserError, match=rf"{title} '{tmp_path}': .*{remedy}"):
        load(str(tmp_path))
    folder = (make_depth_folder if load is DepthModel else make_vision_folder)(tmp_path / "net")
    other = (make_vision_folder if load is DepthModel else make_depth_folder)(tmp_path / "other")
    (folder / "model.safetensors").write_bytes((other / "model.safetensors").read_bytes())
    with pytest.raises(UserError, match=rf"{title} .*{remedy}"):
        load(str(folder))
    monkeypatch.setitem(sys.modules, "transformers", None)
    with pytest.raises(UserError, match=r"needs transformers: pip install 'dvdm\[movideo\]'"):
        load(str(folder))
