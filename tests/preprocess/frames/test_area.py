"""Exact area averaging, held against fractions, the scaler, and itself on lesser processors."""

from __future__ import annotations

import os
import subprocess
import sys
import zlib
from itertools import islice
from pathlib import Path

import av
import numpy as np
import pytest
from av.video.frame import VideoFrame
from av.video.reformatter import ColorRange, Interpolation
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from preprocess.frames.area import (
    FrameFormat,
    ResizeWindow,
    Shrinker,
    can_shrink,
    chroma_cosited,
    rgb_matrix,
)
from preprocess.frames.geometry import Geometry, fit
from preprocess.sources.independent_decode import decode_independently
from preprocess.sources.video import decode
from tests import naive
from tests.conftest import moving_square, write_video

FORMATS = {"yuv420p": (2, 2), "yuvj420p": (2, 2), "yuv422p": (1, 2), "yuv444p": (1, 1)}


def frame_of_noise(form: str, height: int, width: int, seed: int = 0) -> VideoFrame:
    rng = np.random.default_rng(seed)
    frame = VideoFrame(width, height, form)
    for plane in frame.planes:
        plane.update(rng.integers(0, 256, plane.buffer_size, dtype=np.uint8).tobytes())
    return frame


def samples(frame: VideoFrame) -> list[NDArray[np.uint8]]:
    return [
        np.frombuffer(p, np.uint8).reshape(-1, p.line_size)[: p.height, : p.width]
        for p in frame.planes
    ]


@given(
    form=st.sampled_from(sorted(FORMATS)),
    seed=st.integers(0, 1000),
    scaled=st.tuples(st.integers(1, 9), st.integers(1, 35)),
    more=st.tuples(st.integers(0, 30), st.integers(0, 30)),
    data=st.data(),
)
@settings(max_examples=40)
def test_each_pixel_is_the_mean_of_what_it_covers(
    form: str, seed: int, scaled: tuple[int, int], more: tuple[int, int], data: st.DataObject
) -> None:
    """The oracle goes over fractions of samples, pixel by pixel; odd sizes and windows too."""
    height, width = (
        s * step + extra for s, step, extra in zip(scaled, FORMATS[form], more, strict=True)
    )
    start = tuple(data.draw(st.integers(0, side - 1)) for side in scaled)
    shape = tuple(data.draw(st.integers(1, side - at)) for side, at in zip(scaled, start))  # noqa: B905
    frame, window = frame_of_noise(form, height, width, seed), ResizeWindow(scaled, start, shape)
    assert can_shrink(FrameFormat.of(frame), window)
    found = Shrinker(frame, window)(frame)
    assert (found.dtype, found.shape) == (np.uint8, (3, *shape))
    for y, x in np.ndindex(shape):
        pixel = y + start[0], x + start[1]
        yuv = [
            naive.area_mean(plane, (height, width), scaled, pixel, step, cosited)
            for plane, step, cosited in zip(
                samples(frame),
                ((1, 1), FORMATS[form], FORMATS[form]),
                ((False, False), *[chroma_cosited(frame)] * 2),
                strict=True,
            )
        ]
        matrix = rgb_matrix(FrameFormat.of(frame)).astype(float)
        exact = (matrix[:, :3] @ [float(value) for value in yuv] + matrix[:, 3]).clip(0, 255)
        assert np.abs(found[:, y, x] - exact).max() <= 0.5 + 1e-4


@pytest.mark.parametrize("height", [256, 270, 271, 1079])
def test_sums_of_any_size_fit(height: int) -> None:
    """White stays white: 16-bit sums where the weights of a pixel are few, else 32-bit ones."""
    for level, wanted in ((255, 255), (235, 255), (16, 0), (126, 128)):
        frame = VideoFrame(322, height, "yuv420p")
        for plane, value in zip(frame.planes, (level, 128, 128), strict=True):
            plane.update(bytes([value]) * plane.buffer_size)
        square = Shrinker(frame, ResizeWindow((128, 144), (0, 8), (128, 128)))(frame)
        assert (square == wanted).all()


def test_colour_of_the_standard() -> None:
    """Red, green and blue of H.273 come back, whichever matrix the frame names."""
    for number, (red, blue) in ((1, (0.2126, 0.0722)), (5, (0.299, 0.114)), (9, (0.2627, 0.0593))):
        matrix = rgb_matrix(FrameFormat(4, 4, "yuv444p", number, int(ColorRange.JPEG))).astype(
            float
        )
        for rgb in np.eye(3) * 200:
            y = rgb @ [red, 1 - red - blue, blue]
            u, v = (rgb[2] - y) / (2 - 2 * blue), (rgb[0] - y) / (2 - 2 * red)
            back = matrix[:, :3] @ [y, u + 128, v + 128] + matrix[:, 3]
            assert np.abs(back - rgb).max() < 1e-3


