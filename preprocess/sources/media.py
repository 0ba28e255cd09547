"""Opening media files and reading their packets, with an ear for what FFmpeg complains of.

FFmpeg carries on past most damage: it resynchronises, conceals, and says so only in its log. None
of the intact files we know of makes it log an error, so here an error in the log is damage, just
like an exception.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager

import av
import av.logging
from av.container import InputContainer
from av.error import FFmpegError
from av.packet import Packet
from av.video.stream import VideoStream

from preprocess.frames.geometry import MAX_PIXELS
from shared.store.paths import Location, openable

_STRICT = {
    "max_pixels": str(MAX_PIXELS),
    # Without it, FFmpeg gives out four in five of the frames that it found damaged as good ones.
    "err_detect": "crccheck+bitstream+buffer+explode",
}

CUT = "cut short"
"""How the description of a file begins that ends too early."""

_BOXES = (b"ftyp", b"moov", b"mdat", b"free", b"skip", b"wide", b"moof", b"uuid")
"""Top-level boxes of MP4 and QuickTime files whose stated size is believed."""

_HOLE = bytes(64)
"""Zeros for which no entropy coder is to blame."""

_STUFFED = ("mpeg1video", "mpeg2video")
"""Codecs that may fill up a constant bit rate with zeros."""

_log = threading.RLock()


def open_container(path: Location) -> InputContainer:
    """Open a media file, whatever bytes its tags are made of.

    Absolute, because a relative name with a colon would be taken for a protocol.
    """
    return av.open(openable(path), "r", metadata_errors="replace")


def video_stream(container: InputContainer) -> VideoStream | None:
    """The stream a player would show, or None."""
    stream = container.streams.best("video")
    assert stream is None or isinstance(stream, VideoStream)
    return stream


def make_strict(stream: VideoStream) -> None:
    """Let the decoder stop at damage rather than conceal it, in one thread; call before decoding.

    Workers are processes already; and with more threads an error surfaces some packets late.
    """
    stream.thread_type = "NONE"
    stream.codec_context.thread_count = 1
    stream.codec_context.options = _STRICT


def message(error: Exception) -> str:
    """An error's text without path and number, which would differ from machine to machine."""
    text = getattr(error, "strerror", None) or str(error) or type(error).__name__
    return str(text)


@contextmanager
def complaints() -> Iterator[list[str]]:
    """What FFmpeg logs as errors in this thread meanwhile, and the error it raises, if any.

    An `FFmpegError` is not passed on: it is the last of the complaints.
    """
    heard: list[str] = []
    # The log's level belongs to the process.
    with _log:
        before = av.logging.get_level(), av.logging.get_skip_repeated()
        av.logging.set_level(av.logging.ERROR)
        av.logging.set_skip_repeated(False)
        try:
            with av.logging.Capture() as lines:
                yield heard
        except FFmpegError as error:
            lines.append((av.logging.ERROR, "", message(error)))
        finally:
            av.logging.set_level(before[0])
            av.logging.set_skip_repeated(before[1])
        heard += [text.strip().rstrip(".") for _, _, text in lines]


def read_packets(
    path: Location, container: InputContainer, stream: VideoStream
) -> Iterator[tuple[Packet, str]]:
    """Every packet of a stream, in decoding order.

    Yields:
        A packet, and why something before it is missing, or an empty text. The last packet is
        empty; what is missing before it is said to be cut.
    """
    packets, found, failures, lost = container.demux(stream), 0, 0, ""
    while True:
        packet, failures = None, failures + 1
        with complaints() as heard:
            packet = next(packets, None)
            failures = 0
        lost = lost or (heard[0] if heard else "")
        if failures == 1:
            packets = container.demux(stream)  # there may be more after the damage
        elif packet is None or not packet.size:
            ending = f"{CUT}: {lost}" if lost else ""
            yield packet or Packet(0), _too_few(path, container, stream, found) or ending
            return
        else:
            found += 1
            yield packet, lost
            lost = ""


def packet_damage(packet: Packet, stream: VideoStream) -> str:
    """What is wrong with a packet, as far as shows without decoding; empty: nothing."""
    if packet.is_corrupt:
        return "a packet is damaged"
    codec = stream.codec_context.codec
    if codec.lossy and codec.name not in _STUFFED and _HOLE in bytes(packet).rstrip(b"\0"):
        return "a packet has a hole of zeros"
    return ""


def is_shown(packet: Packet) -> bool:
    """Whether a packet's frame has a place in the video: not so outside an edit list."""
    return packet.size > 0 and not packet.is_discard


def cut_short(path: Location) -> str:
    """Whether an MP4 or QuickTime file ends within one of its boxes: says where, or nothing."""
    size, at = path.stat().st_size, 0
    with path.open("rb") as file:
        while at + 16 <= size:
            file.seek(at)
            header = file.read(16)
            length, kind = int.from_bytes(header[:4], "big"), header[4:8]
            if length == 1:
                length = int.from_bytes(header[8:], "big")
            if kind not in _BOXES or length < 8:
                return ""
            if at + length > size:
                return f"{CUT}: it ends at byte {size} of at least {at + length}"
            at += length
    return ""


def _too_few(path: Location, container: InputContainer, stream: VideoStream, found: int) -> str:
    """Whether the index of a file names frames that are not there."""
    family = container.format.name.split(",")[0]
    if family not in ("mov", "avi") or found >= stream.frames:
        return ""
    if family == "mov" and _samples(path, stream) >= stream.frames:
        return ""
    return f"{CUT}: {found} of the {stream.frames} frames in its index are there"


def _samples(path: Location, stream: VideoStream) -> int:
    """Packets of a stream with those that an edit list leaves out."""
    with av.open(
        openable(path), "r", metadata_errors="replace", options={"ignore_editlist": "1"}
    ) as whole:
        return sum(packet.size > 0 for packet in whole.demux(whole.streams[stream.index]))
