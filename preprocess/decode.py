"""A video file as a stream of square RGB frames; memory does not grow with its length."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from av.container import InputContainer
from av.error import FFmpegError
from av.video.frame import VideoFrame
from av.video.stream import VideoStream
from numpy.typing import NDArray

from preprocess.geometry import Geometry, Squarer
from preprocess.probe import message, open_container, video_stream
from shared.paths import Location


class DecodeError(Exception):
    """A video stopped giving usable frames; `frames` is how many came before."""

    def __init__(self, reason: str, frames: int) -> None:
        super().__init__(reason)
        self.frames = frames


def decode(
    path: Location, wanted: range | list[int], geometry: Geometry
) -> Iterator[tuple[int, NDArray[np.uint8]]]:
    """Decode the wanted frames of a video, in order, and stop after the last.

    They are scaled by area averaging to shrink, bicubic to grow; a multiple of 90 degrees of
    rotation that the file asks for is done.

    Args:
        path: the video file.
        wanted: ascending indices among the frames in the order they are shown.
        geometry: how frames become squares.

    Yields:
        Index and frame, uint8 RGB, shape (3, size, size).

    Raises:
        DecodeError: a packet did not decode, a frame is damaged, or the video ended early.
            No frame from there on is given out.
    """
    due = iter(wanted)
    next_index = next(due, None)
    if next_index is None:
        return
    frames = 0
    with open_container(path) as container:
        stream = video_stream(container)
        if stream is None:
            raise DecodeError("no video stream", 0)
        square = Squarer(geometry)
        for frame in _shown_frames(container, stream):
            if frames == next_index:
                yield frames, square(frame)
                next_index = next(due, None)
                if next_index is None:
                    return
            frames += 1
    raise DecodeError(f"the video ends after {frames} frames, fewer than its packets", frames)


def _shown_frames(container: InputContainer, stream: VideoStream) -> Iterator[VideoFrame]:
    """Frames in the order they are shown, up to the first sign of damage."""
    # Workers are processes already; a damaged file's frames also depend on the threading.
    stream.thread_type = "NONE"
    stream.codec_context.thread_count = 1
    count = 0
    try:
        for packet in container.demux(stream):
            if packet.is_corrupt:
                raise DecodeError(f"a packet after frame {count} is damaged", count)
            for frame in packet.decode():
                if frame.is_corrupt:
                    raise DecodeError(f"frame {count} is damaged", count)
                yield frame
                count += 1
    except FFmpegError as error:
        raise DecodeError(f"does not decode after frame {count}: {message(error)}", count) from None
