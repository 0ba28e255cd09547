from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from shared.errors import UserError
from train.images import load_first_frame

RED, GREEN, BLUE = (255, 0, 0), (0, 255, 0), (0, 0, 255)


def stripes(width: int, height: int) -> Image.Image:
    """Left quarter red, middle green, right quarter blue."""
    pixels = np.empty((height, width, 3), np.uint8)
    pixels[:] = GREEN
    pixels[:, : width // 4], pixels[:, -(width // 4) :] = RED, BLUE
    return Image.fromarray(pixels)


def test_the_centre_square_is_taken(tmp_path: Path) -> None:
    stripes(80, 40).save(tmp_path / "wide.png")
    frame = load_first_frame(tmp_path / "wide.png", 8).pixels
    assert frame.shape == (1, 3, 8, 8)
    assert abs(frame[0].permute(1, 2, 0).numpy().astype(int) - GREEN).max() < 20


@pytest.mark.parametrize("size", [8, 64])
def test_a_square_keeps_its_sides_at_any_size(tmp_path: Path, size: int) -> None:
    stripes(32, 32).save(tmp_path / "square.png")
    frame = load_first_frame(tmp_path / "square.png", size).pixels[0]
    for column, colour in ((0, RED), (size // 2, GREEN), (-1, BLUE)):
        assert frame[:, size // 2, column].tolist() == pytest.approx(colour, abs=20)


def test_a_picture_of_the_right_size_is_kept_bit_for_bit(tmp_path: Path) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (16, 16, 3), np.uint8)
    Image.fromarray(pixels).save(tmp_path / "same.png")
    frame = load_first_frame(tmp_path / "same.png", 16).pixels
    assert np.array_equal(frame[0].permute(1, 2, 0).numpy(), pixels)


def test_photographs_are_turned_upright(tmp_path: Path) -> None:
    """Orientation 6: the camera was turned; upright is a quarter turn clockwise."""
    exif = Image.Exif()
    exif[0x0112] = 6
    stripes(32, 32).save(tmp_path / "turned.png", exif=exif)
    frame = load_first_frame(tmp_path / "turned.png", 32).pixels[0]
    assert tuple(frame[:, 0, 16].tolist()) == RED
    assert tuple(frame[:, -1, 16].tolist()) == BLUE


@pytest.mark.parametrize("mode", ["L", "P", "RGBA", "LA", "1", "CMYK", "I;16"])
def test_other_kinds_of_picture_become_rgb(tmp_path: Path, mode: str) -> None:
    if mode == "I;16":
        picture = Image.fromarray(np.full((20, 20), 40_000, np.uint16))
    else:
        picture = stripes(20, 20).convert(mode)
    path = tmp_path / ("picture.tiff" if mode == "CMYK" else "picture.png")
    picture.save(path)
    assert load_first_frame(path, 8).pixels.shape == (1, 3, 8, 8)


def test_sixteen_bit_greys_keep_their_brightness(tmp_path: Path) -> None:
    Image.fromarray(np.full((20, 20), 128 * 257, np.uint16)).save(tmp_path / "deep.png")
    frame = load_first_frame(tmp_path / "deep.png", 8).pixels
    assert frame.float().mean() == pytest.approx(128, abs=1)


def test_what_is_no_picture_is_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"--image .*absent.png: no such file"):
        load_first_frame(tmp_path / "absent.png", 8)
    (tmp_path / "text.png").write_text("not a picture")
    (tmp_path / "empty.png").touch()
    stripes(64, 64).save(tmp_path / "whole.png")
    (tmp_path / "cut.png").write_bytes((tmp_path / "whole.png").read_bytes()[:-60])
    for name in ("text.png", "empty.png", "cut.png", "."):
        with pytest.raises(UserError, match="not a readable picture"):
            load_first_frame(tmp_path / name, 8)


def test_the_picture_is_fitted_as_the_store_was(tmp_path: Path) -> None:
    Image.new("RGB", (20, 10), (255, 255, 255)).save(tmp_path / "wide.png")
    padded = load_first_frame(tmp_path / "wide.png", 8, "pad")
    assert (padded.pixels[0, :, 2:6] == 255).all()
    assert not padded.pixels[0, :, :2].any() and not padded.pixels[0, :, 6:].any()
    stretched = load_first_frame(tmp_path / "wide.png", 8, "stretch")
    assert (stretched.pixels == 255).all()
    assert padded.how == "20x10, black bars added to a square, resized to 8x8"
    assert stretched.how == "20x10, stretched to a square, resized to 8x8"


def test_what_was_done_to_a_picture_is_told(tmp_path: Path) -> None:
    for width, height, how in [
        (80, 40, "80x40, cut to the middle square, resized to 8x8"),
        (40, 40, "40x40, resized to 8x8"),
        (8, 8, "8x8, taken as it is"),
    ]:
        stripes(width, height).save(tmp_path / "a.png")
        assert load_first_frame(tmp_path / "a.png", 8).how == how
