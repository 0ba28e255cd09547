"""Open media files and read their packets, with the errors that FFmpeg only logs.

FFmpeg carries on past most damage: it resynchronises, conceals, and reports that only in its log.
No intact file that was tried makes it log an error, so here an error in the log is damage, just
like an exception.
"""

from __future__ import annotations

import re
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from fractions import Fraction

import av
import av.logging
from av.container import InputContainer
from av.error import FFmpegError
from av.filter import Graph
from av.packet import Packet
from av.video.frame import VideoFrame
from av.video.stream import VideoStream

from preprocess.frames.filters import filter_graph
from preprocess.frames.geometry import MAX_PIXELS, Geometry
from preprocess.sources.bitstream import (
    LeadingPictures,
    count_avi_chunks,
    has_hole,
    without_metadata,
)
from shared.store.paths import Location, openable

_STRICT = "crccheck+bitstream+buffer+explode"
"""Without these flags, FFmpeg returns four in five of the frames that it found damaged as good."""

_STUFFED, _STRICT_BUT_STUFFED = ("mpeg1video", "mpeg2video"), "crccheck+buffer+explode"
"""Codecs that pad a constant bit rate with zeros, which the flag `bitstream` would refuse."""

CUT = "cut short"
"""Start of the description of a file that ends too early."""

ASPECT_CHANGES = "its pixels change their aspect ratio"
"""Start of the description of a file whose frames need different stretching."""

_BOXES = (b"ftyp", b"moov", b"mdat", b"free", b"skip", b"wide", b"moof", b"uuid")
"""Top-level boxes of MP4 and QuickTime files whose stated size is trusted."""

_INTERLACED_ORDERS = range(2, 6)
"""FFmpeg's AV_FIELD_TT, BB, TB and BT; 0 is unknown, 1 progressive."""

_CROPPING = re.compile(r"Frame Cropping: (\d+)/(\d+)/(\d+)/(\d+)")
"""FFmpeg's words for columns left and right, rows above and below that are not to be shown."""

_COMBS = (
    "interlaced, and --deinterlace is off: moving edges show combs; --deinterlace bwdif makes whole"
    " frames"
)

# WebM has it in a second stream, beside each packet; FFmpeg's own decoders leave it alone.
_HIDDEN = (
    "transparency of VP8 or VP9, which is not decoded: clips show what it hides; `ffmpeg -c:v"
    " libvpx-vp9 -i FILE -c:v ffv1 OUT.mkv` (libvpx for VP8) keeps it"
)

_log = threading.RLock()


def open_container(path: Location) -> InputContainer:
    """Open a media file; tags that are no UTF-8 are no error."""
    return av.open(openable(path), "r", metadata_errors="replace")


def video_stream(container: InputContainer) -> VideoStream | None:
    """Stream that a player would show, or None."""
    stream = container.streams.best("video")
    assert stream is None or isinstance(stream, VideoStream)
    return stream


def is_interlaced(stream: VideoStream) -> bool:
    """Test whether a stream says that its frames are stored as two fields."""
    return stream.codec_context.field_order in _INTERLACED_ORDERS


def make_strict(stream: VideoStream) -> None:
    """Let the decoder stop at damage instead of concealing it, in one thread; call before decoding.

    Workers are processes already; and with more threads an error surfaces some packets late.
    """
    stream.thread_type = "NONE"
    stream.codec_context.thread_count = 1
    stream.codec_context.options = {
        "max_pixels": str(MAX_PIXELS),
        "err_detect": strictness(stream.codec_context.codec.name),
    }


def strictness(codec: str) -> str:
    """FFmpeg's flags for the errors that end the decoding of a packet, by the decoder's name."""
    return _STRICT_BUT_STUFFED if codec in _STUFFED else _STRICT


def message(error: Exception) -> str:
    """Text of an error without path and number, which would differ between machines."""
    text = getattr(error, "strerror", None) or str(error) or type(error).__name__
    return str(text)


