"""The I3D network of StyleGAN-V's FVD: a TorchScript file that is given, never fetched.

It is called as they call it (`src/metrics/frechet_video_distance.py`): uint8 clips (B, C, T, H, W),
0 to 255, with rescale=True, resize=True, return_features=True; it scales and resizes inside, and
gives the 400 logits of Kinetics-400.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from shared.errors import UserError

LOGITS = 400
SOURCE = "https://www.dropbox.com/s/ge9e5ujwgetktms/i3d_torchscript.pt"
"""Where StyleGAN-V has it; they state no checksum, so the hash stands beside every score."""

_TRIAL = (1, 3, 16, 64, 64)
_BATCH = 8
_HASHED_AT_ONCE = 1 << 20


@dataclass(frozen=True)
class I3D:
    """A loaded network.

    Attributes:
        sha256: of its file.
        network: as TorchScript loads it.
        device: where it is.
    """

    sha256: str
    network: torch.jit.ScriptModule
    device: torch.device

    @torch.no_grad()
    def __call__(self, frames: Tensor) -> NDArray[np.float32]:
        """Logits, shape (B, 400), of clips uint8 (B, T, 3, H, W)."""
        pieces = [
            self._logits(piece.transpose(1, 2).to(self.device)).float().cpu()
            for piece in frames.split(_BATCH)
        ]
        return torch.cat(pieces).numpy()

    def _logits(self, clips: Tensor) -> Tensor:
        return self.network(clips, rescale=True, resize=True, return_features=True)


def load_i3d(path: Path, device: torch.device) -> I3D:
    """Load the file, and try it once.

    Raises:
        UserError: it is not there, is no TorchScript, takes other arguments or gives something else
            than 400 numbers a clip.
    """
    remedy = f"StyleGAN-V's file is at {SOURCE}"
    if not path.is_file():
        raise UserError(f"--i3d {path}: no such file; {remedy}")
    try:
        network = torch.jit.load(str(path), map_location=device).eval()
    except RuntimeError as error:
        raise UserError(
            f"--i3d {path}: not a TorchScript file ({_first(error)}); {remedy}"
        ) from None
    i3d = I3D(_sha256(path), network, device)
    try:
        found = i3d._logits(torch.zeros(_TRIAL, dtype=torch.uint8, device=device))
    except (RuntimeError, TypeError) as error:
        raise UserError(
            f"--i3d {path}: it must take uint8 clips (B, 3, T, H, W) with rescale=True,"
            f" resize=True, return_features=True; it says: {_first(error)}; {remedy}"
        ) from None
    shape = tuple(found.shape) if isinstance(found, Tensor) else type(found).__name__
    if shape != (1, LOGITS):
        raise UserError(
            f"--i3d {path}: of one clip it gives {shape}; it must give {LOGITS} logits,"
            f" (1, {LOGITS}); {remedy}"
        )
    return i3d


def _first(error: Exception) -> str:
    """The first line of a message that says something."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[0] if lines else type(error).__name__


def _sha256(path: Path) -> str:
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while piece := file.read(_HASHED_AT_ONCE):
            digest.update(piece)
    return digest.hexdigest()
