from __future__ import annotations

from fractions import Fraction
from itertools import product
from pathlib import Path
from typing import get_args

import av
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from preprocess.frames.geometry import Box, Geometry, fit, fit_picture, refusal, upright_size
from preprocess.records import DecodeError, Probe
from preprocess.sources.independent_decode import decode_independently, fit_independently
from preprocess.sources.video import decode, probe
from shared.conventions import FrameSize
from shared.schema import FitName
from tests.conftest import moving_square, write_video

FITS: tuple[FitName, ...] = get_args(FitName)
SIDES = st.integers(1, 5000)
SIZES = st.builds(FrameSize, st.integers(1, 512), st.integers(1, 512))
WIDE, TALL = FrameSize(16, 28), FrameSize(28, 16)


@given(SIDES, SIDES, SIZES)
def test_crop_lies_inside_the_scaled_frame(width: int, height: int, size: FrameSize) -> None:
    fitted = fit(width, height, Geometry(size))
    assert fitted.width == size.width or fitted.height == size.height
    assert fitted.left >= 0 and fitted.left + size.width <= fitted.width
    assert fitted.top >= 0 and fitted.top + size.height <= fitted.height
    assert abs(fitted.width / fitted.height * height - width) <= width / min(size) + 1


@given(SIDES, SIDES, SIZES)
def test_pad_holds_the_whole_scaled_frame(width: int, height: int, size: FrameSize) -> None:
    fitted = fit(width, height, Geometry(size, "pad"))
    assert fitted.width == size.width or fitted.height == size.height
    assert -size.width <= fitted.left <= 0 and fitted.width - fitted.left <= size.width
    assert -size.height <= fitted.top <= 0 and fitted.height - fitted.top <= size.height


@given(SIDES, SIDES, SIZES, st.sampled_from(FITS))
def test_a_turned_frame_fits_a_turned_size_alike(
    width: int, height: int, size: FrameSize, by: FitName
) -> None:
    one = fit(width, height, Geometry(size, by))
    other = fit(height, width, Geometry(FrameSize(size.width, size.height), by))
    assert (one.width, one.height, one.left, one.top, one.shrinks) == (
        other.height, other.width, other.top, other.left, other.shrinks,
    )  # fmt: skip


@given(SIDES, SIDES, st.integers(1, 512))
def test_squares_are_fitted_as_they_always_were(width: int, height: int, size: int) -> None:
    """As in all stores so far: the shorter (crop) or the longer (pad) side becomes `size`."""
    for by, side in (("crop", min(width, height)), ("pad", max(width, height))):
        fitted = fit(width, height, Geometry(FrameSize(size, size), by))
        for found, length in ((fitted.width, width), (fitted.height, height)):
            assert found == max(1, int(Fraction(length * size, side) + Fraction(1, 2)))
        assert fitted.left == (fitted.width - size) // 2
        assert fitted.top == (fitted.height - size) // 2


def test_fit_of_a_wide_frame() -> None:
    fitted = fit(640, 480, Geometry(128))
    assert (fitted.width, fitted.height, fitted.left, fitted.top) == (171, 128, 21, 0)
    assert fitted.shrinks
    assert not fit(10, 20, Geometry(64)).shrinks
    padded = fit(640, 480, Geometry(128, "pad"))
    assert (padded.width, padded.height, padded.left, padded.top) == (128, 96, 0, -16)
    stretched = fit(640, 480, Geometry(128, "stretch"))
    assert (stretched.width, stretched.height, stretched.left) == (128, 128, 0)