@contextmanager
def collect_ffmpeg_errors() -> Iterator[list[str]]:
    """Collect the errors that FFmpeg logs in this thread inside the context.

    An `FFmpegError` does not leave the context: it becomes the last of the errors.
    """
    errors: list[str] = []
    with _logging(av.logging.ERROR):
        try:
            with av.logging.Capture() as lines:
                yield errors
        except FFmpegError as error:
            lines.append((av.logging.ERROR, "", message(error)))
        errors += [text.strip().rstrip(".") for _, _, text in lines]


@contextmanager
def _logging(level: int) -> Iterator[None]:
    """Let FFmpeg log every message down to a level; the log's settings belong to the process."""
    with _log:
        before = av.logging.get_level(), av.logging.get_skip_repeated()
        av.logging.set_level(level)
        av.logging.set_skip_repeated(False)
        try:
            yield
        finally:
            av.logging.set_level(before[0])
            av.logging.set_skip_repeated(before[1])


def read_packets(
    path: Location, container: InputContainer, stream: VideoStream
) -> Iterator[tuple[Packet, str]]:
    """Read every packet of a stream, in decoding order, but for pictures that no decoder shows.

    These refer to pictures before the beginning of the file. A packet of 0 bytes with a time stands
    for the frame before it, shown again.

    Yields:
        A packet, and the reason why something before it is missing, or an empty text. The last
        packet, as `is_end` knows it, is empty; what is missing before it is described as cut.
    """
    packets, found, failures, lost, started = container.demux(stream), 0, 0, "", False
    leading = LeadingPictures(stream.codec_context.codec.name, stream.codec_context.extradata)
    while True:
        packet, failures = None, failures + 1
        with collect_ffmpeg_errors() as errors:
            packet = next(packets, None)
            failures = 0
        lost = lost or next(iter(without_parser(errors)), "")
        if failures == 1:
            packets = container.demux(stream)  # there may be more after the damage
        elif packet is None or is_end(packet):
            ending = f"{CUT}: {lost}" if lost else ""
            yield packet or Packet(0), _too_few(path, container, stream, found) or ending
            return
        else:
            found += 1
            unshown = leading.lost(packet)
            # There is nothing yet that a packet of 0 bytes could repeat.
            if not unshown and (packet.size or started):
                started = True
                yield packet, lost
                lost = ""


def without_parser(errors: Sequence[str]) -> list[str]:
    """Leave out what FFmpeg's parser says of SEI messages while packets are read.

    The packets are whole, and the decoder reads their messages again.
    """
    return [error for error in errors if "SEI" not in error]


class PixelAspect:
    """Width of a stream's pixels divided by their height, and whether it changes.

    The container's statement comes first, as for every player, then the codec's.
    """

    def __init__(self, stream: VideoStream) -> None:
        self._context = stream.codec_context
        stated, coded = stream.sample_aspect_ratio, self._context.sample_aspect_ratio
        self._by_container = bool(stated) and stated != coded
        self._first = True
        self.value = Fraction(stated or coded or 1)

    def change(self) -> str:
        """Describe a change since the first call; call whenever frames have been decoded."""
        coded = self._context.sample_aspect_ratio
        first, self._first = self._first, False
        if self._by_container or not coded or coded == self.value:
            return ""
        if first:
            self.value = coded
            return ""
        before, now = (f"{a.numerator}:{a.denominator}" for a in (self.value, coded))
        return f"{ASPECT_CHANGES} from {before} to {now}"


