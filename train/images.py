"""Any picture as a first frame."""

from __future__ import annotations

from collections.abc import Callable
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


def load_first_frame(path: Path, size: int, fit: FitName = "crop") -> Tensor:
    """Read a picture, turn it upright, and make it square in the way the store's frames were.

    Returns:
        uint8, shape (1, 3, size, size).

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
    return torch.from_numpy(np.asarray(fitted).copy()).permute(2, 0, 1)[None]


def _eight_bit(image: Image.Image) -> Image.Image:
    """16-bit greys scaled to 8 bits: converting them as they are would cut them off at 255."""
    if not image.mode.startswith("I"):
        return image
    return Image.fromarray((np.asarray(image).clip(0, 65535) // 257).astype(np.uint8))
