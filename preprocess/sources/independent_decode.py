"""Independent decoding of a video into square RGB frames, for `verify`.

In common with `preprocess.sources.video` are the decoder and scaler underneath, the errors that
FFmpeg logs, and the facts about colour and the place of chroma. The packet loop, threading,
scalers, area averages, cropping and turning are separate. (FFmpeg's scale filter would be more
independent, but it does not know where a frame's chroma samples lie.)
"""

from __future__ import annotations

from collections.abc import Iterator
from fractions import Fraction
from itertools import chain
from math import floor, gcd

import av
import numpy as np
from av.container import InputContainer
from av.error import FFmpegError
from av.packet import Packet
from av.video.frame import VideoFrame
from av.video.reformatter import Interpolation
from av.video.stream import VideoStream
from numpy.typing import NDArray
from PIL import Image

from preprocess.frames.area import (
    LUMA_WEIGHTS,
    MAX_RATIO,
    SUBSAMPLING,
    FrameFormat,
    chroma_cosited,
    rgb_matrix,
)
from preprocess.frames.geometry import Geometry
from preprocess.sources.media import collect_ffmpeg_errors
from shared.store.paths import Location, openable

HALF = Fraction(1, 2)

_READ_ERRORS = 100
"""Errors after which a file is not read further."""


class _LostError(Exception):
    """Packets are missing, or a key frame does not come out."""


def decode_independently(
    path: Location, geometry: Geometry
) -> Iterator[tuple[int, NDArray[np.uint8]]]:
    """Decode the frames of a video with their indices: all of them, if nothing is damaged.

    After a failure it goes on at the next key frame, in the file opened afresh and with a new
    decoder.

    Args:
        path: the video file; without one there is no frame.
        geometry: of the squares.

    Yields:
        Index, ascending, and frame, uint8 RGB, shape (3, size, size).
    """
    if not path.is_file():
        return
    following = 0
    # Key frames are looked for only after a failure.
    for position, place in chain([(None, 0)], _key_frames(path)):
        if position is not None and place < following:
            continue
        try:
            for index, frame in enumerate(_frames_from(path, position), start=place):
                yield index, _square_frame(frame, geometry)
                following = index + 1
            return
        except (FFmpegError, _LostError):
            # Extraction reports damage; the clips around it must still agree.
            continue


def _frames_from(path: Location, position: int | None) -> Iterator[VideoFrame]:
    """Decode from a key frame's packet on, or from the start, in the order frames are shown.

    Raises:
        FFmpegError: a packet does not decode.
        _LostError: packets are missing, or the first one is no key frame's.
    """
    with _open(path) as container:
        stream = _video(container)
        if stream is None:
            return
        # Threads that share a frame: with a frame each, an error would swallow those before it.
        stream.thread_type = "SLICE"
        stream.codec_context.options = {"err_detect": "crccheck+bitstream+buffer+explode"}
        key_time: int | None = None
        first = True
        for number, (packet, failed) in enumerate(_packets(container, stream)):
            lost = failed and number > (position or 0)
            if lost or (number == 0 and position is None and not packet.is_keyframe):
                raise _LostError
            if number < (position or 0):
                continue
            if number == position:
                key_time = packet.pts
            # Packets after a key frame that are shown before it may refer to earlier frames.
            if key_time is not None and packet.pts is not None and packet.pts < key_time:
                continue
            for frame in packet.decode():
                if first and key_time is not None and frame.pts != key_time:
                    raise _LostError
                first = False
                yield frame


def _key_frames(path: Location) -> Iterator[tuple[int, int]]:
    """Number of each key frame among the packets, and its place among the frames shown."""
    with _open(path) as container:
        stream = _video(container)
        if stream is None:
            return
        packets = [
            (packet.pts, packet.is_keyframe, packet.is_discard)
            for packet, _ in _packets(container, stream)
            if packet.size
        ]
    times = [time for time, _, _ in packets if time is not None]
    if len(set(times)) < len(packets):
        times = list(range(len(packets)))
    shown = sorted(time for time, (_, _, hidden) in zip(times, packets, strict=True) if not hidden)
    places = {time: place for place, time in enumerate(shown)}
    for number, (_, is_key, hidden) in enumerate(packets):
        if is_key and not hidden:
            yield number, places[times[number]]


def _packets(container: InputContainer, stream: VideoStream) -> Iterator[tuple[Packet, bool]]:
    """Read packets, each with a flag: FFmpeg logged an error on the way to it."""
    packets, failed = container.demux(stream), False
    for _ in range(_READ_ERRORS):
        packet: Packet | None = None
        while True:
            ended = False
            with collect_ffmpeg_errors() as errors:
                packet = next(packets, None)
                ended = packet is None
            failed = failed or bool(errors)
            if ended:
                return
            if packet is None:
                break
            yield packet, failed
            failed, packet = False, None
        packets = container.demux(stream)  # reading failed: there may be more packets


def _open(path: Location) -> InputContainer:
    return av.open(openable(path), "r", metadata_errors="replace")


def _video(container: InputContainer) -> VideoStream | None:
    stream = container.streams.best("video")
    return stream if isinstance(stream, VideoStream) else None


def _square_frame(frame: VideoFrame, geometry: Geometry) -> NDArray[np.uint8]:
    """Square of a frame, upright, shape (3, size, size)."""
    if geometry.box:
        upright = _upright(_scaled(frame, frame.width, frame.height), frame.rotation)
        return square_independently(upright, geometry)
    return _upright(_middle_of_scaled(frame, geometry), frame.rotation).transpose(2, 0, 1)