def scaled_by_swscale(frame: VideoFrame, size: int) -> NDArray[np.int64]:
    fitted = fit(frame.width, frame.height, Geometry(size))
    exact = Interpolation.ACCURATE_RND | Interpolation.BITEXACT | Interpolation.FULL_CHR_H_INT
    rgb = frame.reformat(
        width=fitted.width,
        height=fitted.height,
        format="rgb24",
        dst_color_range=ColorRange.JPEG,
        interpolation=Interpolation.AREA | exact,
    ).to_ndarray()
    part = rgb[fitted.top : fitted.top + size, fitted.left : fitted.left + size]
    return part.transpose(2, 0, 1).astype(int)


@pytest.mark.parametrize(
    ("container", "codec", "pixels", "cosited"),
    [
        ("mp4", "mpeg4", "yuv420p", (False, True)),
        ("avi", "mjpeg", "yuvj420p", (False, False)),
        ("avi", "mjpeg", "yuvj422p", (False, False)),
        ("mkv", "ffv1", "yuv444p", (False, False)),
        ("webm", "libvpx", "yuv420p", (False, False)),
    ],
)
def test_chroma_lies_where_the_scaler_says(
    container: str, codec: str, pixels: str, cosited: tuple[bool, bool], tmp_path: Path
) -> None:
    """Codecs differ in it; half a luma sample is several grey levels in coarse coloured noise."""
    video = np.random.default_rng(0).integers(0, 256, (2, 6, 8, 3), dtype=np.uint8)
    video = video.repeat(32, 1).repeat(32, 2)
    path = write_video(tmp_path / f"v.{container}", video, codec=codec, pixels=pixels)
    with av.open(str(path)) as opened:
        frame = next(opened.decode(video=0))
    assert chroma_cosited(frame) == cosited
    [(_, square)] = decode(path, [0], Geometry(64))
    difference = np.abs(square - scaled_by_swscale(frame, 64))
    assert difference.max() <= 1
    assert difference.mean() < 0.05


def test_real_files_look_as_the_scaler_makes_them(real_clips: Path) -> None:
    """Every file that can be shrunk here: within one grey level, and both decoders bit for bit."""
    compared = 0
    for path in sorted((real_clips / "clips").glob("*")):
        with av.open(str(path), metadata_errors="replace") as container:
            frame = next(container.decode(video=0))
        [(_, square)] = decode(path, [0], Geometry(64))
        [(_, again)] = islice(decode_independently(path, Geometry(64)), 1)
        assert np.array_equal(square, again), path
        fitted = fit(frame.width, frame.height, Geometry(64))
        window = ResizeWindow((fitted.height, fitted.width), (fitted.top, fitted.left), (64, 64))
        if can_shrink(FrameFormat.of(frame), window):
            compared += 1
            shrunk = Shrinker(frame, window)(frame)
            assert np.abs(shrunk - scaled_by_swscale(frame, 64)).max() <= 1, path
    assert compared > 20


def test_what_cannot_be_shrunk() -> None:
    def can(form: str, height: int, width: int, matrix: int = 2) -> bool:
        window = ResizeWindow((64, 80), (0, 8), (64, 64))
        return can_shrink(FrameFormat(width, height, form, matrix, 0), window)

    assert can("yuv420p", 128, 160)
    assert not can("yuv420p", 127, 160), "chroma would grow"
    assert can("yuv444p", 64, 80)
    assert not can("yuv444p", 63, 80)
    assert not can("yuv420p", 128, 256 * 80 + 1)
    assert not can("yuv420p10le", 128, 160)
    assert not can("yuv420p", 128, 160, matrix=8)


def checksum() -> int:
    """Checksum of two frames, one with sums in 32 bits, one in 16."""
    window, total = ResizeWindow((70, 80), (3, 9), (61, 66)), 0
    for form, height, width in (("yuv420p", 271, 322), ("yuvj420p", 280, 260)):
        frame = frame_of_noise(form, height, width)
        total = zlib.crc32(Shrinker(frame, window)(frame).tobytes(), total)
    return total


@pytest.mark.slow
def test_a_lesser_processor_gives_the_same() -> None:
    """The kernels compiled for one with no vector instructions but the oldest."""
    done = subprocess.run(
        [sys.executable, "-c", f"from {__name__} import checksum; print(checksum())"],
        env={**os.environ, "NUMBA_CPU_NAME": "generic", "NUMBA_CPU_FEATURES": ""},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) == checksum()


def test_frames_that_look_otherwise_are_planned_anew(tmp_path: Path) -> None:
    """Two sizes in one file, both to be shrunk."""
    frames = {}
    for side in (96, 64):
        name = tmp_path / f"{side}.avi"
        write_video(name, moving_square(2, side, side + 16), codec="mjpeg", pixels="yuvj420p")
        frames[name] = [frame for _, frame in decode(name, range(2), Geometry(24))]
    path = tmp_path / "both.avi"
    with av.open(str(path), "w") as out:
        stream, time = None, 0
        for name in frames:
            with av.open(str(name)) as source:
                stream = stream or out.add_stream_from_template(source.streams.video[0])
                for packet in source.demux(video=0):
                    if packet.size:
                        packet.pts = packet.dts = time
                        packet.stream, time = stream, time + 1
                        out.mux(packet)
    together = [frame for _, frame in decode(path, range(4), Geometry(24))]
    assert np.array_equal(np.stack(together), np.concatenate([*frames.values()]))
