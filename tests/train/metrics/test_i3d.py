"""The loader, with small TorchScript files of I3D's signature and of wrong ones."""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from shared.errors import UserError
from tests.train.metrics.tiny_i3d import TinyI3D, save_script
from train.metrics.i3d import LOGITS, load_i3d

CPU = torch.device("cpu")


class NoArguments(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x.float().mean(dim=(2, 3, 4))


class FewLogits(nn.Module):
    def forward(
        self, x: Tensor, rescale: bool = False, resize: bool = False, return_features: bool = False
    ) -> Tensor:
        return x.float().mean(dim=(2, 3, 4))


def clips(count: int) -> Tensor:
    values = np.random.default_rng(0).integers(0, 256, (count, 5, 3, 8, 8), np.uint8)
    return torch.from_numpy(values)


def test_it_is_called_as_stylegan_v_calls_it(tmp_path: Path) -> None:
    """uint8 0-255, channels before time, all three arguments true, batches of no consequence."""
    path = save_script(TinyI3D(), tmp_path)
    i3d = load_i3d(path, CPU)
    frames = clips(11)
    logits = i3d(frames)
    assert logits.shape == (11, LOGITS)
    assert logits.dtype == np.float32
    scaled = frames.double() / 127.5 - 1
    assert logits[:, :3] == pytest.approx(scaled.mean(dim=(1, 3, 4)).numpy(), abs=1e-4)
    assert logits[:, 3] == pytest.approx(scaled[:, -1].mean(dim=(1, 2, 3)).numpy(), abs=1e-4)
    assert logits[:, 4].tolist() == [111] * 11
    assert i3d(frames[7:8]) == pytest.approx(logits[7:8], abs=1e-4)
    assert i3d.sha256 == hashlib.sha256(path.read_bytes()).hexdigest()


def test_a_file_that_is_not_there_is_named_with_its_source(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"none\.pt: no such file; StyleGAN-V's file is at https"):
        load_i3d(tmp_path / "none.pt", CPU)


def test_other_files_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "weights.pt"
    path.write_bytes(b"PK not a script")
    with pytest.raises(UserError, match="not a TorchScript file"):
        load_i3d(path, CPU)
    torch.save({"weight": torch.zeros(3)}, path)
    with pytest.raises(UserError, match="not a TorchScript file"):
        load_i3d(path, CPU)


def test_other_signatures_and_outputs_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"must take uint8 clips.*rescale=True"):
        load_i3d(save_script(NoArguments(), tmp_path), CPU)
    with pytest.raises(UserError, match=r"of one clip it gives \(1, 3\); it must give 400 logits"):
        load_i3d(save_script(FewLogits(), tmp_path), CPU)
