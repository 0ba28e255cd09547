"""Read a picture file of any kind as upright RGB, or refuse it with the reason.

Frames of image folders and the first frame of a generated video come through this one reader.
Pillow comes with the extras of `preprocess` and `train`; `shared` itself does not need it.
"""

from __future__ import annotations

import struct
import warnings
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
from numpy.typing import NDArray
from PIL import ExifTags, Image, TiffImagePlugin, UnidentifiedImageError

from shared.store.paths import Location

BACKGROUND = (0, 0, 0)
"""Colour under transparent pixels: black, as the bars of `pad`."""

MAX_PIXELS = 2**27
"""Largest picture; a larger one is refused before memory is allocated for it."""

_TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
"""Change that makes a picture upright, by its EXIF orientation (EXIF 2.32, tag 0x0112)."""

_RGB_MODES = ("1", "L", "P", "RGB", "RGBX", "YCbCr", "CMYK")
_ALPHA_MODES = ("LA", "La", "PA", "RGBA", "RGBa")


class PictureError(Exception):
    """A picture that cannot be read; the message is the reason."""


def read_picture(file: Location, *, max_pixels: int = MAX_PIXELS) -> NDArray[np.uint8]:
    """Read a picture as upright RGB, uint8, shape (H, W, 3).

    Whole numbers of 16 bits are scaled to 8 (0 to 65535 becomes 0 to 255), floats from [0, 1];
    palettes and CMYK become RGB; transparent pixels are composited over `BACKGROUND`; the EXIF
    orientation is applied. Of several pictures in a file, the first is read.

    Raises:
        PictureError: the file is no picture, is cut off, has more pixels than `max_pixels`, or
            its values have no stated meaning as colours.
    """
    with _opened(file, max_pixels) as image:
        if image.format == "JPEG2000" and not _has_end(file.read_bytes()):
            raise PictureError("damaged or cut off (its codestream has no end)")
        return upright_rgb(image)


def upright_rgb(image: Image.Image) -> NDArray[np.uint8]:
    """Pixels of an open picture, see `read_picture`; raises what Pillow does, too."""
    image.load()
    upright = _upright(image)
    return np.asarray(_over_background(upright) if _is_transparent(upright) else _rgb(upright))


def picture_size(file: Location, *, max_pixels: int = MAX_PIXELS) -> tuple[int, int]:
    """Upright width and height of a picture; see `read_picture` for errors."""
    with _opened(file, max_pixels) as image:
        # Pillow swaps the sides of a TIFF file itself.
        turned = image.format != "TIFF" and _orientation(image) in (5, 6, 7, 8)
        return (image.height, image.width) if turned else image.size


@contextmanager
def _opened(file: Location, max_pixels: int) -> Iterator[Image.Image]:
    """Open a picture without decoding it; whatever Pillow raises becomes a PictureError."""
    try:
        if file.exists() and not file.is_file():
            raise PictureError("a folder, no file" if file.is_dir() else "no regular file")
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of metadata that no pixel depends on
            with Image.open(str(file)) as image:
                if image.width * image.height > max_pixels:
                    size = f"{image.width}x{image.height}"
                    raise PictureError(f"{size} pixels; at most {max_pixels} in all are read")
                yield image
    except PictureError:
        raise
    except Exception as error:  # Pillow's formats raise errors of many kinds
        raise PictureError(_reason(file, error)) from None


def _reason(file: Location, error: Exception) -> str:
    if isinstance(error, UnidentifiedImageError):
        return "not an image of a known kind" if file.stat().st_size else "the file is empty"
    if isinstance(error, Image.DecompressionBombError):
        return str(error).removesuffix(", could be decompression bomb DOS attack.")
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    return f"damaged or cut off ({error or type(error).__name__})"


