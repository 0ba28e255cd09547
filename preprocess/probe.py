"""Look into a container without decoding: is it a video, how many frames, how large."""

from __future__ import annotations

import av
from av.container import InputContainer
from av.error import FFmpegError
from av.video.stream import VideoStream

from preprocess.geometry import Geometry, refusal
from preprocess.videos import Probe
from shared.paths import Location, openable


def probe(path: Location, geometry: Geometry) -> Probe | str:
    """Read a video's packets, or say why it cannot be used.

    Args:
        path: absolute; a relative one with a colon would be taken for a protocol.
        geometry: how frames are to become squares.
    """
    try:
        with open_container(path) as container:
            stream = video_stream(container)
            if stream is None:
                return "no video stream"
            if stream.codec_context is None:
                return "no decoder for its codec"
            context = stream.codec_context
            unfit = _refuse_size(context.width, context.height, geometry)
            if unfit:
                return unfit
            frames = _count_packets(container, stream)
            return Probe(frames, context.width, context.height)
    except Exception as error:  # one file's failure, of any kind, must not end the others
        return f"cannot be opened as a video: {message(error)}"


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


def _refuse_size(width: int, height: int, geometry: Geometry) -> str:
    # Rotation is known once a frame is decoded: refused here is what is unfit either way round.
    return refusal(width, height, geometry) and refusal(height, width, geometry)