@pytest.mark.parametrize(
    ("frame", "by", "scaled", "corner"),
    [
        ((1920, 1080), "crop", (256, 144), (0, 0)),  # of the same aspect: nothing is lost
        ((640, 480), "crop", (256, 192), (0, 24)),
        ((640, 480), "pad", (192, 144), (-32, 0)),
        ((640, 480), "stretch", (256, 144), (0, 0)),
        ((1080, 1920), "crop", (256, 455), (0, 155)),
        ((1080, 1920), "pad", (81, 144), (-88, 0)),
    ],
)
def test_fit_to_a_wide_size(
    frame: tuple[int, int], by: FitName, scaled: tuple[int, int], corner: tuple[int, int]
) -> None:
    fitted = fit(*frame, Geometry(FrameSize.parse("256x144"), by))
    assert ((fitted.width, fitted.height), (fitted.left, fitted.top)) == (scaled, corner)


def test_the_boxes_of_the_papers_give_the_shapes_that_they_state() -> None:
    """LFDM: MHAD 480x336 becomes 128x89 and bars, NATOPS 229x260 becomes 112x128 and bars."""
    assert fit(336, 480, Geometry(128, "pad")).width in (89, 90)
    assert fit(260, 229, Geometry(128, "pad")).height in (112, 113)


@given(
    st.integers(1, 40),
    st.integers(1, 40),
    st.builds(FrameSize, st.integers(1, 48), st.integers(1, 48)),
    st.sampled_from(FITS),
    st.data(),
)
def test_both_decoders_scale_a_picture_alike(
    width: int, height: int, size: FrameSize, by: FitName, data: st.DataObject
) -> None:
    picture = np.random.default_rng(0).integers(0, 256, (height, width, 3), np.uint8)
    box = None
    if data.draw(st.booleans()):
        top, left = data.draw(st.integers(0, height - 1)), data.draw(st.integers(0, width - 1))
        bottom = data.draw(st.integers(top + 1, height))
        box = Box(top, bottom, left, data.draw(st.integers(left + 1, width)))
    geometry = Geometry(size, by, box)
    square = fit_picture(picture, geometry)
    assert square.shape == (3, *size)
    assert np.array_equal(square, fit_independently(picture, geometry))


def test_a_box_cuts_exactly_these_pixels() -> None:
    picture = np.random.default_rng(0).integers(0, 256, (30, 40, 3), np.uint8)
    square = fit_picture(picture, Geometry(10, "crop", Box(5, 15, 20, 30)))
    assert np.array_equal(square, picture[5:15, 20:30].transpose(2, 0, 1))
    doubled = fit_picture(picture, Geometry(5, "crop", Box(5, 15, 20, 30)))
    means = picture[5:15, 20:30].reshape(5, 2, 5, 2, 3).mean((1, 3)).transpose(2, 0, 1)
    assert np.abs(doubled - means).max() <= 1  # rounded once along each axis


def test_bars_are_black_and_centred() -> None:
    white = np.full((20, 40, 3), 255, np.uint8)
    square = fit_picture(white, Geometry(40, "pad"))
    assert (square[:, 10:30] == 255).all()
    assert not square[:, :10].any() and not square[:, 30:].any()


@pytest.mark.parametrize("by", FITS)
@pytest.mark.parametrize("box", [None, Box(3, 17, 5, 28)])
def test_both_decoders_agree_on_a_video(tmp_path: Path, by: FitName, box: Box | None) -> None:
    path = write_video(tmp_path / "v.mp4", moving_square(6, 20, 30))
    for size in (8, 20, 33, FrameSize(10, 24), FrameSize(26, 9), FrameSize(17, 36)):
        geometry = Geometry(size, by, box)
        frames = [frame for _, frame in decode(path, range(6), geometry)]
        assert frames[0].shape == (3, *geometry.size)
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


MATRICES = {
    # (a, b, c, d): a pixel at (x, y) is shown at (a x + c y, b x + d y)
    (1, 0, 0, 1): lambda rgb: rgb,
    (-1, 0, 0, 1): lambda rgb: rgb[:, ::-1],
    (1, 0, 0, -1): lambda rgb: rgb[::-1],
    (-1, 0, 0, -1): lambda rgb: rgb[::-1, ::-1],
    (0, 1, 1, 0): lambda rgb: rgb.swapaxes(0, 1),
    (0, 1, -1, 0): lambda rgb: np.rot90(rgb, -1),
    (0, -1, 1, 0): lambda rgb: np.rot90(rgb),
    (0, -1, -1, 0): lambda rgb: np.rot90(rgb, 2).swapaxes(0, 1),
}


