"""A video file as a stream of square RGB frames; memory does not grow with its length.

A frame is given out only where nothing that it may depend on is damaged or missing: after damage,
frames begin again at the next key frame. Their indices are their places among all packets that are
there, so that clips lie where they would lie in the undamaged video.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
from av.container import InputContainer
from av.packet import Packet
from av.video.frame import PictureType, VideoFrame
from av.video.stream import VideoStream
from numpy.typing import NDArray

from preprocess.frames.geometry import Geometry, Squarer
from preprocess.sources.media import (
    CUT,
    complaints,
    is_shown,
    make_strict,
    message,
    open_container,
    packet_damage,
    read_packets,
    video_stream,
)
from shared.store.paths import Location


class DecodeError(Exception):
    """Frames of a video are damaged or missing.

    Attributes:
        frames: how many are not.
        restarts: indices of the first frame after each gap; no clip may hold frames of both sides.
        breaks: one more than the index of the last frame before each gap.
    """

    def __init__(
        self,
        reason: str,
        frames: int,
        restarts: Sequence[int] = (),
        breaks: Sequence[int] = (),
    ) -> None:
        super().__init__(reason)
        self.frames = frames
        self.restarts = tuple(restarts)
        self.breaks = tuple(breaks)


def decode(
    path: Location, wanted: range | list[int], geometry: Geometry, *, to_end: bool = False
) -> Iterator[tuple[int, NDArray[np.uint8]]]:
    """Decode the wanted frames of a video, in order, leaving out those that damage may touch.

    They are scaled by area averaging to shrink, bicubic to grow; a multiple of 90 degrees of
    rotation that the file asks for is done.

    Args:
        path: the video file.
        wanted: ascending indices among the frames in the order they are shown.
        geometry: how frames become squares.
        to_end: look for damage beyond the last wanted frame too.

    Yields:
        Index and frame, uint8 RGB, shape (3, size, size).

    Raises:
        DecodeError: after the last frame, where any was missing or damage was met.
    """
    due = iter(wanted)
    following = next(due, None)
    if following is None:
        return
    reading = _left_off(path, following) or _Reading(path)
    leaves_off = False
    try:
        square, clean = Squarer(geometry), reading.clean
        for index, frame in reading.frames:
            while following is not None and following < index:  # it was lost in a gap
                following = next(due, None)
            if index == following:
                yield index, _squared(square, frame, clean)
                following = next(due, None)
            # Once there is damage, what can be saved is counted in the whole of the video.
            if following is None and not (to_end or clean.breaks):
                reading.next_index, leaves_off = index + 1, True
                return
    finally:
        if leaves_off:
            _left.append(reading)
        else:
            reading.container.close()
    if clean.breaks:
        raise clean.error(clean.description())
    if following is not None:
        raise DecodeError(
            f"the video ends after {clean.count} frames, fewer than its packets", clean.count
        )


class _Reading:
    """A video that is being decoded, from its start."""

    def __init__(self, path: Location) -> None:
        self.path, self.version, self.next_index = path, _version(path), 0
        self.container = open_container(path)
        stream = video_stream(self.container)
        if stream is None:
            self.container.close()
            raise DecodeError("no video stream", 0)
        self.clean = CleanFrames(path, self.container, stream)
        self.frames = iter(self.clean)


_left: list[_Reading] = []
"""At most one for each thread, and only where no damage was met. The clips of a video may lie in
several partitions: a process that makes one after another decodes no frame twice."""


def _left_off(path: Location, wanted: int) -> _Reading | None:
    """The reading that was left off in this video, not behind the wanted frame; others are closed.

    A file that was changed meanwhile is another video.
    """
    while _left:
        reading = _left.pop()
        same = (reading.path, reading.version) == (path, _version(path))
        if same and reading.next_index <= wanted:
            return reading
        reading.container.close()
    return None


def _version(path: Location) -> tuple[float, int]:
    status = path.stat()
    return status.st_mtime, status.st_size


class CleanFrames:
    """The frames of a video that no damage touches, with their indices; iterate once.

    Attributes:
        count: frames given out so far.
        breaks: where the frames break off: index of the first that is lost, and why.
        restarts: indices of the first frame after each gap. It may be the next index: packets
            that are missing altogether leave none out.
    """

    def __init__(self, path: Location, container: InputContainer, stream: VideoStream) -> None:
        self.count = 0
        self.breaks: list[tuple[int, str]] = []
        self.restarts: list[int] = []
        self._path, self._container, self._stream = path, container, stream
        self._order: _Order | None = None
        self._index = 0
        self._sound = True
        self._restarting = False
        self._restart_pts: int | None = None
        make_strict(stream)

    def __iter__(self) -> Iterator[tuple[int, VideoFrame]]:
        """Indices, ascending, and frames."""
        packets = read_packets(self._path, self._container, self._stream)
        for position, (packet, lost) in enumerate(packets):
            if lost:
                self._break(lost)
            if position == 0 and not packet.is_keyframe:
                self._break("it does not begin with a key frame")
            damage = packet_damage(packet, self._stream)
            if damage:
                self._break(damage)
            elif self._sound or self._restart(packet, position):
                for frame in self._decode(packet):
                    yield self._index, frame
                    self._index += 1
                    self.count += 1

    def description(self) -> str:
        """What is wrong with the video, in one line; empty where nothing is."""
        cut = [reason for _, reason in self.breaks if reason.startswith(CUT)]
        damage = [f"damaged after frame {at}: {reason}" for at, reason in self.breaks]
        damage = [line for line in damage if CUT not in line]
        more = f", and {len(damage) - 1} more" if len(damage) > 1 else ""
        return "; ".join(cut[:1] + [line + more for line in damage[:1]])

    def error(self, reason: str) -> DecodeError:
        """What is wrong, with what came out all the same."""
        return DecodeError(reason, self.count, self.restarts, [at for at, _ in self.breaks])

    def _break(self, reason: str) -> None:
        self._sound = False
        self.breaks.append((self._index, reason))

    def _restart(self, packet: Packet, position: int) -> bool:
        """Whether decoding can begin afresh at this packet."""
        if not (packet.is_keyframe and is_shown(packet)):
            return False
        self._order = self._order or _Order(self._path)
        index = self._order.index(position)
        if index < self._index:
            return False
        # What the decoder still holds was shown after the damage, or may have been.
        self._stream.codec_context.flush_buffers()
        self._sound = self._restarting = True
        self._index, self._restart_pts = index, packet.pts if self._order.timed else None
        return True

    def _decode(self, packet: Packet) -> list[VideoFrame]:
        if self._leads(packet):
            return []
        frames: list[VideoFrame] = []
        with complaints() as heard:
            frames = self._stream.codec_context.decode(packet if packet.size else None)
        if heard:
            self._break(heard[0])
            return []
        return [frame for frame in frames if self._accept(frame)]

    def _leads(self, packet: Packet) -> bool:
        """Whether a packet after a key frame is shown before it, by reference to what was lost."""
        start = self._restart_pts
        return start is not None and packet.pts is not None and packet.pts < start

    def _accept(self, frame: VideoFrame) -> bool:
        if self._sound and frame.is_corrupt:
            self._break("a frame is damaged")
        if self._sound and self._restarting:
            # Some streams call key frame what only begins a gradual refresh.
            self._sound = frame.key_frame and frame.pict_type == PictureType.I
            self._restarting = False
            self.restarts += [self._index] if self._sound else []
        return self._sound


def _squared(square: Squarer, frame: VideoFrame, clean: CleanFrames) -> NDArray[np.uint8]:
    try:
        return square(frame)
    except ValueError as error:  # frames may change their size until the square does not fit
        raise clean.error(message(error)) from None


class _Order:
    """Where each packet's frame is shown, in a video too damaged to count frames.

    Attributes:
        timed: whether that follows from the packets' times; else they are taken as they come.
    """

    def __init__(self, path: Location) -> None:
        with open_container(path) as container:
            stream = video_stream(container)
            assert stream is not None
            packets = [
                (p.pts, is_shown(p)) for p, _ in read_packets(path, container, stream) if p.size
            ]
        times = [pts for pts, _ in packets if pts is not None]
        self.timed = len(set(times)) == len(packets)
        self._times = np.array(times if self.timed else range(len(packets)), np.int64)
        self._shown = np.array([shown for _, shown in packets], bool)

    def index(self, position: int) -> int:
        """Index among the shown frames, of the packet at a position in decoding order."""
        return int(np.count_nonzero(self._shown & (self._times < self._times[position])))