class ContainerCrop:
    """Cuts a stream's frames to the part that its container asks to show.

    That is `clap` of MP4 and QuickTime, `PixelCrop` of Matroska. FFmpeg's programs do so since 7.1;
    PyAV does not, and knows of it by the description that FFmpeg prints alone.

    Attributes:
        width: pixels that are shown.
        height: pixels that are shown.
    """

    def __init__(self, container: InputContainer, stream: VideoStream) -> None:
        self._coded = stream.codec_context.width, stream.codec_context.height
        self.width, self.height = self._coded
        self._left = self._top = 0
        self._graph: tuple[str, Graph] | None = None
        if container.format.name.split(",")[0] not in ("mov", "matroska"):
            return
        _, _, described = _description(container).partition(f"Stream #0:{stream.index}")
        cut = _CROPPING.search(described.split("Stream #0:")[0])
        if cut is None:
            return
        left, right, top, bottom = map(int, cut.groups())
        width, height = self.width - left - right, self.height - top - bottom
        if width > 0 and height > 0:
            self.width, self.height, self._left, self._top = width, height, left, top

    def __call__(self, frame: VideoFrame) -> VideoFrame:
        """Cut a frame of the stream; one of another size than the stream states stays as it is."""
        whole = (self.width, self.height) == self._coded
        if whole or (frame.width, frame.height) != self._coded:
            return frame
        if self._graph is None or self._graph[0] != frame.format.name:
            part = f"{self.width}:{self.height}:{self._left}:{self._top}:exact=1"
            self._graph = frame.format.name, filter_graph(frame, "crop", part)
        graph = self._graph[1]
        graph.push(frame)
        cut = graph.pull()
        assert isinstance(cut, VideoFrame)
        return cut


def _description(container: InputContainer) -> str:
    """What FFmpeg prints of a file."""
    with _logging(av.logging.INFO):
        return str(container.dumps_format())  # type: ignore[attr-defined]


def remarks_on(stream: VideoStream, geometry: Geometry) -> tuple[str, ...]:
    """Remarks on a stream that is used nevertheless, see `Probe`."""
    found = []
    if is_interlaced(stream) and geometry.deinterlace == "off" and not geometry.filter:
        found.append(_COMBS)
    if stream.metadata.get("alpha_mode") == "1":
        found.append(_HIDDEN)
    return tuple(found)


def packet_without_metadata(packet: Packet, stream: VideoStream) -> Packet | None:
    """Copy a packet without the parts that no pixel depends on; None if it has no such part."""
    content, context = bytes(packet), stream.codec_context
    plain = without_metadata(context.codec.name, content, context.extradata)
    if plain == content:
        return None
    copy = Packet(plain)
    copy.pts, copy.dts, copy.time_base = packet.pts, packet.dts, packet.time_base
    return copy


def packet_damage(packet: Packet, stream: VideoStream) -> str:
    """Damage of a packet that shows without decoding; empty if there is none."""
    if packet.is_corrupt:
        return "a packet is damaged"
    context = stream.codec_context
    if has_hole(context.codec.name, bytes(packet), context.extradata):
        return "a packet has a hole of zeros"
    return ""


def is_end(packet: Packet) -> bool:
    """Test whether a packet is the end of the stream; other empty ones repeat a frame."""
    return packet.size == 0 and packet.pts is None and packet.dts is None


def is_shown(packet: Packet) -> bool:
    """Test whether a packet's frame has a place in the video: not so outside an edit list."""
    return not is_end(packet) and not packet.is_discard


def cut_short(path: Location) -> str:
    """Place where an MP4 or QuickTime file ends inside one of its boxes, in words; else empty."""
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
    """Number of frames in a file's index that are missing, in words; empty if none is."""
    family = container.format.name.split(",")[0]
    if family not in ("mov", "avi") or found >= stream.frames:
        return ""
    if family == "mov" and _samples(path, stream) >= stream.frames:
        return ""
    if family == "avi" and _chunks(path, stream) >= stream.frames:
        return ""
    return f"{CUT}: {found} of the {stream.frames} frames in its index are there"


def _samples(path: Location, stream: VideoStream) -> int:
    """Number of packets of a stream, with those that an edit list leaves out and empty ones."""
    with av.open(
        openable(path), "r", metadata_errors="replace", options={"ignore_editlist": "1"}
    ) as whole:
        same = whole.streams[stream.index]
        assert isinstance(same, VideoStream)
        # Where a parser reads them, empty packets stand in the index only.
        empty = sum(entry.size == 0 for entry in same.index_entries)
        return empty + sum(packet.size > 0 for packet in whole.demux(same))


def _chunks(path: Location, stream: VideoStream) -> int:
    """Number of chunks of a stream, including those of 0 bytes, which FFmpeg may leave out."""
    with path.open("rb") as file:
        return count_avi_chunks(file, stream.index)
