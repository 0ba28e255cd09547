"""Any picture as a first frame."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageOps, UnidentifiedImageError
from torch import Tensor

from shared.errors import UserError
from shared.schema import FitName

_FITS: dict[FitName, Callable[..., Image.Image]] = {
    "crop": ImageOps.fit,
    "pad": ImageOps.pad,
    "stretch": Image.Image.resize,
}
_FITTED: dict[FitName, str] = {
    "crop": "cut to the middle square",
    "pad": "black bars added to a square",
    "stretch": "stretched to a square",
}


@dataclass(frozen=True)
class FirstFrame:
    """A picture as a model takes it.

    Attributes:
        pixels: uint8, shape (1, 3, size, size).
        width, height: of the picture, upright, pixels.
        fit: how it was made square.
    """

    pixels: Tensor
    width: int
    height: int
    fit: FitName

    @property
    def how(self) -> str:
        """What was done to the picture, for people."""
        size = self.pixels.shape[-1]
        if (self.width, self.height) == (size, size):
            return f"{size}x{size}, taken as it is"
        made_square = "" if self.width == self.height else f"{_FITTED[self.fit]}, "
        return f"{self.width}x{self.height}, {made_square}resized to {size}x{size}"


def load_first_frame(path: Path, size: int, fit: FitName = "crop") -> FirstFrame:
    """Read a picture, turn it upright, and make it square in the way the store's frames were.

    Raises:
        UserError: the file is missing or not a picture.
    """
    try:
        with Image.open(path) as image:
            upright = _eight_bit(ImageOps.exif_transpose(image)).convert("RGB")
    except FileNotFoundError:
        raise UserError(f"--image {path}: no such file") from None
    except (UnidentifiedImageError, OSError, Image.DecompressionBombError) as error:
        raise UserError(f"--image {path}: not a readable picture ({error})") from None
    fitted = _FITS[fit](upright, (size, size), Image.Resampling.LANCZOS)
    pixels = torch.from_numpy(np.asarray(fitted).copy()).permute(2, 0, 1)[None]
    return FirstFrame(pixels, *upright.size, fit)


def _eight_bit(image: Image.Image) -> Image.Image:
    """16-bit greys scaled to 8 bits: converting them as they are would cut them off at 255."""
    if not image.mode.startswith("I"):
        return image
    return Image.fromarray((np.asarray(image).clip(0, 65535) // 257).astype(np.uint8))