def _has_end(content: bytes) -> bool:
    """Test whether a JPEG 2000 file has its end-of-codestream marker (ITU-T T.800, A.4.4).

    Decoders show what is missing of one as black, and raise nothing.
    """
    place, end = 0, len(content)
    if content[4:8] == b"jP  ":  # boxes (annex I); else the file is the codestream
        kind = b""
        while kind != b"jp2c":
            if place + 16 > len(content):
                return False
            length, kind, long = struct.unpack(">I4sQ", content[place : place + 16])
            length = {0: len(content) - place, 1: long}.get(length, length)
            place, end = place + max(length, 8), place + length
    return content[max(end - 2, 0) : end] == b"\xff\xd9"


def _upright(image: Image.Image) -> Image.Image:
    turn = _TURNS.get(_orientation(image))
    # `transpose` forgets the colour that is transparent, which a palette or a grey may have.
    return image if turn is None else _with_info(image.transpose(turn), image)


def _with_info(image: Image.Image, source: Image.Image) -> Image.Image:
    image.info = source.info
    return image


def _orientation(image: Image.Image) -> int:
    """EXIF orientation, 1 to 8; 1 where there is none or the metadata are damaged."""
    try:
        return int(image.getexif().get(ExifTags.Base.Orientation, 1))
    except Exception:
        # No pixel depends on the rest of them. Damaged pixels are found when they are decoded.
        return 1


def _is_transparent(image: Image.Image) -> bool:
    return image.mode in _ALPHA_MODES or image.has_transparency_data


def _over_background(image: Image.Image) -> Image.Image:
    key = image.info.get("transparency")
    if image.mode.startswith("I"):
        grey = np.asarray(image)
        rgba = _rgb(image).convert("RGBA")
        rgba.putalpha(Image.fromarray(np.where(grey == key, 0, 255).astype(np.uint8)))
    elif isinstance(key, tuple) and max(key) > 255:
        # Pillow keeps 8 of the 16 bits, in which the colour cannot be told from its neighbours.
        raise PictureError("one of its 16-bit colours stands for transparent; save it with alpha")
    else:
        rgba = image.convert("RGBA")
    background = Image.new("RGBA", image.size, (*BACKGROUND, 255))
    return Image.alpha_composite(background, rgba).convert("RGB")


def _rgb(image: Image.Image) -> Image.Image:
    if image.mode in _RGB_MODES:
        return image.convert("RGB")
    if image.mode in ("I;16", "I;16L", "I;16B", "I;16N", "I", "F"):
        return Image.fromarray(_eight_bit(image)).convert("RGB")
    raise PictureError(f"its colours are {image.mode}, for which no conversion is known; use RGB")


def _eight_bit(image: Image.Image) -> NDArray[np.uint8]:
    """Scale deep greys from black to white to 0 to 255, rounded, shape (H, W)."""
    values = np.asarray(image).astype(np.float64)
    white = _white(image)
    lowest, highest = float(values.min()), float(values.max())
    if not (lowest >= 0 and highest <= white):  # also refuses NaN
        raise PictureError(f"grey values of {lowest:g} to {highest:g}; expected 0 to {white:g}")
    scaled = np.floor(values * (255 / white) + 0.5).astype(np.uint8)
    inverted = (
        isinstance(image, TiffImagePlugin.TiffImageFile)
        and image.tag_v2.get(TiffImagePlugin.PHOTOMETRIC_INTERPRETATION) == 0
    )
    return 255 - scaled if inverted else scaled


def _white(image: Image.Image) -> float:
    """Grey value of white."""
    if image.mode == "F":
        return 1.0
    if not isinstance(image, TiffImagePlugin.TiffImageFile):
        return 65535.0  # of PNG, PGM and JPEG 2000
    bits = int(image.tag_v2.get(TiffImagePlugin.BITSPERSAMPLE, (16,))[0])
    if image.mode == "I":
        raise PictureError(
            f"whole numbers of {bits} bits, whose white is not stated; use unsigned 16"
        )
    return float(2**bits - 1)
