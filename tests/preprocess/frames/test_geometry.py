from __future__ import annotations

from pathlib import Path
from typing import get_args

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from preprocess.frames.geometry import Box, Geometry, fit, refusal, square_rgb, upright_size
from preprocess.sources.independent_decode import decode_independently, square_independently
from preprocess.sources.video import decode
from shared.schema import FitName
from tests.conftest import moving_square, write_video

FITS: tuple[FitName, ...] = get_args(FitName)
SIDES = st.integers(1, 5000)


@given(SIDES, SIDES, st.integers(1, 512))
def test_crop_lies_inside_the_scaled_frame(width: int, height: int, size: int) -> None:
    fitted = fit(width, height, Geometry(size))
    assert min(fitted.width, fitted.height) == size
    assert fitted.left >= 0 and fitted.left + size <= fitted.width
    assert fitted.top >= 0 and fitted.top + size <= fitted.height
    assert abs(fitted.width / fitted.height * height - width) <= width / size + 1


@given(SIDES, SIDES, st.integers(1, 512))
def test_pad_holds_the_whole_scaled_frame(width: int, height: int, size: int) -> None:
    fitted = fit(width, height, Geometry(size, "pad"))
    assert max(fitted.width, fitted.height) == size
    assert -size <= fitted.left <= 0 and fitted.width - fitted.left <= size
    assert -size <= fitted.top <= 0 and fitted.height - fitted.top <= size


def test_fit_of_a_wide_frame() -> None:
    fitted = fit(640, 480, Geometry(128))
    assert (fitted.width, fitted.height, fitted.left, fitted.top) == (171, 128, 21, 0)
    assert fitted.shrinks
    assert not fit(10, 20, Geometry(64)).shrinks
    padded = fit(640, 480, Geometry(128, "pad"))
    assert (padded.width, padded.height, padded.left, padded.top) == (128, 96, 0, -16)
    stretched = fit(640, 480, Geometry(128, "stretch"))
    assert (stretched.width, stretched.height, stretched.left) == (128, 128, 0)


def test_the_boxes_of_the_papers_give_the_shapes_that_they_state() -> None:
    """LFDM: MHAD 480x336 becomes 128x89 and bars, NATOPS 229x260 becomes 112x128 and bars."""
    assert fit(336, 480, Geometry(128, "pad")).width in (89, 90)
    assert fit(260, 229, Geometry(128, "pad")).height in (112, 113)


@given(
    st.integers(1, 40),
    st.integers(1, 40),
    st.integers(1, 48),
    st.sampled_from(FITS),
    st.data(),
)
def test_both_decoders_scale_a_picture_alike(
    width: int, height: int, size: int, by: FitName, data: st.DataObject
) -> None:
    picture = np.random.default_rng(0).integers(0, 256, (height, width, 3), np.uint8)
    box = None
    if data.draw(st.booleans()):
        top, left = data.draw(st.integers(0, height - 1)), data.draw(st.integers(0, width - 1))
        bottom = data.draw(st.integers(top + 1, height))
        box = Box(top, bottom, left, data.draw(st.integers(left + 1, width)))
    geometry = Geometry(size, by, box)
    square = square_rgb(picture, geometry)
    assert square.shape == (3, size, size)
    assert np.array_equal(square, square_independently(picture, geometry))


def test_a_box_cuts_exactly_these_pixels() -> None:
    picture = np.random.default_rng(0).integers(0, 256, (30, 40, 3), np.uint8)
    square = square_rgb(picture, Geometry(10, "crop", Box(5, 15, 20, 30)))
    assert np.array_equal(square, picture[5:15, 20:30].transpose(2, 0, 1))
    doubled = square_rgb(picture, Geometry(5, "crop", Box(5, 15, 20, 30)))
    means = picture[5:15, 20:30].reshape(5, 2, 5, 2, 3).mean((1, 3)).transpose(2, 0, 1)
    assert np.abs(doubled - means).max() <= 1  # rounded once along each axis


def test_bars_are_black_and_centred() -> None:
    white = np.full((20, 40, 3), 255, np.uint8)
    square = square_rgb(white, Geometry(40, "pad"))
    assert (square[:, 10:30] == 255).all()
    assert not square[:, :10].any() and not square[:, 30:].any()


@pytest.mark.parametrize("by", FITS)
@pytest.mark.parametrize("box", [None, Box(3, 17, 5, 28)])
def test_both_decoders_agree_on_a_video(tmp_path: Path, by: FitName, box: Box | None) -> None:
    path = write_video(tmp_path / "v.mp4", moving_square(6, 20, 30))
    for size in (8, 20, 33):
        geometry = Geometry(size, by, box)
        frames = [frame for _, frame in decode(path, range(6), geometry)]
        assert np.array_equal(
            np.stack(frames), np.stack([frame for _, frame in decode_independently(path, geometry)])
        )


def test_what_cannot_be_used_is_named() -> None:
    assert refusal(640, 480, Geometry(64)) == ""
    assert "states no frame size" in refusal(0, 480, Geometry(64))
    assert refusal(9000, 9000, Geometry(64)).startswith("frames of 9000x9000; at most")
    box = Geometry(64, "crop", Box(10, 239, 30, 290))
    assert refusal(320, 240, box) == ""
    assert refusal(320, 238, box) == "frames of 320x238 do not hold the crop box 10:239,30:290"
    assert "too narrow" in refusal(1, 4096, Geometry(4096))


def test_quarter_turns_swap_the_sides() -> None:
    assert upright_size(640, 480, -90) == (480, 640)
    assert upright_size(640, 480, 180) == (640, 480)


@pytest.mark.parametrize("by", FITS)
def test_the_box_is_of_the_upright_picture(real_clips: Path, by: FitName) -> None:
    """Turned files: a box over the whole upright frame changes nothing, for either decoder."""
    import av

    turned = []
    for path in sorted((real_clips / "clips").glob("*")):
        with av.open(str(path)) as container:
            frame = next(container.decode(video=0), None)
        if frame is not None and round(frame.rotation / 90) % 4:
            turned.append((path, *upright_size(frame.width, frame.height, frame.rotation)))
    assert turned
    for path, width, height in turned:
        whole = Geometry(48, by, Box(0, height, 0, width))
        [(_, boxed)] = decode(path, [0], whole)
        [(_, plain)] = decode(path, [0], Geometry(48, by))
        errors = [np.abs(np.rot90(boxed, n, (1, 2)) - 1.0 * plain).mean() for n in range(4)]
        assert np.argmin(errors) == 0
        assert np.array_equal(boxed, next(decode_independently(path, whole))[1])
        assert np.array_equal(plain, next(decode_independently(path, Geometry(48, by)))[1])
