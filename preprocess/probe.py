"""Look into a container without decoding: is it a video, how many frames, how large."""

from __future__ import annotations

import av
from av.container import InputContainer
from av.error import FFmpegError
from av.video.stream import VideoStream

from preprocess.clip import fit
from preprocess.videos import Probe
from shared.paths import Location, location, openable

MAX_PIXELS = 8192 * 8192
"""Larger frames are refused before a decoder takes memory for them."""


def probe(path: Location, size: int) -> Probe | str:
    """Read a video's packets, or say why it cannot be used.

    Args:
        path: absolute; a relative one with a colon would be taken for a protocol.
        size: height and width the frames are to be scaled to, pixels.
    """
    try:
        with open_container(path) as container:
            stream = video_stream(container)
            if stream is None:
                return "no video stream"
            if stream.codec_context is None:
                return "no decoder for its codec"
            refusal = _refuse_size(stream.codec_context.width, stream.codec_context.height, size)
            if refusal:
                return refusal
            frames = _count_packets(container, stream)
            return Probe(frames, stream.codec_context.width, stream.codec_context.height)
    except Exception as error:  # one file's failure, of any kind, must not end the others
        return f"cannot be opened as a video: {message(error)}"


def probe_many(task: tuple[str, tuple[str, ...], int]) -> list[Probe | str]:
    """`probe` for a list of paths relative to a root; a task for a worker."""
    root, paths, size = task
    return [probe(location(root) / path, size) for path in paths]


def open_container(path: Location) -> InputContainer:
    """Open a media file, whatever bytes its tags are made of."""
    return av.open(openable(path), "r", metadata_errors="replace")


def video_stream(container: InputContainer) -> VideoStream | None:
    """The stream a player would show, or None."""
    stream = container.streams.best("video")
    assert stream is None or isinstance(stream, VideoStream)
    return stream


def message(error: Exception) -> str:
    """An error's text without path and number, which would differ from machine to machine."""
    text = getattr(error, "strerror", None) or str(error) or type(error).__name__
    return str(text)


def _count_packets(container: InputContainer, stream: VideoStream) -> int:
    frames = 0
    try:
        for packet in container.demux(stream):
            # Discarded packets lie outside an edit list: decoded for others' sake, never shown.
            frames += packet.size > 0 and not packet.is_discard
    except FFmpegError:
        # What came before a break may still make clips; the decoder will name the damage.
        return frames
    return frames


def _refuse_size(width: int, height: int, size: int) -> str:
    if width <= 0 or height <= 0:
        return "the container states no frame size"
    if width * height > MAX_PIXELS:
        return f"frames of {width}x{height}; at most {MAX_PIXELS} pixels are decoded"
    scaled = fit(width, height, size)
    if scaled.width * scaled.height > MAX_PIXELS:
        return f"frames of {width}x{height} are too narrow to scale to {size} and crop"
    return ""
