"""A second road from video file to RGB frames, for `verify`.

It shares with `preprocess.decode` the decoder and scaler underneath, but neither its packet loop,
its threading and its scaler's life time, nor its cropping and turning. (FFmpeg's own scale filter
would be further away still, but it does not see where a frame's chroma samples lie.)
"""

from __future__ import annotations

from collections.abc import Iterator

import av
import numpy as np
from av.error import FFmpegError
from av.video.frame import VideoFrame
from av.video.reformatter import Interpolation
from av.video.stream import VideoStream
from numpy.typing import NDArray

from shared.paths import Location, openable


def recheck_frames(path: Location, size: int) -> Iterator[NDArray[np.uint8]]:
    """All frames of a video until the first that fails, uint8 RGB, shape (3, size, size)."""
    with av.open(openable(path), "r", metadata_errors="replace") as container:
        stream = container.streams.best("video")
        if not isinstance(stream, VideoStream):
            return
        stream.thread_type = "AUTO"
        try:
            for frame in container.decode(stream):
                yield _upright(_square(frame, size), frame.rotation)
        except FFmpegError:
            # Damage is for extraction to name; clips from before it must still agree.
            return


def _square(frame: VideoFrame, size: int) -> NDArray[np.uint8]:
    """The middle of a scaled frame, shape (size, size, 3)."""
    shorter = min(frame.width, frame.height)
    width, height = (
        max(size, int(side * size / shorter + 0.5)) for side in (frame.width, frame.height)
    )
    scaled = frame.reformat(
        format="rgb24",
        width=width,
        height=height,
        interpolation=(Interpolation.AREA if size < shorter else Interpolation.BICUBIC)
        | Interpolation.BITEXACT
        | Interpolation.ACCURATE_RND,
    )
    pixels = np.asarray(scaled.to_ndarray(), np.uint8)
    excess_rows, excess_columns = height - size, width - size
    return pixels[
        excess_rows // 2 : height - (excess_rows + 1) // 2,
        excess_columns // 2 : width - (excess_columns + 1) // 2,
    ]


def _upright(square: NDArray[np.uint8], degrees: float) -> NDArray[np.uint8]:
    """Turn counter-clockwise, and move colour to the front: shape (3, size, size)."""
    planes = square.transpose(2, 0, 1)
    turned = {
        0: planes,
        90: planes.transpose(0, 2, 1)[:, ::-1],
        180: planes[:, ::-1, ::-1],
        270: planes.transpose(0, 2, 1)[:, :, ::-1],
    }
    return turned[round(degrees / 90) * 90 % 360]
