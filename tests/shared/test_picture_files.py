"""Pictures of every kind against pixels known from how they were made."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Callable
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image, PngImagePlugin

from shared.picture_files import PictureError, picture_size, read_picture

RGB = np.random.default_rng(0).integers(0, 256, (9, 14, 3), np.uint8)
RAMP = np.linspace(0, 65535, 24).round().astype(np.uint16).reshape(4, 6)
RAMP_8 = np.round(RAMP / 257).astype(np.uint8)

UPRIGHT: dict[int, Callable[[NDArray[Any]], NDArray[Any]]] = {
    1: lambda shown: shown,
    2: lambda shown: shown[:, ::-1],
    3: lambda shown: shown[::-1, ::-1],
    4: lambda shown: shown[::-1],
    5: lambda shown: shown.swapaxes(0, 1),
    6: lambda shown: np.rot90(shown, -1),
    7: lambda shown: shown[::-1, ::-1].swapaxes(0, 1),
    8: lambda shown: np.rot90(shown),
}
"""EXIF 2.32: the side of the stored picture that row 0 and column 0 are, by orientation."""


def grey(file: Path) -> NDArray[np.uint8]:
    """Grey levels of a picture whose three colours are the same, shape (H, W)."""
    rgb = read_picture(file)
    assert (rgb == rgb[..., :1]).all()
    return rgb[..., 0]


def write_tiff(
    path: Path, values: NDArray[Any], *, bits: int, photometric: int = 1, sample_format: int = 1
) -> Path:
    """Write an uncompressed grey TIFF by hand (TIFF 6.0), in the byte order of the values."""
    order, magic = (">", b"MM") if values.dtype.byteorder == ">" else ("<", b"II")
    content = values.tobytes()
    height, width = RAMP.shape
    tags = {
        256: width, 257: height, 258: bits, 259: 1, 262: photometric, 273: 8, 277: 1, 278: height,
        279: len(content), 339: sample_format,
    }  # fmt: skip
    entries = [struct.pack(order + "HHIHH", tag, 3, 1, value, 0) for tag, value in tags.items()]
    directory = struct.pack(order + "H", len(tags)) + b"".join(entries) + bytes(4)
    header = magic + struct.pack(order + "HI", 42, 8 + len(content))
    path.write_bytes(header + content + directory)
    return path


@pytest.mark.parametrize("ending", ["png", "pgm", "tiff", "jp2"])
def test_sixteen_bit_greys_become_eight_bits(tmp_path: Path, ending: str) -> None:
    file = tmp_path / f"a.{ending}"
    if ending == "pgm":
        file.write_bytes(b"P5 6 4 65535\n" + RAMP.astype(">u2").tobytes())
    else:
        Image.fromarray(RAMP).save(file)
    assert np.array_equal(grey(file), RAMP_8)


@pytest.mark.parametrize("photometric", [0, 1])
@pytest.mark.parametrize("order", ["<", ">"])
def test_tiff_greys_of_both_byte_orders_and_both_polarities(
    tmp_path: Path, order: str, photometric: int
) -> None:
    """Photometric interpretation 0: 0 is white."""
    expected = RAMP_8 if photometric else 255 - RAMP_8
    floats = (RAMP / 65535).astype(f"{order}f4")
    file = write_tiff(tmp_path / "f.tif", floats, bits=32, photometric=photometric, sample_format=3)
    assert np.array_equal(grey(file), expected)
    file = write_tiff(
        tmp_path / "u.tif", RAMP.astype(f"{order}u2"), bits=16, photometric=photometric
    )
    if (order, photometric) == (">", 0):  # Pillow knows no such file
        with pytest.raises(PictureError, match="not an image of a known kind"):
            read_picture(file)
    else:
        assert np.array_equal(grey(file), expected)


def test_twelve_bit_tiff_is_scaled_by_its_own_white(tmp_path: Path) -> None:
    values = np.linspace(0, 4095, 24).round().astype(int)
    packed = int("".join(f"{value:012b}" for value in values), 2).to_bytes(36, "big")
    file = write_tiff(tmp_path / "a.tif", np.frombuffer(packed, np.uint8), bits=12)
    assert np.array_equal(grey(file).ravel(), np.round(values * 255 / 4095))


@pytest.mark.parametrize(
    ("values", "bits", "sample_format", "reason"),
    [
        (RAMP.astype("<f4"), 32, 3, "grey values of 0 to 65535; expected 0 to 1"),
        (np.full((4, 6), np.nan, "<f4"), 32, 3, "grey values of nan to nan; expected 0 to 1"),
        (np.full((4, 6), -0.5, "<f4"), 32, 3, "grey values of -0.5 to -0.5; expected 0 to 1"),
        (RAMP.astype("<i2"), 16, 2, "whole numbers of 16 bits, whose white is not stated"),
        (RAMP.astype("<u4"), 32, 1, "whole numbers of 32 bits, whose white is not stated"),
        (RAMP.astype("<f8"), 64, 3, "not an image of a known kind"),
    ],
)
def test_values_without_a_stated_white_are_refused(
    tmp_path: Path, values: NDArray[Any], bits: int, sample_format: int, reason: str
) -> None:
    file = write_tiff(tmp_path / "a.tif", values, bits=bits, sample_format=sample_format)
    with pytest.raises(PictureError, match=reason):
        read_picture(file)


def test_colours_without_a_conversion_are_refused(tmp_path: Path) -> None:
    Image.new("LAB", (4, 4)).save(tmp_path / "a.tif")
    with pytest.raises(PictureError, match="its colours are LAB"):
        read_picture(tmp_path / "a.tif")


def chunk(kind: bytes, content: bytes) -> bytes:
    return (
        struct.pack(">I", len(content))
        + kind
        + content
        + struct.pack(">I", zlib.crc32(kind + content))
    )


def write_png(
    path: Path, samples: NDArray[np.uint16], colour_type: int, key: tuple[int, ...] = ()
) -> Path:
    """Write a PNG of 16 bits a sample by hand, shape (H, W, channels)."""
    height, width = samples.shape[:2]
    rows = samples.astype(">u2").reshape(height, -1)
    raw = b"".join(b"\0" + row.tobytes() for row in rows)
    header = struct.pack(">IIBBBBB", width, height, 16, colour_type, 0, 0, 0)
    transparent = chunk(b"tRNS", struct.pack(f">{len(key)}H", *key)) if key else b""
    content = chunk(b"IHDR", header) + transparent + chunk(b"IDAT", zlib.compress(raw))
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + content + chunk(b"IEND", b""))
    return path


def test_png_of_sixteen_bits_in_colour(tmp_path: Path) -> None:
    samples = RGB.astype(np.uint16) * 257
    assert np.array_equal(read_picture(write_png(tmp_path / "a.png", samples, 2)), RGB)
    alpha = np.full((*RGB.shape[:2], 1), 65535, np.uint16)
    alpha[:, :5] = 0
    file = write_png(tmp_path / "b.png", np.concatenate([samples, alpha], axis=2), 6)
    assert np.array_equal(read_picture(file), np.where(alpha, RGB, 0))
    with pytest.raises(PictureError, match="one of its 16-bit colours stands for transparent"):
        read_picture(write_png(tmp_path / "c.png", samples, 2, key=tuple(samples[0, 0].tolist())))


def test_the_transparent_grey_of_a_png_of_sixteen_bits(tmp_path: Path) -> None:
    samples = RAMP[..., None]
    file = write_png(tmp_path / "a.png", samples, 0, key=(int(RAMP[2, 3]),))
    expected = RAMP_8.copy()
    expected[2, 3] = 0
    assert np.array_equal(grey(file), expected)
    assert not np.array_equal(RAMP_8, expected)


def over_black(rgba: NDArray[np.uint8]) -> NDArray[np.float64]:
    return rgba[..., :3] * (rgba[..., 3:] / 255)


@pytest.mark.parametrize("ending", ["png", "webp", "tiff"])
def test_alpha_is_composited_over_black(tmp_path: Path, ending: str) -> None:
    alpha = np.random.default_rng(1).integers(0, 256, (9, 14, 1), np.uint8)
    alpha[:, :3], alpha[:, 3:6] = 0, 255
    rgba = np.concatenate([RGB, alpha], axis=2)
    options = {"lossless": True, "exact": True} if ending == "webp" else {}
    Image.fromarray(rgba).save(tmp_path / f"a.{ending}", **options)
    read = read_picture(tmp_path / f"a.{ending}")
    assert np.array_equal(read[:, 3:6], RGB[:, 3:6])
    assert not read[:, :3].any()
    assert np.abs(read - over_black(rgba)).max() <= 1


def test_every_way_to_be_transparent(tmp_path: Path) -> None:
    """The left half is transparent over magenta, the right half is green."""
    rgba = np.zeros((8, 8, 4), np.uint8)
    rgba[:, :4], rgba[:, 4:] = (255, 0, 255, 0), (0, 200, 0, 255)
    picture = Image.fromarray(rgba)
    palette = picture.convert("RGB").quantize(4)
    transparent = palette.getpixel((0, 0))
    assert isinstance(transparent, int)
    picture.save(tmp_path / "rgba.png")
    picture.save(tmp_path / "frame.gif")
    palette.save(tmp_path / "index.png", transparency=transparent)
    table = bytes(0 if n == transparent else 255 for n in range(256))
    palette.save(tmp_path / "table.png", transparency=table)
    picture.convert("RGB").save(tmp_path / "colour.png", transparency=(255, 0, 255))
    picture.save(tmp_path / "frame.tif", compression="tiff_lzw")
    for file in sorted(tmp_path.iterdir()):
        read = read_picture(file)
        assert not read[:, :4].any(), file
        assert (read[:, 4:] == (0, 200, 0)).all(), file
    grey_alpha = Image.fromarray(np.array([[[90, 0], [90, 255]]], np.uint8))
    assert grey_alpha.mode == "LA"
    grey_alpha.save(tmp_path / "la.png")
    Image.fromarray(np.array([[90, 91]], np.uint8)).save(tmp_path / "l.png", transparency=90)
    assert grey(tmp_path / "la.png").tolist() == [[0, 90]]
    assert grey(tmp_path / "l.png").tolist() == [[0, 91]]


@pytest.mark.parametrize("mode", ["1", "L", "P", "CMYK", "YCbCr", "RGBX"])
def test_colours_of_other_modes(tmp_path: Path, mode: str) -> None:
    flat = np.zeros((16, 24, 3), np.uint8)
    flat[:, 12:] = 255 if mode in ("1", "L") else (200, 30, 60)
    picture = Image.fromarray(flat)
    picture = picture.quantize(4) if mode == "P" else picture.convert(mode)
    sharp: dict[str, Any] = {"quality": 100, "subsampling": 0}
    endings = {"CMYK": ("jpg", "tif"), "YCbCr": ("jpg", "tif"), "RGBX": ("tif",)}
    for ending in endings.get(mode, ("png", "tif")):
        picture.save(tmp_path / f"a.{ending}", **(sharp if ending == "jpg" else {}))
        read = read_picture(tmp_path / f"a.{ending}").astype(int)
        assert np.abs(read - flat).max() <= 3, ending


@pytest.mark.parametrize("orientation", UPRIGHT)
@pytest.mark.parametrize("ending", ["jpg", "png", "webp", "tiff", "avif"])
def test_every_orientation(tmp_path: Path, ending: str, orientation: int) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    file = tmp_path / f"a.{ending}"
    y, x = np.mgrid[:24, :40]
    ramps = np.stack([6 * x, 10 * y, 0 * x + 90], axis=2).astype(np.uint8)
    Image.fromarray(ramps).save(file, exif=exif, **({} if ending == "tiff" else {"quality": 100}))
    expected = UPRIGHT[orientation](ramps)
    read = read_picture(file)
    assert read.shape == expected.shape
    assert picture_size(file) == (read.shape[1], read.shape[0])
    assert np.abs(read.astype(int) - expected).max() < 8


def test_orientation_and_transparency_together(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    values = np.array([[90, 91, 92]], np.uint8)
    Image.fromarray(values).save(tmp_path / "l.png", transparency=90, exif=exif)
    assert grey(tmp_path / "l.png").tolist() == [[0], [91], [92]]


def test_damage_in_metadata_changes_no_pixel(tmp_path: Path) -> None:
    """A rational of -1/0, an offset outside, a cut block: none is a reason to refuse a picture."""
    good = Image.Exif()
    good[0x0112] = 6
    good[0x011A] = 72.0
    block = good.tobytes()
    for name, content in {
        "whole": block,
        "rational": block[:-8] + struct.pack(">iI", -1, 0),
        "offset": block[:10] + b"\xff\xff\xff\x00" + block[14:],
        "cut": block[:20],
        "empty": b"Exif\0\0",
    }.items():
        file = tmp_path / f"{name}.jpg"
        Image.fromarray(RGB).save(file, exif=content)
        read = read_picture(file)
        assert sorted(read.shape) == sorted(RGB.shape), name
        assert picture_size(file) == (read.shape[1], read.shape[0]), name
    assert read_picture(tmp_path / "whole.jpg").shape[:2] == (14, 9)
    assert read_picture(tmp_path / "rational.jpg").shape[:2] == (14, 9)


FORMATS = {
    "png": {}, "jpg": {}, "bmp": {}, "ppm": {}, "tiff": {}, "webp": {}, "gif": {}, "avif": {},
    "jp2": {}, "tga": {}, "ico": {}, "sgi": {}, "pcx": {}, "dds": {}, "qoi": {}, "im": {},
    "progressive.jpg": {"progressive": True}, "lzw.tiff": {"compression": "tiff_lzw"},
    "deflated.tiff": {"compression": "tiff_adobe_deflate"},
    "jpeg.tiff": {"compression": "jpeg"}, "lossless.webp": {"lossless": True},
}  # fmt: skip


@pytest.mark.parametrize("name", FORMATS)
@given(cut=st.floats(0, 1, exclude_max=True))
def test_a_cut_file_is_refused_or_whole(
    tmp_path_factory: pytest.TempPathFactory, name: str, cut: float
) -> None:
    """Whatever Pillow raises; and no picture is shown with pixels missing."""
    buffer = BytesIO()
    kind = {"jpg": "JPEG", "jp2": "JPEG2000", "tiff": "TIFF"}.get(name.rpartition(".")[2])
    options: dict[str, Any] = FORMATS[name]
    Image.fromarray(RGB).save(buffer, kind or name.rpartition(".")[2].upper(), **options)
    content = buffer.getvalue()
    file = tmp_path_factory.getbasetemp() / f"cut-{name}"
    file.write_bytes(content)
    whole = read_picture(file)
    file.write_bytes(content[: int(cut * len(content))])
    try:
        assert np.array_equal(read_picture(file), whole)
        assert picture_size(file) == (whole.shape[1], whole.shape[0])
    except PictureError as error:
        assert str(error)


def test_what_is_no_picture_is_named(tmp_path: Path) -> None:
    (tmp_path / "empty.png").touch()
    (tmp_path / "text.png").write_text("not a picture")
    (tmp_path / "folder.png").mkdir()
    (tmp_path / "link.png").symlink_to(tmp_path / "link.png")
    (tmp_path / "bomb.ppm").write_bytes(b"P6 100000 100000 255\n" + bytes(100))
    (tmp_path / "large.ppm").write_bytes(b"P6 12000 12000 255\n" + bytes(100))
    for name, reason in {
        "empty.png": "the file is empty",
        "text.png": "not an image of a known kind",
        "folder.png": "a folder, no file",
        "absent.png": "No such file or directory",
        "bomb.ppm": r"Image size \(10000000000 pixels\) exceeds limit",
        "large.ppm": "12000x12000 pixels; at most 134217728 in all are read",
    }.items():
        for read in (read_picture, picture_size):
            with pytest.raises(PictureError, match=reason):
                read(tmp_path / name)
    with pytest.raises(PictureError):
        read_picture(tmp_path / "link.png")


def test_errors_of_any_kind_are_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    Image.fromarray(RGB).save(tmp_path / "a.png")

    def fail(self: object) -> None:
        raise KeyError("IHDR")

    monkeypatch.setattr(PngImagePlugin.PngImageFile, "load_prepare", fail)
    with pytest.raises(PictureError, match="damaged or cut off"):
        read_picture(tmp_path / "a.png")