def square_independently(rgb: NDArray[np.uint8], geometry: Geometry) -> NDArray[np.uint8]:
    """Cut a picture to the crop box first, then scale it: (H, W, 3) -> (3, size, size)."""
    picture = Image.fromarray(np.ascontiguousarray(rgb))
    if box := geometry.box:
        picture = picture.crop((box.left, box.top, box.right, box.bottom))
    width, height = _scaled_size(picture.width, picture.height, geometry)
    grows = width > picture.width or height > picture.height or picture.size == (width, height)
    scaled = picture.resize(
        (width, height), Image.Resampling.BICUBIC if grows else Image.Resampling.BOX
    )
    return _middle(np.asarray(scaled), geometry.size).transpose(2, 0, 1)


def _middle_of_scaled(frame: VideoFrame, geometry: Geometry) -> NDArray[np.uint8]:
    """Middle of a scaled frame, shape (size, size, 3)."""
    width, height = _scaled_size(frame.width, frame.height, geometry)
    form, steps = FrameFormat.of(frame), SUBSAMPLING.get(frame.format.name)
    if steps is None or form.matrix not in LUMA_WEIGHTS:
        return _middle(_scaled(frame, width, height), geometry.size)
    ratios = Fraction(frame.height, height), Fraction(frame.width, width)
    fine = all(step <= by <= MAX_RATIO for step, by in zip(steps, ratios, strict=True))
    scale = _averaged if fine and frame.planes[0].line_size > 0 else _scaled
    return _middle(scale(frame, width, height), geometry.size)


def _averaged(frame: VideoFrame, width: int, height: int) -> NDArray[np.uint8]:
    """Average as `preprocess.frames.area`, by matrices of weights; exact, as all sums are whole."""
    steps, cosited = SUBSAMPLING[frame.format.name], chroma_cosited(frame)
    means = []
    for plane, (row_step, column_step), (row_cosited, column_cosited) in zip(
        frame.planes, ((1, 1), steps, steps), ((False, False), cosited, cosited), strict=True
    ):
        rows = _weights(frame.height, height, plane.height, row_step, row_cosited)
        columns = _weights(frame.width, width, plane.width, column_step, column_cosited)
        samples = np.frombuffer(memoryview(plane), np.uint8).reshape(plane.height, plane.line_size)
        sums = rows @ samples[:, : plane.width].astype(np.float64) @ columns.T
        means.append(sums * (1 / (rows[0].sum() * columns[0].sum())))
    y, u, v = np.stack(means).astype(np.float32)[..., None]
    of_y, of_u, of_v, offset = rgb_matrix(FrameFormat.of(frame)).T
    rgb = of_y * y + of_u * u + of_v * v + offset
    return np.floor(rgb.clip(0, 255) + np.float32(0.5)).astype(np.uint8)


def _weights(side: int, scaled: int, samples: int, step: int, cosited: bool) -> NDArray[np.float64]:
    """Part of each pixel that each sample covers, in whole numbers, shape (scaled, samples)."""
    common = gcd(2 * side, 2 * scaled * step, scaled * (step - 1) * cosited)
    pixels = 2 * side * np.arange(scaled + 1)
    edges = scaled * (2 * step * np.arange(samples + 1) - (step - 1) * cosited)
    edges[-1] = max(edges[-1], pixels[-1])
    upper = np.minimum(pixels[1:, None], edges[1:])
    covered = upper - np.maximum(pixels[:-1, None], edges[:-1])
    return covered.clip(0) / common


def _scaled_size(width: int, height: int, geometry: Geometry) -> tuple[int, int]:
    if geometry.fit == "stretch":
        return geometry.size, geometry.size
    ratio = Fraction(geometry.size, {"crop": min, "pad": max}[geometry.fit](width, height))
    return max(1, floor(width * ratio + HALF)), max(1, floor(height * ratio + HALF))


def _scaled(frame: VideoFrame, width: int, height: int) -> NDArray[np.uint8]:
    grows = width > frame.width or height > frame.height
    same = (width, height) == (frame.width, frame.height)
    scaled = frame.reformat(
        format="rgb24",
        width=width,
        height=height,
        interpolation=(Interpolation.BICUBIC if grows or same else Interpolation.AREA)
        | Interpolation.BITEXACT
        | Interpolation.ACCURATE_RND
        | Interpolation.FULL_CHR_H_INT,
    )
    return np.asarray(scaled.to_ndarray(), np.uint8)


def _middle(pixels: NDArray[np.uint8], size: int) -> NDArray[np.uint8]:
    """Cut to the middle square, or pad to it with black."""
    height, width = pixels.shape[:2]
    rows, columns = max(0, size - height), max(0, size - width)
    # A frame that lacks one pixel more at one side has it at the end; one too many, too.
    around = ((-(-rows // 2), rows // 2), (-(-columns // 2), columns // 2), (0, 0))
    filled = np.pad(pixels, around)
    top, left = (filled.shape[0] - size) // 2, (filled.shape[1] - size) // 2
    return filled[top : top + size, left : left + size]


def _upright(pixels: NDArray[np.uint8], degrees: float) -> NDArray[np.uint8]:
    """Turn counter-clockwise; shape (height, width, 3)."""
    turned = {
        0: pixels,
        90: pixels.transpose(1, 0, 2)[::-1],
        180: pixels[::-1, ::-1],
        270: pixels.transpose(1, 0, 2)[:, ::-1],
    }
    return turned[round(degrees / 90) * 90 % 360]