def with_matrix(path: Path, matrix: tuple[int, int, int, int]) -> Path:
    """Write a display matrix into the track header of an MP4 file."""
    content = bytearray(path.read_bytes())
    at = content.index(b"tkhd") + 44
    a, b, c, d = (value * 65536 for value in matrix)
    numbers = (a, b, 0, c, d, 0, 0, 0, 1 << 30)
    content[at : at + 36] = b"".join(n.to_bytes(4, "big", signed=True) for n in numbers)
    path.write_bytes(content)
    return path


def quadrants(height: int, width: int) -> NDArray[np.uint8]:
    """Red, green / blue, white, as one frame of a video."""
    picture = np.zeros((1, height, width, 3), np.uint8)
    picture[0, : height // 2, : width // 2] = 255, 0, 0
    picture[0, : height // 2, width // 2 :] = 0, 255, 0
    picture[0, height // 2 :, : width // 2] = 0, 0, 255
    picture[0, height // 2 :, width // 2 :] = 255
    return picture.repeat(3, 0)


@pytest.mark.parametrize("matrix", MATRICES)
def test_every_display_matrix(matrix: tuple[int, int, int, int], tmp_path: Path) -> None:
    """Mirrors as well as turns; by default and with a box, for both decoders."""
    video = quadrants(48, 96)
    plain = write_video(tmp_path / "plain.mp4", video)
    path = with_matrix(write_video(tmp_path / "v.mp4", video), matrix)
    for by, size in product(FITS, (FrameSize(32, 32), WIDE, TALL)):
        geometry = Geometry(size, by)
        before = FrameSize(size.width, size.height) if matrix[1] else size
        [(_, coded)] = decode(plain, [0], Geometry(before, by))
        [(_, shown)] = decode(path, [0], geometry)
        wanted = MATRICES[matrix](coded.transpose(1, 2, 0)).transpose(2, 0, 1)
        assert np.array_equal(shown, wanted)
        assert np.array_equal(shown, next(decode_independently(path, geometry))[1])
        height, width = (96, 48) if matrix[1] else (48, 96)
        boxed = Geometry(size, by, Box(0, height, 0, width))
        [(_, whole)] = decode(path, [0], boxed)
        assert whole.shape == shown.shape == (3, *size)
        assert np.abs(whole.astype(int) - shown).mean() < 2
        assert np.array_equal(whole, next(decode_independently(path, boxed))[1])


def test_stores_made_before_turn_and_do_not_mirror(tmp_path: Path) -> None:
    path = with_matrix(write_video(tmp_path / "v.mp4", quadrants(48, 96)), (-1, 0, 0, 1))
    before = Geometry(32, "stretch", as_shown=False)
    [(_, turned)] = decode(path, [0], before)
    [(_, mirrored)] = decode(path, [0], Geometry(32, "stretch"))
    assert np.array_equal(turned, mirrored[:, ::-1])
    assert np.array_equal(turned, next(decode_independently(path, before))[1])


def anamorphic(path: Path, codec: str, pixels: str, aspect: Fraction, **more: int) -> Path:
    """Twelve frames of 96 x 64 pixels of an aspect; `turn`, degrees, in the display matrix."""
    options = {"x265-params": "log-level=none"} if codec == "libx265" else {}
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=25, options=options)
        stream.width, stream.height, stream.pix_fmt = 96, 64, pixels
        stream.codec_context.sample_aspect_ratio = aspect
        if "turn" in more:
            stream.set_display_rotation(more["turn"])
        for n, picture in enumerate(quadrants(64, 96)):
            frame = av.VideoFrame.from_ndarray(picture, format="rgb24")
            frame.pts = n
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return path


@pytest.mark.parametrize(
    ("name", "codec", "pixels"),
    [
        ("v.mp4", "libx264", "yuv420p"),  # in the codec and the container
        ("v.ts", "libx265", "yuv420p"),  # in the codec
        ("v.mpg", "mpeg2video", "yuv420p"),  # as an aspect ratio of the whole picture
        ("v.mov", "mjpeg", "yuvj420p"),
        ("v.avi", "mpeg4", "yuv420p"),
    ],
)
@pytest.mark.parametrize("aspect", [Fraction(221, 150), Fraction(8, 9)])
def test_pixels_become_square(
    name: str, codec: str, pixels: str, aspect: Fraction, tmp_path: Path
) -> None:
    """The whole picture between black bars has the height that its shape asks for."""
    path = anamorphic(tmp_path / name, codec, pixels, aspect)
    found = probe(path, Geometry(64))
    assert isinstance(found, Probe)
    assert (found.width, found.height) == (round(96 * aspect), 64)
    for geometry in (
        Geometry(60, "pad"),
        Geometry(32),
        Geometry(32, "stretch"),
        Geometry(32, "pad", Box(4, 60, 10, 80)),
        Geometry(WIDE),
        Geometry(TALL, "pad"),
    ):
        [(_, square)] = decode(path, [0], geometry)
        assert np.array_equal(square, next(decode_independently(path, geometry))[1])
        if geometry.size == (60, 60):
            rows = (square.max((0, 2)) > 100).sum()
            assert abs(rows - 60 * 64 / (96 * float(aspect))) <= 1


def test_pixels_are_square_before_a_picture_is_turned(tmp_path: Path) -> None:
    path = anamorphic(tmp_path / "v.mp4", "libx264", "yuv420p", Fraction(2), turn=90)
    [(_, square)] = decode(path, [0], Geometry(60, "pad"))  # 192 x 64, upright 64 x 192
    bright = square.max(0) > 100
    assert bright.any(1).all()
    assert bright.any(0).sum() == 20
    assert np.array_equal(square, next(decode_independently(path, Geometry(60, "pad")))[1])


def test_pixels_that_change_their_shape_are_named(tmp_path: Path) -> None:
    """Frames before the change are used, none after it."""
    parts = [
        anamorphic(tmp_path / f"{n}.mpg", "mpeg2video", "yuv420p", Fraction(aspect))
        for n, aspect in enumerate((Fraction(8, 9), Fraction(221, 150)))
    ]
    path = tmp_path / "v.mpg"
    path.write_bytes(b"".join(part.read_bytes() for part in parts))
    given = []
    with pytest.raises(DecodeError, match="aspect ratio from 8:9 to 221:150") as caught:
        for index, _ in decode(path, range(6), Geometry(32), to_end=True):
            given.append(index)
    assert given and given[-1] < 3
    assert caught.value.frames == len(given)


@pytest.mark.parametrize("by", FITS)
def test_the_box_is_of_the_upright_picture(real_clips: Path, by: FitName) -> None:
    """Turned files: a box over the whole upright frame changes nothing, for either decoder."""
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


@pytest.mark.parametrize("matrix", [8, 14])  # YCgCo, ICtCp
def test_colours_that_ffmpeg_cannot_convert_are_named(matrix: int, tmp_path: Path) -> None:
    path = tmp_path / "v.mp4"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=20)
        stream.height, stream.width, stream.pix_fmt = 48, 64, "yuv444p"
        stream.codec_context.colorspace = matrix
        for pts in range(4):
            frame = av.VideoFrame(64, 48, "yuv444p")
            frame.colorspace, frame.pts = matrix, pts
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    with pytest.raises(DecodeError, match=f"colours to RGB: yuv444p by the matrix {matrix} of"):
        list(decode(path, [0], Geometry(24)))
    assert not list(decode_independently(path, Geometry(24)))
